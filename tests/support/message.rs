//! HTTP/1.1 messages, read as strictly as RFC 9112 allows: the tests' own judge of what Tidegate sends.

use std::{
    fmt,
    io::{self, Read},
};

/// Header lines in the order they came; names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

impl Headers {
    /// The value of the only line with this name, if there is one.
    pub(crate) fn only(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [] => None,
            [value] => Some(value),
            ref several => panic!("{name} came {} times: {several:?}", several.len()),
        }
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// How a body's end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

/// One message. `first_line` is the request line or the status line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) first_line: String,
    pub(crate) headers: Headers,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
}

impl Message {
    /// Status code of a response.
    pub(crate) fn status(&self) -> u16 {
        let code = self.first_line.split(' ').nth(1).unwrap_or_default();
        code.parse().unwrap_or_else(|_| panic!("no status line: {:?}", self.first_line))
    }

    /// Target of a request, byte for byte.
    pub(crate) fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why bytes are not a message.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended, or broke, inside a message.
    Cut(String),
    /// The bytes are not what RFC 9112 allows.
    Malformed(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(why) => write!(f, "cut short: {why}"),
            Self::Malformed(why) => write!(f, "malformed: {why}"),
        }
    }
}

fn malformed<T>(why: impl Into<String>) -> Result<T, Broken> {
    Err(Broken::Malformed(why.into()))
}

/// Sees each block as it is read.
type OnBytes = Box<dyn FnMut(&[u8]) + Send>;

/// Bytes of a connection with those that were read too far, and a copy of all of them for whoever records.
pub(crate) struct Reader {
    stream: Box<dyn Read + Send>,
    ahead: Vec<u8>,
    taken: usize,
    on_bytes: OnBytes,
}

impl Reader {
    pub(crate) fn new(
        stream: impl Read + Send + 'static,
        on_bytes: impl FnMut(&[u8]) + Send + 'static,
    ) -> Self {
        let (stream, on_bytes) = (Box::new(stream), Box::new(on_bytes));
        Self { stream, ahead: Vec::new(), taken: 0, on_bytes }
    }

    /// Reads more; `false` at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        if self.taken == self.ahead.len() {
            self.ahead.clear();
            self.taken = 0;
        }
        let mut block = [0; 16 * 1024];
        let count = self.stream.read(&mut block)?;
        (self.on_bytes)(&block[..count]);
        self.ahead.extend_from_slice(&block[..count]);
        Ok(count > 0)
    }

    fn fill_or_cut(&mut self, inside: &str) -> Result<(), Broken> {
        match self.fill() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Broken::Cut(format!("end of stream in {inside}"))),
            Err(error) => Err(Broken::Cut(format!("{error} in {inside}"))),
        }
    }

    /// A line without its CRLF. A bare CR or LF is a fault.
    fn line(&mut self) -> Result<String, Broken> {
        loop {
            let rest = &self.ahead[self.taken..];
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..at].to_vec();
                self.taken += at + 1;
                let Some(line) = line.strip_suffix(b"\r") else { return malformed("a bare LF") };
                if line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
                    return malformed("a bare CR or a NUL in a line");
                }
                // Latin-1, so that each byte stays itself.
                return Ok(line.iter().map(|byte| char::from(*byte)).collect());
            }
            self.fill_or_cut("a line")?;
        }
    }

    fn exactly(&mut self, count: u64) -> Result<Vec<u8>, Broken> {
        let count = usize::try_from(count).expect("tests run on 64 bits");
        while self.ahead.len() - self.taken < count {
            self.fill_or_cut("a body")?;
        }
        let bytes = self.ahead[self.taken..self.taken + count].to_vec();
        self.taken += count;
        Ok(bytes)
    }

    /// Whether the other side closed without another byte. A reset counts as closed.
    pub(crate) fn is_at_end(&mut self) -> Result<(), String> {
        if self.taken == self.ahead.len() {
            match self.fill() {
                Ok(false) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error.to_string()),
                Ok(true) => {}
            }
        }
        Err(format!("more bytes: {:?}", String::from_utf8_lossy(&self.ahead[self.taken..])))
    }

    /// The next bytes, whatever they are; none at the end of the stream.
    pub(crate) fn some_bytes(&mut self) -> io::Result<Vec<u8>> {
        if self.taken == self.ahead.len() {
            self.fill()?;
        }
        Ok(self.ahead.split_off(self.taken))
    }

    /// Bytes that were read and belong to nothing yet.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.ahead[self.taken..]
    }

    /// A whole request, or `None` when the stream ends before one begins.
    pub(crate) fn request(&mut self) -> Result<Option<Message>, Broken> {
        let Some(mut request) = self.request_head()? else { return Ok(None) };
        self.body(&mut request)?;
        Ok(Some(request))
    }

    /// A request's head with its framing found, or `None` when the stream ends before one begins.
    pub(crate) fn request_head(&mut self) -> Result<Option<Message>, Broken> {
        if self.taken == self.ahead.len() && !matches!(self.fill(), Ok(true)) {
            return Ok(None);
        }
        let first_line = self.line()?;
        let words: Vec<_> = first_line.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else {
            return malformed(format!("request line {first_line:?}"));
        };
        let printable = target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if !is_token(method) || target.is_empty() || !printable {
            return malformed(format!("request line {first_line:?}"));
        }
        let headers = self.header_lines()?;
        if headers.all("host").len() != 1 {
            return malformed(format!("{} Host lines", headers.all("host").len()));
        }
        let framing = framing_of(&headers)?.unwrap_or(Framing::Empty);
        let (body, trailers) = (Vec::new(), Headers::default());
        Ok(Some(Message { first_line, headers, framing, body, trailers }))
    }

    /// A whole final response to a request with `method`; informational ones before it are given to `on_interim`.
    pub(crate) fn response(
        &mut self,
        method: &str,
        mut on_interim: impl FnMut(&Message),
    ) -> Result<Message, Broken> {
        loop {
            let mut response = self.response_head(method)?;
            if response.status() / 100 == 1 && response.status() != 101 {
                on_interim(&response);
                continue;
            }
            self.body(&mut response)?;
            return Ok(response);
        }
    }

    pub(crate) fn response_head(&mut self, method: &str) -> Result<Message, Broken> {
        let first_line = self.line()?;
        let code =
            ["HTTP/1.1 ", "HTTP/1.0 "].iter().find_map(|version| first_line.strip_prefix(version));
        let code = code.and_then(|rest| rest.get(..3));
        let Some(code) = code.and_then(|code| code.parse::<u16>().ok()) else {
            return malformed(format!("status line {first_line:?}"));
        };
        let headers = self.header_lines()?;
        let framing = framing_of(&headers)?;
        let bodiless = method == "HEAD" || code / 100 == 1 || matches!(code, 204 | 304);
        if framing.is_some() && (code / 100 == 1 || code == 204) {
            return malformed(format!("a framing header on {code}"));
        }
        let framing =
            if bodiless { Framing::Empty } else { framing.unwrap_or(Framing::UntilClose) };
        let (body, trailers) = (Vec::new(), Headers::default());
        Ok(Message { first_line, headers, framing, body, trailers })
    }

    /// Reads the body that `message.framing` announces.
    pub(crate) fn body(&mut self, message: &mut Message) -> Result<(), Broken> {
        match message.framing {
            Framing::Empty => {}
            Framing::Length(length) => message.body = self.exactly(length)?,
            Framing::Chunked => {
                while let Some(chunk) = self.chunk()? {
                    message.body.extend(chunk);
                }
                message.trailers = self.header_lines()?;
            }
            Framing::UntilClose => {
                while let Ok(true) = self.fill() {}
                message.body = self.ahead.split_off(self.taken);
            }
        }
        Ok(())
    }

    /// The next chunk's data, or `None` after the last one, whose trailers come next.
    pub(crate) fn chunk(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let size = self.line()?;
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(size) = u64::from_str_radix(&size, 16).ok().filter(|_| digits) else {
            return malformed(format!("chunk size {size:?}"));
        };
        if size == 0 {
            return Ok(None);
        }
        let data = self.exactly(size)?;
        if !self.line()?.is_empty() {
            return malformed("a chunk longer than its size");
        }
        Ok(Some(data))
    }

    fn header_lines(&mut self) -> Result<Headers, Broken> {
        let mut headers = Headers::default();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            let Some((name, value)) = line.split_once(':') else {
                return malformed(format!("header line {line:?}"));
            };
            let controls = value.chars().any(|c| c.is_ascii_control() && c != '\t');
            if !is_token(name) || controls {
                return malformed(format!("header line {line:?}"));
            }
            let value = value.trim_matches([' ', '\t']);
            headers.0.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }
}

fn is_token(text: &str) -> bool {
    let symbol = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || symbol(byte))
}

/// The one framing that the headers name; two are a fault, and so is a length that is not plain digits.
fn framing_of(headers: &Headers) -> Result<Option<Framing>, Broken> {
    let (codings, lengths) = (headers.all("transfer-encoding"), headers.all("content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(None),
        (["chunked"], []) => Ok(Some(Framing::Chunked)),
        ([], [length]) if !length.is_empty() && length.bytes().all(|c| c.is_ascii_digit()) => {
            let Ok(length) = length.parse() else { return malformed("length too large") };
            Ok(Some(Framing::Length(length)))
        }
        _ => malformed(format!("framing by {codings:?} and {lengths:?}")),
    }
}
