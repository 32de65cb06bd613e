//! A door for the fuzz targets to parsers that nobody outside the data plane calls. Compiled for them alone.
//!
//! Each function feeds its parser in two parts, cut at `cut`, as a socket may.

use std::net::IpAddr;

use http::HeaderValue;

pub use super::upstream::fuzzing::{ReadAnswer, read_answer};
use super::{
    access, affinity,
    chunks::ChunkScanner,
    edge, frames, head,
    headers::{self, Host},
    http2,
};
use crate::{config::model::Algorithm, domain::Queue};

/// A head that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenHead {
    /// Bytes of the input up to its end.
    pub length: usize,
    /// What the HTTP library gets.
    pub passed_on: Vec<u8>,
    /// `content-length`.
    pub body: Option<u64>,
    /// `transfer-encoding: chunked`.
    pub is_chunked: bool,
    /// Status of an answer; 0 for a request.
    pub status: u16,
}

/// Limits of the heads that are read here.
pub const HEAD_BYTES: usize = 2048;
/// Header lines of a head.
pub const HEAD_LINES: usize = 16;

/// Reads a head; `Err` where it is refused, `None` where more must come.
pub fn read_head(
    input: &[u8],
    cut: usize,
    of_request: bool,
) -> Result<Option<TakenHead>, &'static str> {
    let side = if of_request { head::Side::Downstream } else { head::Side::Upstream };
    let limits = head::HeadLimits { bytes: HEAD_BYTES, lines: HEAD_LINES };
    let mut reader = head::Head::new(side, limits);
    let (first, second) = input.split_at(cut.min(input.len()));
    let refused = |fault: super::error::ProxyError| fault.detail();
    let length = match reader.push(first).map_err(refused)? {
        Some(length) => Some(length),
        None => reader.push(second).map_err(refused)?.map(|length| first.len() + length),
    };
    Ok(length.map(|length| TakenHead {
        length,
        passed_on: reader.bytes().to_vec(),
        body: match reader.framing() {
            head::Framing::Length(body) => Some(body),
            head::Framing::Absent | head::Framing::Chunked => None,
        },
        is_chunked: reader.framing() == head::Framing::Chunked,
        status: reader.status(),
    }))
}

/// Watches a chunked body; how many bytes belong to it and whether it has ended, `None` where it is refused.
pub fn scan_chunks(input: &[u8], cut: usize) -> Option<(usize, bool)> {
    let mut scanner = ChunkScanner::new();
    let (first, second) = input.split_at(cut.min(input.len()));
    let mut taken = scanner.scan(first).ok()?;
    if taken == first.len() {
        taken += scanner.scan(second).ok()?;
    }
    Some((taken, scanner.is_done()))
}

/// Passes over frames of a WebSocket; whether it stands between two of them, and how many bytes of `next` belong to the frame
/// that has begun.
pub fn pass_frames(input: &[u8], cut: usize, next: &[u8]) -> (bool, usize) {
    let mut place = frames::Frames::default();
    let (first, second) = input.split_at(cut.min(input.len()));
    place.pass(first);
    place.pass(second);
    (place.is_between(), place.rest(next))
}

/// Counts frames of HTTP/2; the last stream that was opened, or what was used up.
pub fn count_frames(input: &[u8], cut: usize) -> Result<u32, Queue> {
    let (mut scanner, budget) = (http2::FrameScanner::new(), http2::Budget::default());
    let (first, second) = input.split_at(cut.min(input.len()));
    scanner.scan(first, &budget)?;
    scanner.scan(second, &budget)?;
    Ok(scanner.last_stream())
}

/// The host's name in a `host` header, if it is one.
pub fn host_name(value: &[u8]) -> Option<String> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Host::is_valid(&value).then(|| Host { value }.name().into_owned())
}

/// Whom a line of `forwarded` names as the client to whoever trusts its own machine alone; `None` if it is no header's value.
pub fn told_client(line: &[u8]) -> Option<IpAddr> {
    headers::told_client(line)
}

/// The value of the first cookie called `name` in a line.
pub fn cookie_in<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    affinity::cookie_in(line, name)
}

/// The value of the first parameter called `name` in a query.
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a [u8]> {
    affinity::parameter(query, name)
}

/// The content coding that an `accept-encoding` chooses of all that are offered.
pub fn choose_coding(line: &[u8]) -> Option<Algorithm> {
    let offered = [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];
    edge::choose_coding([line].into_iter(), &offered)
}

/// A foreign value as lines of the access log hold it: inside a JSON string, and inside a template's line.
pub fn escaped(value: &[u8]) -> [Vec<u8>; 2] {
    [access::escape_json, access::escape_text].map(|escape| {
        let mut out = Vec::new();
        escape(value, &mut out);
        out
    })
}

/// A foreign value as a redirect's address holds it.
pub fn escaped_address(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    edge::escape_address(value, &mut out);
    out
}
