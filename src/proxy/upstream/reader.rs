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
    let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
    let mut parsed = httparse::Response::new(&mut lines);
    let complete = parsed.parse(&bytes).is_ok_and(|status| status.is_complete());
    if !complete {
        return Err(malformed("the answer breaks HTTP"));
    }
    let status = StatusCode::from_u16(head.status()).map_err(|_| malformed("no status code"))?;
    let mut keeps = !head.is_http_10();
    let mut headers = HeaderMap::with_capacity(parsed.headers.len());
    for line in parsed.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(malformed("a header line breaks HTTP"));
        };
        if name == CONNECTION {
            let says = |wanted| has_token(line.value, wanted);
            keeps = !says(b"close") && (keeps || says(b"keep-alive"));
        }
        headers.append(name, value);
    }
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = if head.is_http_10() { Version::HTTP_10 } else { Version::HTTP_11 };
    *response.headers_mut() = headers;
    if let Some(reason) = parsed.reason
        && !reason.is_empty()
        && status.canonical_reason() != Some(reason)
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
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
        (_, Framing::Chunked) => Rest::Chunked(ChunkScanner::new(), Vec::new()),
        (_, Framing::Absent) => Rest::UntilClose,
    };
    keeps &= !matches!(rest, Rest::UntilClose);
    Ok(Answer { parts: response.into_parts().0, rest, carry, keeps })
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
