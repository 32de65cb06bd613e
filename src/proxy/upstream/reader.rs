//! An endpoint's answer as it comes: a head that has been held to the rules already, and a body up to where it ends.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version, header::CONNECTION, response,
};
use hyper::{
    body::{Frame, SizeHint},
    ext::ReasonPhrase,
};

use crate::{
    domain::ErrorReason,
    proxy::{
        chunks::ChunkScanner,
        error::ProxyError,
        head::{Framing, Head},
        scan,
    },
};

/// Most header lines of an answer, and of its trailers.
pub(super) const MOST_LINES: usize = 100;

/// What is still to come of an answer's body.
pub(super) enum Rest {
    /// So many bytes.
    Length(u64),
    /// Chunks, and the trailers so far.
    Chunked(ChunkScanner, Vec<u8>),
    /// Whatever comes until the endpoint closes.
    UntilClose,
    /// Nothing.
    Ended,
}

impl Rest {
    pub(super) const fn is_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Ended => SizeHint::with_exact(0),
            Self::Chunked(..) | Self::UntilClose => SizeHint::new(),
        }
    }

    /// How much is wanted at most of what comes next.
    pub(super) fn wanted(&self) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            Self::Chunked(..) | Self::UntilClose => usize::MAX,
            Self::Ended => 0,
        }
    }

    /// Takes the next part out of `input`, which is not empty; `None` when it says nothing yet, or the body has ended.
    pub(super) fn take(&mut self, input: &mut Bytes) -> Result<Option<Frame<Bytes>>, ProxyError> {
        match self {
            Self::Ended => Ok(None),
            Self::UntilClose => Ok(Some(Frame::data(std::mem::take(input)))),
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= here as u64;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Some(Frame::data(input.split_to(here))))
            }
            Self::Chunked(scanner, trailers) => {
                let stretch = scanner.stretch(input, trailers);
                let (before, data) =
                    stretch.map_err(|_| malformed("a chunk breaks the grammar"))?;
                input.advance(before);
                if input.is_empty() {
                    // An empty part of a block would keep all of it, for as long as the next bytes are awaited.
                    *input = Bytes::new();
                }
                if data > 0 {
                    return Ok(Some(Frame::data(input.split_to(data))));
                }
                if !scanner.is_done() {
                    return Ok(None);
                }
                let trailers = read_trailers(trailers)?;
                *self = Self::Ended;
                Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
            }
        }
    }
}

/// An answer whose head is complete.
pub(super) struct Answer {
    pub(super) parts: response::Parts,
    /// What is to come of its body.
    pub(super) rest: Rest,
    /// What has come already after the head.
    pub(super) carry: Bytes,
    /// Another answer may follow on the same connection.
    pub(super) keeps: bool,
}

/// Reads a complete head, which `input` came right after; `to_head`: it answers a HEAD request.
///
/// # Errors
/// `MalformedResponse`, for what [`Head`] leaves to the parser: tokens and values.
pub(super) fn read_head(head: &Head, input: &[u8], to_head: bool) -> Result<Answer, ProxyError> {
    // One block holds all of it, which the header values share.
    let mut bytes = BytesMut::with_capacity(head.bytes().len() + input.len());
    bytes.extend_from_slice(head.bytes());
    bytes.extend_from_slice(input);
    let mut bytes = bytes.freeze();
    let carry = bytes.split_off(head.bytes().len());
    let status = StatusCode::from_u16(head.status()).map_err(|_| malformed("no status code"))?;
    let mut lines = Lines { bytes: &bytes, at: 0 };
    let reason = lines.next().unwrap_or_default();
    let (mut closes, mut keeps) = (false, !head.is_http_10());
    let mut headers = HeaderMap::with_capacity(head.fields());
    for line in lines {
        let (name, value) = field(&bytes, line).ok_or(malformed("a header line breaks HTTP"))?;
        if name == CONNECTION {
            let says = |wanted| has_token(value.as_bytes(), wanted);
            closes |= says(b"close");
            keeps |= says(b"keep-alive");
        }
        headers.append(name, value);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = if head.is_http_10() { Version::HTTP_10 } else { Version::HTTP_11 };
    *response.headers_mut() = headers;
    // `HTTP/1.1 200 ` is before it.
    let reason = reason.get(13..).unwrap_or_default();
    // None at all is said only where the library would make one up.
    let usual = status.canonical_reason().map(str::as_bytes);
    if usual != Some(reason) && (usual.is_none() || !reason.is_empty()) {
        let reason = ReasonPhrase::try_from(reason);
        let reason = reason.map_err(|_| malformed("the status line breaks HTTP"))?;
        response.extensions_mut().insert(reason);
    }
    // RFC 9112 §6.3.
    let rest = match (status, head.framing()) {
        _ if to_head => Rest::Ended,
        (
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED,
            _,
        )
        | (_, Framing::Length(0)) => Rest::Ended,
        (_, Framing::Length(length)) => Rest::Length(length),
        (_, Framing::Chunked) => Rest::Chunked(ChunkScanner::of_answer(), Vec::new()),
        (_, Framing::Absent) => Rest::UntilClose,
    };
    keeps &= !closes && !matches!(rest, Rest::UntilClose);
    Ok(Answer { parts: response.into_parts().0, rest, carry, keeps })
}

/// The lines of a complete head without their CR LF, up to the empty one.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let rest = &self.bytes[self.at..];
        let end = scan::find(b'\n', rest)?;
        self.at += end + 1;
        rest[..end].strip_suffix(b"\r").filter(|line| !line.is_empty())
    }
}

/// A header line of `bytes`, whose part the value stays; `None` if it breaks the grammar.
fn field(bytes: &Bytes, line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_at_checked(scan::find(b':', line)?)?;
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let value = &value[1..];
    let begin = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(begin, |last| last + 1);
    let value = HeaderValue::from_maybe_shared(bytes.slice_ref(&value[begin..end])).ok()?;
    Some((HeaderName::from_bytes(name).ok()?, value))
}

/// The trailers in `bytes`, which end with an empty line.
fn read_trailers(bytes: &[u8]) -> Result<HeaderMap, ProxyError> {
    let fault = || malformed("the trailers break HTTP");
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    let parsed = httparse::parse_headers(bytes, &mut lines).map_err(|_| fault())?;
    let httparse::Status::Complete((_, lines)) = parsed else { return Err(fault()) };
    let mut trailers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| fault())?;
        trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| fault())?);
    }
    Ok(trailers)
}

fn has_token(value: &[u8], wanted: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
}

fn malformed(why: &'static str) -> ProxyError {
    ProxyError::new(ErrorReason::MalformedResponse, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::{HeadLimits, Side};

    fn answer(text: &str, to_head: bool) -> Result<Answer, ErrorReason> {
        let mut head = Head::new(Side::Upstream, HeadLimits { bytes: 4096, lines: MOST_LINES });
        let taken = head.push(text.as_bytes()).map_err(|fault| fault.reason())?.unwrap();
        read_head(&head, &text.as_bytes()[taken..], to_head).map_err(|fault| fault.reason())
    }

    #[test]
    fn a_head_is_read_and_what_follows_is_kept() {
        let text =
            "HTTP/1.1 200 Fine\r\nA: 1\r\na:\t2 \t\r\nEmpty:\r\nContent-Length: 5\r\n\r\nhello";
        let answer = answer(text, false).unwrap();
        assert_eq!((answer.parts.status, answer.parts.version), (StatusCode::OK, Version::HTTP_11));
        let reason = answer.parts.extensions.get::<ReasonPhrase>().unwrap();
        assert_eq!(reason.as_bytes(), b"Fine");
        let values: Vec<_> = answer.parts.headers.get_all("a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(answer.parts.headers["empty"], "");
        assert_eq!((&answer.carry[..], answer.keeps), (&b"hello"[..], true));
        assert!(matches!(answer.rest, Rest::Length(5)));
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for bad in [
            "HTTP/1.1 200 O\x01K\r\n\r\n",
            "HTTP/1.1 200\r\nA : 1\r\n\r\n",
            "HTTP/1.1 200\r\nA\r\n\r\n",
            "HTTP/1.1 200\r\n: 1\r\n\r\n",
            "HTTP/1.1 200\r\nA(: 1\r\n\r\n",
            "HTTP/1.1 200\r\nA: \x0c\r\n\r\n",
            "HTTP/1.1 200\r\nA: \x7f\r\n\r\n",
        ] {
            assert_eq!(answer(bad, false).err(), Some(ErrorReason::MalformedResponse), "{bad:?}");
        }
    }

    /// RFC 9112 §6.3, by status, framing and the request's method.
    #[test]
    fn a_body_ends_where_the_head_says() {
        let rest = |text: &str, to_head| {
            let Answer { rest, keeps, .. } = answer(text, to_head).unwrap();
            let rest = match rest {
                Rest::Length(length) => format!("{length}"),
                Rest::Chunked(..) => "chunked".into(),
                Rest::UntilClose => "close".into(),
                Rest::Ended => "none".into(),
            };
            (rest, keeps)
        };
        for (text, to_head, body, keeps) in [
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", false, "none", true),
            ("HTTP/1.1 200\r\ncontent-length: 7\r\n\r\n", false, "7", true),
            ("HTTP/1.1 200\r\ncontent-length: 7\r\n\r\n", true, "none", true),
            ("HTTP/1.1 304\r\ncontent-length: 7\r\n\r\n", false, "none", true),
            ("HTTP/1.1 204\r\n\r\n", false, "none", true),
            ("HTTP/1.1 101\r\n\r\n", false, "none", true),
            ("HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n", false, "chunked", true),
            ("HTTP/1.1 200\r\n\r\n", false, "close", false),
            ("HTTP/1.1 200\r\n\r\n", true, "none", true),
        ] {
            assert_eq!(rest(text, to_head), (body.to_owned(), keeps), "{text:?} {to_head}");
        }
    }

    #[test]
    fn a_connection_is_kept_where_both_sides_keep_it() {
        let keeps = |first: &str, connection: &str| {
            let head = format!("{first} 204\r\n{connection}\r\n");
            answer(&head, false).unwrap().keeps
        };
        for (first, connection, expected) in [
            ("HTTP/1.1", "", true),
            ("HTTP/1.1", "Connection: x, Close\r\n", false),
            ("HTTP/1.1", "Connection: close\r\nConnection: keep-alive, x\r\n", false),
            ("HTTP/1.0", "", false),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ] {
            assert_eq!(keeps(first, connection), expected, "{first} {connection:?}");
        }
    }

    #[test]
    fn nothing_of_a_block_is_held_once_all_of_it_has_been_read() {
        let mut rest = Rest::Chunked(ChunkScanner::of_answer(), Vec::new());
        for part in ["3\r\nabc\r\n", "3\r\nab", "c", "\r\n0\r\n\r\n"] {
            let block = Bytes::from(part.to_owned());
            let mut input = block.clone();
            while !input.is_empty() {
                rest.take(&mut input).unwrap();
            }
            assert!(block.is_unique(), "{part:?}");
        }
        assert!(rest.is_ended());
    }

    #[test]
    fn a_chunked_body_gives_its_data_and_its_trailers() {
        let mut rest = Rest::Chunked(ChunkScanner::of_answer(), Vec::new());
        let mut input = Bytes::from_static(b"3\r\nabc\r\n1;x\r\nd\r\n0\r\nx-a: 1\r\n\r\nsurplus");
        let mut seen = Vec::new();
        while !rest.is_ended() {
            if let Some(frame) = rest.take(&mut input).unwrap() {
                seen.push(match frame.into_data() {
                    Ok(data) => String::from_utf8(data.to_vec()).unwrap(),
                    Err(frame) => format!("{:?}", frame.into_trailers().unwrap()),
                });
            }
        }
        assert_eq!(seen, ["abc", "d", "{\"x-a\": \"1\"}"]);
        assert_eq!(input, "surplus");
    }
}
