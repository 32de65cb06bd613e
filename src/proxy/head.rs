//! The head of a message as bytes, held to RFC 9112 before anything else is read out of it.
//!
//! The library is lenient where two parsers may disagree: bare line feeds, repeated or conflicting framing headers, lists of
//! transfer codings. A head is therefore collected here until it is complete, each line is checked, and only a head that
//! can be read in one way is passed on. Everything that one parser alone decides (methods, tokens, values) is left to
//! whoever reads it then: the library for requests, `upstream/reader.rs` for answers, `interim.rs` for what comes before one.

use std::ops::Range;

use super::{error::ProxyError, scan};
use crate::domain::ErrorReason;

/// Which side sent the head, and so whose fault its faults are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A request from a client.
    Downstream,
    /// An answer from an endpoint.
    Upstream,
}

/// How a message says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Neither length nor coding: a request has no body, an answer ends with its connection.
    Absent,
    /// `content-length`, in bytes.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
}

/// Bounds of a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    /// Bytes, first line and empty line included.
    pub(super) bytes: usize,
    /// Header lines.
    pub(super) lines: usize,
}

/// A head being collected.
#[derive(Debug)]
pub(super) struct Head {
    side: Side,
    limits: HeadLimits,
    bytes: Vec<u8>,
    /// Where the present line begins.
    line: usize,
    lines: usize,
    framing: Framing,
    http_10: bool,
    status: u16,
    /// Where the line `connection: keep-alive` is.
    keep_alive: Option<Range<usize>>,
}

impl Head {
    pub(super) const fn new(side: Side, limits: HeadLimits) -> Self {
        Self {
            side,
            limits,
            bytes: Vec::new(),
            line: 0,
            lines: 0,
            framing: Framing::Absent,
            http_10: false,
            status: 0,
            keep_alive: None,
        }
    }

    /// Forgets the head; its room is kept for the next one, if that is no more than most heads need.
    pub(super) fn clear(&mut self) {
        const ROOM: usize = 4 * 1024;
        self.bytes.clear();
        self.bytes.shrink_to(ROOM);
        self.line = 0;
        self.lines = 0;
        self.framing = Framing::Absent;
        self.http_10 = false;
        self.status = 0;
        self.keep_alive = None;
    }

    /// Keeps the begin of what may be no head at all.
    pub(super) fn hold(&mut self, input: &[u8]) {
        self.bytes.extend_from_slice(input);
    }

    /// Takes a head that was checked elsewhere.
    pub(super) fn adopt(&mut self, bytes: Vec<u8>, framing: Framing) {
        self.clear();
        self.bytes = bytes;
        self.framing = framing;
    }

    /// Gives the room back, where the next head may be long in coming.
    pub(super) fn release(&mut self) {
        self.clear();
        self.bytes = Vec::new();
    }

    /// The head as it came, up to and with its empty line once complete; `connection: keep-alive` alone is left out.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing of a head has come.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the body ends; known once the head is complete.
    pub(super) const fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the message is of HTTP/1.0.
    pub(super) const fn is_http_10(&self) -> bool {
        self.http_10
    }

    /// Status code of a complete answer, 100 to 999; 0 for a request.
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// Header lines so far.
    pub(super) const fn fields(&self) -> usize {
        self.lines.saturating_sub(1)
    }

    /// Takes `input` up to the end of the head.
    ///
    /// `Some(n)`: the head is complete and ended with byte `n` of `input`. `None`: all of it was taken, more must come.
    ///
    /// # Errors
    /// What is wrong with the first faulty line.
    pub(super) fn push(&mut self, input: &[u8]) -> Result<Option<usize>, ProxyError> {
        /// Most heads fit. What follows one is not copied, and leaves no room behind that a head would not need.
        const PART: usize = 2 * 1024;
        let mut taken = 0;
        for part in input.chunks(PART) {
            if let Some(end) = self.push_part(part)? {
                return Ok(Some(taken + end));
            }
            taken += part.len();
        }
        Ok(None)
    }

    fn push_part(&mut self, input: &[u8]) -> Result<Option<usize>, ProxyError> {
        let before = self.bytes.len();
        // One byte over the limit is enough to know that it is passed.
        let room = (self.limits.bytes + 1).saturating_sub(before);
        self.bytes.extend_from_slice(&input[..input.len().min(room)]);
        let mut from = before;
        while let Some(found) = scan::find(b'\n', &self.bytes[from..]) {
            let end = from + found;
            if self.take_line(self.line, end)? {
                self.bytes.truncate(end + 1);
                self.check_whole()?;
                self.leave_out_keep_alive();
                return Ok(Some(end + 1 - before));
            }
            from = end + 1;
            self.line = from;
        }
        if self.bytes.len() > self.limits.bytes { Err(self.too_large()) } else { Ok(None) }
    }

    /// `connection: keep-alive` says what HTTP/1.1 means anyway, and many say it: left out here, it need not be parsed, kept in
    /// a map, and removed from there.
    fn leave_out_keep_alive(&mut self) {
        if let Some(line) = self.keep_alive.take()
            && !self.http_10
        {
            self.bytes.drain(line);
        }
    }

    /// What is quicker to check of all lines at once.
    fn check_whole(&self) -> Result<(), ProxyError> {
        if self.bytes.len() > self.limits.bytes {
            return Err(self.too_large());
        }
        // Each line has the CR before its LF; one more, or a NUL, is one too many.
        let bare = count(&self.bytes, |byte| byte == b'\r' || byte == 0);
        let lines = self.lines + 1 + usize::from(self.bytes.starts_with(b"\r\n"));
        if bare == lines { Ok(()) } else { Err(self.malformed("a bare CR or NUL in the head")) }
    }

    /// Checks the line from `start` to the line feed at `end`; true when it is the empty line that ends the head.
    fn take_line(&mut self, start: usize, end: usize) -> Result<bool, ProxyError> {
        let line = match self.bytes[start..end].split_last() {
            Some((b'\r', line)) => line,
            _ => return Err(self.malformed("a line does not end with CR LF")),
        };
        if line.is_empty() {
            // RFC 9112 §2.2: a server ignores an empty line before the request line. One, not a stream of them.
            return match self.lines {
                0 if start == 0 && self.side == Side::Downstream => Ok(false),
                0 => Err(self.malformed("the first line is missing")),
                _ => Ok(true),
            };
        }
        self.lines += 1;
        if self.lines == 1 {
            return self.take_first_line(start, end - 1).map(|()| false);
        }
        if self.lines - 1 > self.limits.lines {
            return Err(self.too_large());
        }
        self.take_field(start, end - 1).map(|()| false)
    }

    fn take_first_line(&mut self, start: usize, end: usize) -> Result<(), ProxyError> {
        let line = &self.bytes[start..end];
        match self.side {
            Side::Downstream => {
                self.http_10 = match line {
                    [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'] => false,
                    [.., b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'] => true,
                    _ => return Err(self.malformed("the request line does not end with HTTP/1.1")),
                };
                // A fragment is never sent (RFC 9110 §7.1); the library would drop it silently.
                if memchr::memchr(b'#', line).is_some() {
                    return Err(self.malformed("a fragment in the request target"));
                }
            }
            Side::Upstream => match *line {
                [
                    b'H',
                    b'T',
                    b'T',
                    b'P',
                    b'/',
                    b'1',
                    b'.',
                    minor @ (b'0' | b'1'),
                    b' ',
                    a @ b'1'..=b'9',
                    b,
                    c,
                    ref rest @ ..,
                ] if b.is_ascii_digit()
                    && c.is_ascii_digit()
                    && rest.first().is_none_or(|next| *next == b' ') =>
                {
                    self.http_10 = minor == b'0';
                    let digit = |d: u8| u16::from(d - b'0');
                    self.status = digit(a) * 100 + digit(b) * 10 + digit(c);
                }
                _ => return Err(self.malformed("the status line is not one of HTTP/1")),
            },
        }
        Ok(())
    }

    fn take_field(&mut self, start: usize, end: usize) -> Result<(), ProxyError> {
        let line = &self.bytes[start..end];
        // Few names are looked at; their first letters tell most others apart.
        match line[0] {
            b' ' | b'\t' => return Err(self.malformed("a folded header line")),
            b'c' | b'C' => {
                if let Some(length) = value_of(line, b"content-length") {
                    self.framing = self.frame_by_length(length)?;
                } else if value_of(line, b"connection").is_some_and(|says| is(says, b"keep-alive"))
                {
                    self.keep_alive = Some(start..end + 2);
                }
            }
            b't' | b'T' => {
                if let Some(coding) = value_of(line, b"transfer-encoding") {
                    self.framing = self.frame_by_coding(coding)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn frame_by_length(&self, value: &[u8]) -> Result<Framing, ProxyError> {
        if self.framing != Framing::Absent {
            return Err(self.malformed("more than one of content-length and transfer-encoding"));
        }
        // 18 digits are below 2^63, so the library's own arithmetic cannot overflow either.
        let plain = matches!(value.len(), 1..=18) && value.iter().all(u8::is_ascii_digit);
        if !plain {
            return Err(self.malformed("content-length is no number"));
        }
        let digits = value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        Ok(Framing::Length(digits))
    }

    fn frame_by_coding(&self, value: &[u8]) -> Result<Framing, ProxyError> {
        if self.framing != Framing::Absent {
            return Err(self.malformed("more than one of content-length and transfer-encoding"));
        }
        if self.http_10 {
            return Err(self.malformed("transfer-encoding in HTTP/1.0"));
        }
        if !is(value, b"chunked") {
            return Err(self.malformed("a transfer-encoding other than chunked"));
        }
        Ok(Framing::Chunked)
    }

    fn malformed(&self, why: &'static str) -> ProxyError {
        match self.side {
            Side::Downstream => ProxyError::new(ErrorReason::MalformedRequest, why),
            Side::Upstream => ProxyError::new(ErrorReason::MalformedResponse, why),
        }
    }

    fn too_large(&self) -> ProxyError {
        match self.side {
            Side::Downstream => {
                ProxyError::new(ErrorReason::HeadTooLarge, "the request's head is too large")
            }
            Side::Upstream => {
                ProxyError::new(ErrorReason::MalformedResponse, "the answer's head is too large")
            }
        }
    }
}

/// The value of a header line, if it has that name, which is in lower case.
fn value_of<'l, const N: usize>(line: &'l [u8], name: &[u8; N]) -> Option<&'l [u8]> {
    let (named, rest) = line.split_first_chunk::<N>()?;
    let (b':', value) = rest.split_first()? else { return None };
    is(named, name).then(|| value.trim_ascii())
}

/// Whether `text` is `lower` in whatever case. Of known length, all of it is compared at once.
fn is<const N: usize>(text: &[u8], lower: &[u8; N]) -> bool {
    text.as_array::<N>().is_some_and(|text| {
        let mut text = *text;
        text.make_ascii_lowercase();
        text == *lower
    })
}

/// How many of `bytes` are `wanted`; in blocks whose counts fit a byte, so that the compiler compares sixteen at once.
fn count(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> usize {
    let of_block = |block: &[u8]| block.iter().map(|byte| u8::from(wanted(*byte))).sum::<u8>();
    bytes.chunks(255).map(|block| usize::from(of_block(block))).sum()
}

#[cfg(test)]
mod tests;
