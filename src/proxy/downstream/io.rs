//! The bytes between the client's socket and the HTTP library.
//!
//! The library gets one whole, checked request at a time: no byte of a request before its head is complete, and no byte of the
//! next one before the present one is answered. So a head that may be read in two ways never reaches it, a client that
//! trickles costs a buffer and nothing else, and what is pipelined waits its turn.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::ReadBuf;

use super::{Downstream, Phase, outbox::Outbox};
use crate::{
    domain::ErrorReason,
    lifecycle::clock,
    proxy::{chunks::ChunkScanner, error::ProxyError, head::Framing},
};

/// Bytes of requests to come that are kept while one is being answered.
const MOST_EARLY: usize = 64 * 1024;

/// How far the present request has been taken from the socket.
enum Message {
    /// The head is being collected, or handed over from byte `given` on.
    Head { given: Option<usize> },
    /// A body of known length; bytes to come.
    Length(u64),
    /// A chunked body.
    Chunked(ChunkScanner),
    /// All of it has been handed over.
    Complete,
}

/// The socket as the HTTP library sees it.
pub(in crate::proxy) struct DownstreamIo {
    shared: Rc<Downstream>,
    message: Message,
    /// Read, but not handed over yet.
    carry: Vec<u8>,
    /// The library asked for the next request while the last answer was on its way.
    waits_for_flush: bool,
    /// The client may still begin with the preface of HTTP/2.
    may_multiplex: bool,
}

impl DownstreamIo {
    pub(in crate::proxy) fn new(shared: Rc<Downstream>) -> Self {
        Self {
            may_multiplex: shared.protocol().is_none(),
            shared,
            message: Message::Head { given: None },
            carry: Vec::new(),
            waits_for_flush: false,
        }
    }

    /// Gives back what an idle connection does not need.
    pub(in crate::proxy) fn rest(&mut self) {
        self.message = Message::Head { given: None };
        self.shared.head.borrow_mut().release();
        *self.shared.added.borrow_mut() = Vec::new();
        *self.shared.outbox.borrow_mut() = Outbox::default();
        if self.carry.is_empty() {
            self.carry = Vec::new();
        }
    }

    /// What was read beyond the present request.
    pub(in crate::proxy) fn take_carry(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.carry)
    }

    /// Waits for a complete head; false when the client closed before one came.
    pub(in crate::proxy) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, HeadEnd>> {
        loop {
            if !self.carry.is_empty() {
                let input = std::mem::take(&mut self.carry);
                let taken = self.take_head(&input)?;
                self.carry = input;
                self.carry.drain(..taken.unwrap_or(self.carry.len()));
                if taken.is_some() {
                    return Poll::Ready(Ok(true));
                }
                continue;
            }
            let shared = self.shared.clone();
            let mut scratch = shared.worker.scratch();
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(shared.poll_socket(cx, &mut buf))?;
            if buf.filled().is_empty() {
                shared.left.set(true);
                return Poll::Ready(Ok(false));
            }
            if let Some(taken) = self.take_head(buf.filled())? {
                self.carry.extend_from_slice(&buf.filled()[taken..]);
                return Poll::Ready(Ok(true));
            }
        }
    }

    fn take_head(&mut self, input: &[u8]) -> Result<Option<usize>, HeadEnd> {
        let refuse = |fault| {
            self.shared.set_fault(fault);
            HeadEnd::Refused
        };
        let mut head = self.shared.head.borrow_mut();
        let begins = head.is_empty();
        let preface =
            if self.may_multiplex { Preface::of(head.bytes(), input) } else { Preface::Other };
        let pushed = match preface {
            Preface::Whole => {
                return Err(HeadEnd::Preface([head.bytes(), input].concat()));
            }
            Preface::Part => {
                head.hold(input);
                None
            }
            Preface::Other => {
                self.may_multiplex = false;
                head.push(input).map_err(refuse)?
            }
        };
        let Some(taken) = pushed else {
            if begins {
                self.shared.phase.set(Phase::Head);
                let patience = self.shared.listener.header_timeout;
                self.shared.deadline.set(clock::now() + patience);
            }
            return Ok(None);
        };
        // What has already come of a body is looked at now: a body that is no body shall cost no upstream anything.
        if head.framing() == Framing::Chunked {
            ChunkScanner::new().scan(&input[taken..]).map_err(refuse)?;
        }
        self.message = Message::Head { given: Some(0) };
        self.shared.phase.set(Phase::Parsing);
        Ok(Some(taken))
    }

    /// Hands over the head, or the next part of it.
    fn give_head(&mut self, given: usize, cursor: &mut ReadBufCursor<'_>) {
        let head = self.shared.head.borrow();
        let part = &head.bytes()[given..];
        let fits = part.len().min(cursor.remaining());
        cursor.put_slice(&part[..fits]);
        self.message = if fits < part.len() {
            Message::Head { given: Some(given + fits) }
        } else {
            match head.framing() {
                Framing::Absent | Framing::Length(0) => Message::Complete,
                Framing::Length(length) => Message::Length(length),
                Framing::Chunked => Message::Chunked(ChunkScanner::new()),
            }
        };
    }

    /// Hands over what of `input` belongs to the body; returns how much that was.
    fn give_body(&mut self, input: &[u8], cursor: &mut ReadBufCursor<'_>) -> io::Result<usize> {
        let input = &input[..input.len().min(cursor.remaining())];
        let taken = match &mut self.message {
            Message::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= here as u64;
                if *left == 0 {
                    self.message = Message::Complete;
                }
                here
            }
            Message::Chunked(scanner) => {
                let here = scanner.scan(input).map_err(|fault| {
                    self.shared.body_fault.set(Some(fault));
                    io::Error::other(fault)
                })?;
                if scanner.is_done() {
                    self.message = Message::Complete;
                }
                here
            }
            Message::Head { .. } | Message::Complete => 0,
        };
        cursor.put_slice(&input[..taken]);
        Ok(taken)
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.carry.is_empty() {
            let input = std::mem::take(&mut self.carry);
            let taken = self.give_body(&input, cursor)?;
            self.carry = input;
            self.carry.drain(..taken);
            return Poll::Ready(Ok(()));
        }
        let shared = self.shared.clone();
        let mut scratch = shared.worker.scratch();
        let room = scratch.len().min(cursor.remaining());
        let mut buf = ReadBuf::new(&mut scratch[..room]);
        ready!(shared.poll_socket(cx, &mut buf))?;
        shared.left.set(buf.filled().is_empty());
        let taken = self.give_body(buf.filled(), cursor)?;
        self.carry.extend_from_slice(&buf.filled()[taken..]);
        Poll::Ready(Ok(()))
    }

    /// The library looks beyond the request being answered, to learn whether the client is still there.
    fn poll_beyond(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What comes early is kept up to here; beyond, a client that leaves is noticed when its turn comes.
        while self.carry.len() < MOST_EARLY {
            let shared = self.shared.clone();
            let mut scratch = shared.worker.scratch();
            let room = scratch.len().min(MOST_EARLY - self.carry.len());
            let mut buf = ReadBuf::new(&mut scratch[..room]);
            let read = shared.poll_socket(cx, &mut buf);
            if read.is_pending() {
                break;
            }
            ready!(read)?;
            if buf.filled().is_empty() {
                shared.left.set(true);
                return Poll::Ready(Ok(()));
            }
            self.carry.extend_from_slice(buf.filled());
        }
        if self.carry.is_empty() {
            return Poll::Pending;
        }
        self.shared.pipelined.set(true);
        Poll::Pending
    }

    /// The library refuses a head by itself; its bare answer is dropped, and the connection ends with one of ours.
    fn take_refusal(&self, answer: &[u8]) {
        let fault = match answer.get(9..12) {
            Some(b"431" | b"414") => {
                ProxyError::new(ErrorReason::HeadTooLarge, "the request's head is too large")
            }
            _ => ProxyError::new(ErrorReason::MalformedRequest, "the request's head breaks HTTP"),
        };
        self.shared.set_fault(fault);
    }

    /// Ends a connection whose client takes its answer too slowly.
    fn keep_pace(&self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if !self.shared.keeps_pace(&done) {
            self.shared.tear();
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

/// Whether a client's first bytes are those of HTTP/2 (RFC 9113 §3.4).
enum Preface {
    Whole,
    /// As far as they go.
    Part,
    Other,
}

impl Preface {
    fn of(before: &[u8], input: &[u8]) -> Self {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let expected = PREFACE.get(before.len()..).unwrap_or_default();
        let compared = expected.len().min(input.len());
        match PREFACE.starts_with(before) && expected[..compared] == input[..compared] {
            false => Self::Other,
            true if compared == expected.len() => Self::Whole,
            true => Self::Part,
        }
    }
}

/// Why no head came.
#[derive(Debug)]
pub(in crate::proxy) enum HeadEnd {
    /// It breaks the rules; the connection's fault says which.
    Refused,
    /// It is none: the client speaks HTTP/2. What has been read of it.
    Preface(Vec<u8>),
    /// The socket failed.
    Io(io::Error),
}

impl From<io::Error> for HeadEnd {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Read for DownstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if matches!(self.message, Message::Complete) {
            if self.shared.phase.get() != Phase::Idle {
                return self.poll_beyond(cx);
            }
            // The next request waits until the last answer has left: only so is it known whose bytes the library writes.
            if !self.shared.flushed.get() {
                self.waits_for_flush = true;
                return Poll::Pending;
            }
            self.shared.head.borrow_mut().clear();
            self.message = Message::Head { given: None };
        }
        if let Message::Head { given: None } = self.message {
            match ready!(self.poll_head(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(())),
                Err(HeadEnd::Io(error)) => return Poll::Ready(Err(error)),
                // Only a connection's first bytes can be a preface, and they are read before the library is there.
                Err(HeadEnd::Refused | HeadEnd::Preface(_)) => {
                    return Poll::Ready(Err(io::Error::other("the request is refused")));
                }
            }
        }
        match self.message {
            Message::Head { given } => {
                self.give_head(given.unwrap_or(0), &mut cursor);
                Poll::Ready(Ok(()))
            }
            Message::Length(_) | Message::Chunked(_) => self.poll_body(cx, &mut cursor),
            Message::Complete => self.poll_beyond(cx),
        }
    }
}

impl Write for DownstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.shared.phase.get() == Phase::Parsing {
            self.take_refusal(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        let done = self.shared.client().poll_say(cx, &[io::IoSlice::new(buf)]);
        self.keep_pace(done)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.shared.phase.get() == Phase::Parsing {
            self.take_refusal(bufs.first().map_or(&[], |buf| buf));
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let done = self.shared.client().poll_say(cx, bufs);
        self.keep_pace(done)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    // The library flushes once all its bytes are written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.shared.poll_said(cx))?;
        if std::mem::take(&mut self.waits_for_flush) {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    // How a connection is closed depends on how it ended, which the library does not know.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
