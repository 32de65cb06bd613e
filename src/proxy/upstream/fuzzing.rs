//! The reader of answers as the fuzz target sees it. Compiled for it alone.

use bytes::Bytes;
use hyper::body::Frame;

use super::reader::{MOST_LINES, Rest, read_head};
use crate::proxy::{
    error::ProxyError,
    head::{Head, HeadLimits, Side},
};

/// What was made of an answer, or of its begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAnswer {
    /// Bytes of its head.
    pub head: usize,
    /// Its status code.
    pub status: u16,
    /// Its header lines, values trimmed.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What has come of its body.
    pub body: Vec<u8>,
    /// Lines of its trailer section.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Its body has ended by itself.
    pub is_ended: bool,
    /// Bytes behind its end.
    pub surplus: usize,
    /// Another answer may follow.
    pub keeps: bool,
}

/// Reads an answer that comes in two parts, cut at `cut`; `None` while its head is incomplete.
pub fn read_answer(
    input: &[u8],
    cut: usize,
    to_head: bool,
) -> Result<Option<ReadAnswer>, &'static str> {
    let refused = |fault: ProxyError| fault.detail();
    let mut head = Head::new(Side::Upstream, HeadLimits { bytes: 4096, lines: MOST_LINES });
    let (first, second) = input.split_at(cut.min(input.len()));
    let (length, behind, later) = match head.push(first).map_err(refused)? {
        Some(length) => (length, &first[length..], second),
        None => match head.push(second).map_err(refused)? {
            Some(length) => (first.len() + length, &second[length..], &[][..]),
            None => return Ok(None),
        },
    };
    let mut answer = read_head(&head, behind, to_head).map_err(refused)?;
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    let lines = |map: &http::HeaderMap| -> Vec<_> {
        map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect()
    };
    let mut surplus = 0;
    for mut part in [answer.carry, Bytes::copy_from_slice(later)] {
        while !part.is_empty() && !answer.rest.is_ended() {
            match answer.rest.take(&mut part).map_err(refused)?.map(Frame::into_data) {
                Some(Ok(data)) => body.extend_from_slice(&data),
                Some(Err(frame)) => {
                    trailers = frame.into_trailers().map_or_else(|_| Vec::new(), |map| lines(&map));
                }
                None => {}
            }
        }
        surplus += part.len();
    }
    Ok(Some(ReadAnswer {
        head: length,
        status: answer.parts.status.as_u16(),
        headers: lines(&answer.parts.headers),
        body,
        trailers,
        is_ended: matches!(answer.rest, Rest::Ended),
        surplus,
        keeps: answer.keeps,
    }))
}
