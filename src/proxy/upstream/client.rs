//! One HTTP/1.1 connection to an endpoint, driven by the task of the request that uses it.
//!
//! There is no task and no queue of its own: whoever waits for the answer, or reads its body, writes what is left of the
//! request and reads what has come. So an exchange costs no switch between tasks.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{Method, request, response};
use hyper::body::{Frame, SizeHint};
use tokio::io::ReadBuf;

use super::{
    connection::{Remains, SendFault},
    io::Upstream,
    pool::same_rules,
    reader::{Answer, MOST_LINES, Rest, read_head},
    writer::Writer,
};
use crate::{
    domain::{ErrorReason, Moment},
    proxy::{
        body::RequestBody,
        downstream::Downstream,
        error::ProxyError,
        head::{Head, HeadLimits, Side},
        socket::Socket,
        worker::Worker,
    },
    routing::Home,
    tls::ClientTls,
};

/// Bounds of an answer's head.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, lines: MOST_LINES };

/// Most of a body that is read at once.
const MOST_READ: usize = 128 * 1024;

/// A connection to an endpoint that carries one request at a time.
pub(in crate::proxy) struct Http1Connection {
    shared: Rc<Upstream>,
    /// What it was encrypted with.
    tls: Option<Arc<ClientTls>>,
    /// Lines that Tidegate adds to a request that has no client.
    apart: Vec<u8>,
    writer: Writer,
    head: Head,
    /// The request's method is HEAD.
    to_head: bool,
    /// Read and not used yet.
    carry: Bytes,
    rest: Rest,
    /// Another request may follow the present one.
    keeps: bool,
    /// The body comes faster than a worker's own buffer takes it, and so gets one to itself.
    buffer: Option<BytesMut>,
    /// It has carried a request before.
    reused: bool,
    pub(super) idle_since: Moment,
    /// Where it leads.
    pub(super) home: Home,
}

impl Http1Connection {
    /// Takes a fresh socket, encrypted with `tls` if at all.
    pub(super) fn new(
        socket: Socket,
        home: Home,
        tls: Option<Arc<ClientTls>>,
        worker: Rc<Worker>,
    ) -> Box<Self> {
        Box::new(Self {
            shared: Upstream::new(socket, worker),
            tls,
            apart: Vec::new(),
            writer: Writer::idle(),
            head: Head::new(Side::Upstream, LIMITS),
            to_head: false,
            carry: Bytes::new(),
            rest: Rest::Ended,
            keeps: true,
            buffer: None,
            reused: false,
            idle_since: Moment::default(),
            home,
        })
    }

    /// What is known of the exchange beside the connection.
    pub(super) const fn shared(&self) -> &Rc<Upstream> {
        &self.shared
    }

    /// Whether a new connection would be made with the same certificates and rules.
    pub(super) fn is_made_with(&self, tls: Option<&Arc<ClientTls>>) -> bool {
        same_rules(self.tls.as_ref(), tls)
    }

    /// Whether it has carried a request before, and so may have died meanwhile.
    pub(super) const fn is_reused(&self) -> bool {
        self.reused
    }

    /// A request of `client` is about to go out, with the lines that Tidegate adds; interim answers come back to it.
    pub(super) fn begin(&mut self, client: Rc<Downstream>) {
        self.shared.begin(Some(client));
    }

    /// A request without a client is about to go out, with the lines that Tidegate adds.
    pub(super) fn begin_apart(&mut self, added: Vec<u8>) {
        self.shared.begin(None);
        self.apart = added;
    }

    /// Lets the request's head leave, by the end of the turn at the latest; [`Self::poll_response`] sees to the rest.
    pub(super) fn send(&mut self, parts: &request::Parts, body: RequestBody) {
        self.to_head = parts.method == Method::HEAD;
        self.writer = match self.shared.client().as_ref() {
            Some(client) => Writer::begin(&self.shared, parts, &client.added(), body),
            None => Writer::begin(&self.shared, parts, &self.apart, body),
        };
    }

    /// Writes, reads, and looks whether the answer's head is there.
    pub(super) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, SendFault>> {
        let answer = loop {
            // Whether all of it is out says nothing about the answer.
            if let Poll::Ready(Err(fault)) = self.writer.poll_send(&self.shared, cx) {
                break Err(fault);
            }
            let continued = self.shared.has_continued();
            match self.poll_head(cx) {
                // The body that was held back may go now.
                Poll::Pending if self.shared.has_continued() != continued => {}
                Poll::Pending => return Poll::Pending,
                Poll::Ready(answer) => break answer,
            }
        };
        Poll::Ready(answer.map_err(|error| {
            let unsent = (!self.shared.has_written()).then(|| self.writer.take_body());
            SendFault { error, unsent, refused: false, is_alone: false }
        }))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, ProxyError>> {
        let shared = &self.shared;
        loop {
            let mut scratch = shared.worker().scratch();
            let mut buf = ReadBuf::new(&mut scratch);
            let read = ready!(shared.poll_read(&mut buf, cx));
            let mut input = buf.filled();
            if read.is_err() || input.is_empty() {
                let within = "the connection broke within the answer's head";
                let before = "the connection broke before the answer";
                let why = if shared.has_answered() { within } else { before };
                return Poll::Ready(Err(broken(why)));
            }
            shared.note_answer();
            while let Some(taken) = self.head.push(input)? {
                input = &input[taken..];
                if matches!(self.head.status(), 100 | 102..=199) {
                    shared.take_interim(&self.head)?;
                    self.head.clear();
                    continue;
                }
                let Answer { parts, rest, carry, keeps } =
                    read_head(&self.head, input, self.to_head)?;
                self.head.clear();
                (self.rest, self.carry, self.keeps) = (rest, carry, keeps);
                return Poll::Ready(Ok(parts));
            }
        }
    }

    /// Whether the answer's body has ended.
    pub(super) const fn is_end_stream(&self) -> bool {
        self.rest.is_ended()
    }

    /// How long the rest of the answer's body is.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.rest.size_hint()
    }

    /// Reads the next part of the answer's body.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        if let Poll::Ready(Err(fault)) = self.writer.poll_send(&self.shared, cx) {
            return Poll::Ready(Some(Err(fault)));
        }
        while !self.rest.is_ended() {
            if self.carry.is_empty() {
                match ready!(self.poll_more(cx)) {
                    Ok(()) if !self.carry.is_empty() => {}
                    // The kernel tells of a reset once: where a write has found it, a read finds an end.
                    Ok(())
                        if matches!(self.rest, Rest::UntilClose) && !self.writer.has_failed() =>
                    {
                        self.rest = Rest::Ended;
                        break;
                    }
                    Ok(()) | Err(_) => {
                        let error = broken("the connection broke within the answer");
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
            match self.rest.take(&mut self.carry) {
                Ok(None) => {}
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Err(fault) => return Poll::Ready(Some(Err(fault))),
            }
        }
        Poll::Ready(None)
    }

    /// Reads what comes next of a body; nothing at the connection's end.
    ///
    /// Most of what comes is small and slow: it is copied out of the worker's buffer, so that whoever waits holds none. What
    /// fills that one is large, and is read where it stays.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let Some(buffer) = &mut self.buffer else {
            let mut scratch = self.shared.worker().scratch();
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(self.shared.poll_read(&mut buf, cx))?;
            self.carry = Bytes::copy_from_slice(buf.filled());
            if buf.remaining() == 0 {
                self.buffer = Some(BytesMut::new());
            }
            return Poll::Ready(Ok(()));
        };
        // One more than is wanted shows what comes unasked.
        buffer.reserve(self.rest.wanted().saturating_add(1).min(MOST_READ));
        match self.shared.poll_fill(buffer, cx) {
            Poll::Pending => {
                self.buffer = None;
                Poll::Pending
            }
            Poll::Ready(filled) => {
                self.carry = buffer.split().freeze();
                Poll::Ready(filled)
            }
        }
    }

    /// Ends an exchange; true when the connection can carry another.
    pub(super) fn finish(&mut self, now: Moment) -> bool {
        self.reused = true;
        self.idle_since = now;
        self.buffer = None;
        let complete = self.writer.is_complete(&self.shared);
        self.writer = Writer::idle();
        // What came unasked is no answer to the next request.
        let quiet = self.rest.is_ended() && self.carry.is_empty();
        self.shared.end() && self.keeps && complete && quiet
    }

    /// Whether an idle connection is still good, also by the kernel's word: for requests that cannot be sent twice.
    pub(super) fn is_surely_alive(&self) -> bool {
        self.shared.is_quiet()
    }

    /// Whether an idle connection is still good, as far as is known without asking the kernel.
    pub(super) fn is_alive(&self) -> bool {
        // What has stirred is its end, or bytes nobody asked for, or TLS speaking to itself: then the kernel knows.
        !self.shared.has_stirred() || self.shared.is_quiet()
    }

    /// What is left after a switch of protocols.
    ///
    /// # Errors
    /// `MalformedResponse` where the request has not ended: what is left of its body would look like the begin of what follows.
    pub(super) fn into_remains(self) -> Result<Remains, ProxyError> {
        if !self.writer.has_ended() {
            let why = "the endpoint switches protocols within the request";
            return Err(ProxyError::new(ErrorReason::MalformedResponse, why));
        }
        let unsent = self.shared.take_out();
        let socket = self.shared.take_socket().ok_or(broken("the connection broke"))?;
        Ok(Remains { socket, read: self.carry.to_vec(), unsent })
    }
}

fn broken(why: &'static str) -> ProxyError {
    ProxyError::new(ErrorReason::UpstreamReset, why)
}
