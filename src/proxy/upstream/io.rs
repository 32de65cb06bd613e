//! The bytes between an endpoint's socket and the HTTP library.
//!
//! The head of an answer is collected and checked before the library sees it, as strictly as a request's. Interim answers
//! (1xx) end here: 100 releases a body that was held back, the others go straight to the client. Bodies pass untouched.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use crate::proxy::{
    downstream::Downstream,
    error::ProxyError,
    head::{Head, HeadLimits, Side},
    interim,
    outgoing::Sender,
    socket::Socket,
    worker::Worker,
};

/// Bounds of an answer's head; the library takes no more than 100 lines.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, lines: 100 };

/// What is read at least, however little room the library has left for it.
const LEAST_READ: usize = 1024;

/// What the parts of one upstream connection share.
pub(in crate::proxy) struct Upstream {
    worker: Rc<Worker>,
    /// Taken when the connection leaves HTTP.
    socket: RefCell<Option<TokioIo<Socket>>>,
    head: RefCell<Head>,
    /// A request is under way and its answer's head is not complete.
    awaiting: Cell<bool>,
    /// Nothing of the request has been written.
    unwritten: Cell<bool>,
    /// The socket had nothing to read since the connection was last woken.
    dry: Cell<bool>,
    /// A byte of the answer has come.
    answered: Cell<bool>,
    /// The endpoint wants the body (100), or has given its answer without it.
    continued: Cell<bool>,
    fault: Cell<Option<ProxyError>>,
    /// Where interim answers go.
    client: RefCell<Option<Rc<Downstream>>>,
    /// What Tidegate adds to a request that has no client.
    apart: Cell<Vec<u8>>,
    /// Of the begin of a request: what the socket has not taken yet.
    out: RefCell<Vec<u8>>,
    /// It goes at the end of the turn.
    departing: Cell<bool>,
}

impl Upstream {
    fn new(socket: Socket, worker: Rc<Worker>) -> Self {
        Self {
            worker,
            socket: RefCell::new(Some(TokioIo::new(socket))),
            head: RefCell::new(Head::new(Side::Upstream, LIMITS)),
            awaiting: Cell::new(false),
            unwritten: Cell::new(false),
            dry: Cell::new(false),
            answered: Cell::new(false),
            continued: Cell::new(false),
            fault: Cell::new(None),
            client: RefCell::default(),
            apart: Cell::default(),
            out: RefCell::default(),
            departing: Cell::new(false),
        }
    }

    /// Sends what has been left for the end of the turn. What the socket does not take, or an error, is found by the
    /// connection's next flush.
    pub(in crate::proxy) fn send_now(&self) {
        if !self.departing.take() {
            return;
        }
        let mut out = self.out.borrow_mut();
        let (sent, has_rest) = match self.socket.borrow_mut().as_mut().map(TokioIo::inner_mut) {
            Some(socket) => (socket.try_write(&out).unwrap_or(0), socket.has_rest()),
            None => (0, false),
        };
        if sent == out.len() && !has_rest {
            out.clear();
            return;
        }
        out.drain(..sent);
        if let Some(client) = self.client.borrow().as_ref() {
            client.wake();
        }
    }

    fn poll_socket<T>(
        &self,
        poll: impl FnOnce(&mut TokioIo<Socket>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.socket.borrow_mut().as_mut() {
            Some(socket) => poll(socket),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// The socket, for what comes after HTTP.
    pub(super) fn take_socket(&self) -> Option<Socket> {
        self.socket.borrow_mut().take().map(TokioIo::into_inner)
    }

    /// Whether an idle connection is still open and has sent nothing, by the kernel's own word.
    pub(super) fn is_quiet(&self) -> bool {
        self.socket.borrow_mut().as_mut().is_some_and(|socket| socket.inner_mut().is_quiet())
    }

    /// A request of `client` goes out, with the lines that Tidegate adds; interim answers come back to it.
    pub(in crate::proxy) fn begin(&self, client: Rc<Downstream>) {
        self.start();
        *self.client.borrow_mut() = Some(client);
    }

    fn start(&self) {
        self.head.borrow_mut().clear();
        self.awaiting.set(true);
        self.answered.set(false);
        self.continued.set(false);
        self.unwritten.set(true);
    }

    /// A request without a client goes out, with the lines that Tidegate adds.
    pub(in crate::proxy) fn begin_apart(&self, added: Vec<u8>) {
        self.start();
        *self.client.borrow_mut() = None;
        self.apart.set(added);
    }

    /// The connection was woken: the socket may have something to read.
    pub(in crate::proxy) fn wake(&self) {
        self.dry.set(false);
    }

    /// The answer has ended.
    pub(in crate::proxy) fn end(&self) {
        *self.client.borrow_mut() = None;
    }

    /// Whether all that was to be sent has left.
    pub(super) fn is_flushed(&self) -> bool {
        let socket = self.socket.borrow();
        self.out.borrow().is_empty() && !socket.as_ref().is_some_and(|io| io.inner().has_rest())
    }

    /// Whether any byte of an answer has come.
    pub(in crate::proxy) fn has_answered(&self) -> bool {
        self.answered.get()
    }

    /// Whether a body that was held back may go.
    pub(in crate::proxy) fn has_continued(&self) -> bool {
        self.continued.get()
    }

    /// What was wrong with the answer's head.
    pub(in crate::proxy) fn fault(&self) -> Option<ProxyError> {
        self.fault.get()
    }

    fn take_interim(&self, head: &Head) {
        match head.status() {
            100 => self.continued.set(true),
            _ => {
                if let Some(client) = self.client.borrow().as_ref()
                    && let Some(answer) = interim::clean(head.bytes())
                {
                    client.send_interim(&answer);
                }
            }
        }
    }
}

/// An endpoint's socket as the HTTP library sees it.
pub(in crate::proxy) struct UpstreamIo {
    shared: Rc<Upstream>,
    /// Checked, but not handed over yet.
    ready: Vec<u8>,
}

impl UpstreamIo {
    pub(super) fn new(socket: Socket, worker: Rc<Worker>) -> (Self, Rc<Upstream>) {
        let shared = Rc::new(Upstream::new(socket, worker));
        (Self { shared: shared.clone(), ready: Vec::new() }, shared)
    }

    /// What has been read and not handed over, and what has not been written yet.
    pub(super) fn into_rests(self) -> (Vec<u8>, Vec<u8>) {
        (self.ready, self.shared.out.take())
    }

    fn give_ready(&mut self, cursor: &mut ReadBufCursor<'_>) {
        let fits = self.ready.len().min(cursor.remaining());
        cursor.put_slice(&self.ready[..fits]);
        self.ready.drain(..fits);
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        cursor: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let shared = self.shared.clone();
        loop {
            let mut scratch = shared.worker.scratch();
            // No more than the library has room for, so that a body is copied once at most.
            let room = cursor.remaining().saturating_sub(shared.head.borrow().bytes().len());
            let room = room.max(LEAST_READ).min(scratch.len());
            let mut buf = ReadBuf::new(&mut scratch[..room]);
            let read =
                shared.poll_socket(|socket| Pin::new(socket.inner_mut()).poll_read(cx, &mut buf));
            shared.dry.set(read.is_pending());
            ready!(read)?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            shared.answered.set(true);
            if self.take_input(buf.filled(), cursor)? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Collects heads from `input`; true when a final one was complete and has been handed over with what follows it.
    fn take_input(&mut self, mut input: &[u8], cursor: &mut ReadBufCursor<'_>) -> io::Result<bool> {
        let shared = self.shared.clone();
        let mut head = shared.head.borrow_mut();
        while let Some(taken) = head.push(input).map_err(|fault| {
            shared.fault.set(Some(fault));
            io::Error::other(fault)
        })? {
            input = &input[taken..];
            if matches!(head.status(), 100 | 102..=199) {
                shared.take_interim(&head);
                head.clear();
                continue;
            }
            shared.awaiting.set(false);
            if head.bytes().len() + input.len() <= cursor.remaining() {
                cursor.put_slice(head.bytes());
                cursor.put_slice(input);
            } else {
                self.ready.extend_from_slice(head.bytes());
                self.ready.extend_from_slice(input);
                self.give_ready(cursor);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

impl Read for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ready.is_empty() {
            self.give_ready(&mut cursor);
            return Poll::Ready(Ok(()));
        }
        if self.shared.dry.get() {
            return Poll::Pending;
        }
        if self.shared.awaiting.get() {
            return self.poll_head(cx, &mut cursor);
        }
        let read = self.shared.poll_socket(|socket| Pin::new(socket).poll_read(cx, cursor));
        self.shared.dry.set(read.is_pending());
        read
    }
}

impl UpstreamIo {
    /// Takes the begin of a request, with Tidegate's lines after its first; returns how much of `bufs` that was.
    ///
    /// The library writes a head in one piece, at the begin of its first write. It goes out at the end of the turn, and
    /// before anything else is written.
    fn begin(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        /// More of a body is not worth a copy.
        const MOST: usize = 16 * 1024;
        let shared = &self.shared;
        let client = shared.client.borrow();
        let (apart, added) = (shared.apart.take(), client.as_ref().map(|client| client.added()));
        let added = added.as_ref().map_or(apart.as_slice(), |added| added.as_slice());
        let head = bufs.first().map_or(&[][..], |buf| buf);
        let line = memchr::memchr(b'\n', head).ok_or(io::ErrorKind::InvalidData)? + 1;
        let mut out = shared.out.borrow_mut();
        for part in [&head[..line], added, &head[line..]] {
            out.extend_from_slice(part);
        }
        let mut taken = head.len();
        for buf in &bufs[1..] {
            if out.len() + buf.len() > MOST {
                break;
            }
            out.extend_from_slice(buf);
            taken += buf.len();
        }
        drop(out);
        if client.is_none() {
            // Nobody would be woken for what does not fit: the connection's own flush sends it.
            return Ok(taken);
        }
        shared.departing.set(true);
        shared.worker.outgoing().add(Sender::Upstream(shared.clone()));
        Ok(taken)
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.shared.out.borrow_mut();
        while !out.is_empty() {
            let written = self.shared.poll_socket(|socket| Pin::new(socket).poll_write(cx, &out));
            let sent = ready!(written)?;
            if sent == out.len() {
                out.clear();
            } else {
                out.drain(..sent);
            }
        }
        self.shared.departing.set(false);
        Poll::Ready(Ok(()))
    }
}

impl Write for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        if self.shared.unwritten.take() {
            return Poll::Ready(self.begin(bufs));
        }
        self.shared.poll_socket(|socket| Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shared.departing.get() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_out(cx))?;
        self.shared.poll_socket(|socket| Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.poll_socket(|socket| Pin::new(socket).poll_shutdown(cx))
    }
}
