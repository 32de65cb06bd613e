//! A request on its way to an endpoint: its head as HTTP/1.1 has it, and a body whose framing is ours alone.

use std::{
    io::Write as _,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    request,
};
use hyper::body::Body as _;

use super::Upstream;
use crate::{
    domain::ErrorReason,
    proxy::{body::RequestBody, error::ProxyError},
};

/// So much is copied, to leave in one piece; more of a body is not worth it.
const SMALL: usize = 16 * 1024;

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// What of a request has not been handed to its socket.
pub(super) struct Writer {
    body: RequestBody,
    framing: Framing,
    /// A part of the body that is written from where it is.
    large: Option<Bytes>,
    /// The body has ended.
    done: bool,
    /// The body is said to be empty and has not ended: not before that is sure may the request be taken for a whole one.
    held: bool,
    /// The socket takes no more; what the endpoint said before may still be read.
    failed: bool,
}

impl Writer {
    /// Nothing to write.
    pub(super) const fn idle() -> Self {
        Self {
            body: RequestBody::empty(),
            framing: Framing::Length(0),
            large: None,
            done: true,
            held: false,
            failed: false,
        }
    }

    /// Lets the head of a request go, with the lines of `added` after its first; where a body follows, its begin may join it.
    pub(super) fn begin(
        upstream: &Rc<Upstream>,
        parts: &request::Parts,
        added: &[u8],
        body: RequestBody,
    ) -> Self {
        let length = body.size_hint().exact();
        {
            let mut out = upstream.out();
            out.extend_from_slice(parts.method.as_str().as_bytes());
            out.push(b' ');
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            if target.starts_with('?') {
                // As in `http://host?query`, which has no path.
                out.push(b'/');
            }
            out.extend_from_slice(target.as_bytes());
            out.extend_from_slice(b" HTTP/1.1\r\n");
            out.extend_from_slice(added);
            write_lines(&mut out, &parts.headers);
            match length {
                Some(0) => {}
                Some(length) => {
                    out.extend_from_slice(b"content-length: ");
                    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
                None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            }
            out.extend_from_slice(b"\r\n");
        }
        let (done, framing) =
            (body.is_end_stream(), length.map_or(Framing::Chunked, Framing::Length));
        let held = !done && framing == Framing::Length(0);
        match (done, held) {
            (true, _) => upstream.depart_whole(),
            (false, false) => upstream.depart(),
            (false, true) => {}
        }
        Self { body, framing, large: None, done, held, failed: false }
    }

    /// The body, as far as it has not been read.
    pub(super) fn take_body(&mut self) -> RequestBody {
        std::mem::replace(&mut self.body, RequestBody::empty())
    }

    /// Whether nothing more of the request comes; its last bytes may wait to be written, small ones.
    pub(super) const fn has_ended(&self) -> bool {
        self.done && !self.failed && self.large.is_none()
    }

    /// Whether the socket takes no more.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether the whole request has left.
    pub(super) fn is_complete(&self, upstream: &Upstream) -> bool {
        self.has_ended() && upstream.is_flushed()
    }

    /// Sends as much as there is and the socket takes. Ready when there is nothing more to do.
    ///
    /// # Errors
    /// What is wrong with the body; what has not left then never will.
    pub(super) fn poll_send(
        &mut self,
        upstream: &Rc<Upstream>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ProxyError>> {
        let sent = self.poll_parts(upstream, cx);
        if matches!(sent, Poll::Ready(Err(_))) {
            self.failed = true;
            drop(upstream.take_out());
        }
        sent
    }

    fn poll_parts(
        &mut self,
        upstream: &Rc<Upstream>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ProxyError>> {
        loop {
            if self.failed {
                return Poll::Ready(Ok(()));
            }
            // What is small waits for the end of the turn.
            if !self.held && (!upstream.is_departing() || self.large.is_some()) {
                let written = ready!(upstream.poll_write(self.large.as_mut(), cx));
                self.failed = written.is_err();
                if self.large.take().is_some() && self.framing == Framing::Chunked {
                    upstream.out().extend_from_slice(b"\r\n");
                    upstream.depart();
                }
            }
            if self.done || self.failed {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(frame) => match frame?.into_data() {
                    Ok(data) => self.add(upstream, data)?,
                    Err(other) => {
                        let trailers = other.into_trailers().unwrap_or_default();
                        self.end(upstream, &trailers)?;
                    }
                },
                None => self.end(upstream, &HeaderMap::new())?,
            }
        }
    }

    fn add(&mut self, upstream: &Rc<Upstream>, data: Bytes) -> Result<(), ProxyError> {
        if data.is_empty() {
            return Ok(());
        }
        let mut out = upstream.out();
        match &mut self.framing {
            Framing::Length(left) => {
                let rest = left.checked_sub(data.len() as u64);
                *left = rest.ok_or_else(|| malformed("the body is longer than it says"))?;
            }
            // Writing to memory does not fail.
            Framing::Chunked => drop(write!(out, "{:x}\r\n", data.len())),
        }
        if out.len() + data.len() <= SMALL {
            out.extend_from_slice(&data);
            if self.framing == Framing::Chunked {
                out.extend_from_slice(b"\r\n");
            }
            drop(out);
            upstream.depart();
        } else {
            self.large = Some(data);
        }
        // Known to be the last part, it need not be followed by a question.
        self.done = self.framing == Framing::Length(0) && self.body.is_end_stream();
        Ok(())
    }

    fn end(&mut self, upstream: &Rc<Upstream>, trailers: &HeaderMap) -> Result<(), ProxyError> {
        self.done = true;
        match self.framing {
            Framing::Length(0) => {
                if std::mem::take(&mut self.held) {
                    upstream.depart();
                }
            }
            Framing::Length(_) => return Err(malformed("the body is shorter than it says")),
            Framing::Chunked => {
                let mut out = upstream.out();
                out.extend_from_slice(b"0\r\n");
                write_lines(&mut out, trailers);
                out.extend_from_slice(b"\r\n");
                drop(out);
                upstream.depart();
            }
        }
        Ok(())
    }
}

/// Writes header lines, without those that frame a message: they are written anew.
fn write_lines(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn malformed(why: &'static str) -> ProxyError {
    ProxyError::new(ErrorReason::MalformedRequest, why)
}
