//! An endpoint's socket, and what is on its way there.
//!
//! The begin of a request goes out at the end of the turn, together with what else this worker sends then; all of one that
//! has no body at once, while there is little else.

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

use crate::proxy::{
    downstream::Downstream, error::ProxyError, head::Head, interim, outgoing::Sender,
    socket::Socket, worker::Worker,
};

/// What the parts of one upstream connection share.
pub(in crate::proxy) struct Upstream {
    worker: Rc<Worker>,
    /// Taken when the connection leaves HTTP.
    socket: RefCell<Option<Socket>>,
    /// What is to be written, and what has been: the first `sent` bytes.
    out: RefCell<Vec<u8>>,
    sent: Cell<usize>,
    /// A byte of the request has been written.
    written: Cell<bool>,
    /// It goes at the end of the turn.
    departing: Cell<bool>,
    /// A byte of the answer has come.
    answered: Cell<bool>,
    /// The endpoint wants the body (100).
    continued: Cell<bool>,
    /// Interim answers so far.
    interims: Cell<u8>,
    /// Where interim answers go.
    client: RefCell<Option<Rc<Downstream>>>,
}

impl Upstream {
    pub(super) fn new(socket: Socket, worker: Rc<Worker>) -> Rc<Self> {
        Rc::new(Self {
            worker,
            socket: RefCell::new(Some(socket)),
            out: RefCell::default(),
            sent: Cell::new(0),
            written: Cell::new(false),
            departing: Cell::new(false),
            answered: Cell::new(false),
            continued: Cell::new(false),
            interims: Cell::new(0),
            client: RefCell::default(),
        })
    }

    pub(super) const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// A request goes out, of `client` if it has one; interim answers come back to it.
    pub(super) fn begin(&self, client: Option<Rc<Downstream>>) {
        self.clear_out();
        self.written.set(false);
        self.answered.set(false);
        self.continued.set(false);
        self.interims.set(0);
        *self.client.borrow_mut() = client;
    }

    /// Whose request it is.
    pub(super) fn client(&self) -> Ref<'_, Option<Rc<Downstream>>> {
        self.client.borrow()
    }

    /// The answer has ended; true when nothing of it is left, as far as is known here. The runtime forgets the request's task
    /// when the connection is next asked whether it lives, as all idle ones are once a second.
    pub(super) fn end(&self) -> bool {
        /// More than the heads of most requests need, a connection does not keep.
        const ROOM: usize = 4 * 1024;
        *self.client.borrow_mut() = None;
        self.out.borrow_mut().shrink_to(ROOM);
        self.socket.borrow_mut().as_mut().is_some_and(|socket| !socket.has_read_ahead())
    }

    /// What is to be written, to be added to.
    pub(super) fn out(&self) -> RefMut<'_, Vec<u8>> {
        if self.sent.get() > 0 && self.sent.get() == self.out.borrow().len() {
            self.clear_out();
        }
        self.out.borrow_mut()
    }

    /// What was to be written and has not been, to be written elsewhere.
    pub(super) fn take_out(&self) -> Vec<u8> {
        self.departing.set(false);
        let mut out = self.out.take();
        out.drain(..self.sent.take());
        out
    }

    fn clear_out(&self) {
        self.out.borrow_mut().clear();
        self.sent.set(0);
    }

    /// Lets what is to be written go at the end of the turn. Without a client nobody would be woken for what does not fit
    /// then: it goes with the next write.
    pub(super) fn depart(self: &Rc<Self>) {
        if self.begins_to_depart() {
            self.worker.outgoing().add(Sender::Upstream(self.clone()));
        }
    }

    /// The same for a request to which nothing will be added: at once, where few others have something to send.
    pub(super) fn depart_whole(self: &Rc<Self>) {
        if self.begins_to_depart() {
            self.worker.outgoing().add_whole(Sender::Upstream(self.clone()));
        }
    }

    fn begins_to_depart(&self) -> bool {
        self.client.borrow().is_some() && !self.departing.replace(true)
    }

    pub(super) fn is_departing(&self) -> bool {
        self.departing.get()
    }

    /// Whether all that was to be sent has left.
    pub(super) fn is_flushed(&self) -> bool {
        let has_rest = self.socket.borrow().as_ref().is_some_and(Socket::has_rest);
        self.sent.get() == self.out.borrow().len() && !has_rest
    }

    /// Whether a byte of the request has been written.
    pub(super) fn has_written(&self) -> bool {
        self.written.get()
    }

    /// Whether any byte of an answer has come.
    pub(in crate::proxy) fn has_answered(&self) -> bool {
        self.answered.get()
    }

    /// Whether a body that was held back may go.
    pub(in crate::proxy) fn has_continued(&self) -> bool {
        self.continued.get()
    }

    /// Sends what has been left for the end of the turn. What the socket does not take, or an error, is found by the
    /// next write of the request's task.
    pub(in crate::proxy) fn send_now(&self) {
        if !self.departing.take() {
            return;
        }
        let out = self.out.borrow();
        let (sent, has_rest) = match self.socket.borrow_mut().as_mut() {
            Some(socket) => {
                (socket.try_write(&out[self.sent.get()..]).unwrap_or(0), socket.has_rest())
            }
            None => (0, false),
        };
        self.wrote(sent);
        if (self.sent.get() < out.len() || has_rest)
            && let Some(client) = self.client.borrow().as_ref()
        {
            client.wake();
        }
    }

    fn wrote(&self, count: usize) {
        self.sent.set(self.sent.get() + count);
        self.written.set(self.written.get() || count > 0);
    }

    /// Writes what is to be written, then `more`, of which it takes away what has been written.
    pub(super) fn poll_write(
        &self,
        more: Option<&mut Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut socket = self.socket.borrow_mut();
        let socket = socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let out = self.out.borrow();
        self.departing.set(false);
        let mut none = Bytes::new();
        let more = more.unwrap_or(&mut none);
        loop {
            let rest = &out[self.sent.get()..];
            let written = match (rest.is_empty(), more.is_empty()) {
                (true, true) => break,
                (false, true) => Pin::new(&mut *socket).poll_write(cx, rest),
                (true, false) => Pin::new(&mut *socket).poll_write(cx, more),
                (false, false) => {
                    let both = [IoSlice::new(rest), IoSlice::new(more)];
                    Pin::new(&mut *socket).poll_write_vectored(cx, &both)
                }
            };
            let count = match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => count,
            };
            self.worker.outgoing().passes(count);
            let of_rest = count.min(rest.len());
            self.wrote(of_rest);
            more.advance(count - of_rest);
            self.written.set(true);
        }
        Pin::new(socket).poll_flush(cx)
    }

    /// Reads what fits into `buf`; nothing at the end.
    pub(super) fn poll_read(
        &self,
        buf: &mut ReadBuf<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.socket.borrow_mut().as_mut() {
            Some(socket) => Pin::new(socket).poll_read(cx, buf),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Reads into the room that `buf` has; nothing at the end.
    pub(super) fn poll_fill(
        &self,
        buf: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.socket.borrow_mut().as_mut() {
            Some(socket) => pin!(socket.read_buf(buf)).poll(cx).map_ok(drop),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// A part of an answer has come.
    pub(super) fn note_answer(&self) {
        self.answered.set(true);
    }

    /// Passes an interim answer on: 100 is for us, the others are the client's.
    ///
    /// # Errors
    /// `MalformedResponse` where it breaks the grammar, whoever it is for, or is one too many.
    pub(super) fn take_interim(&self, head: &Head) -> Result<(), ProxyError> {
        /// A go-ahead and a few hints are what servers send, and some one word every few seconds that they are at work.
        const MOST: u8 = 32;
        if self.interims.replace(self.interims.get() + 1) == MOST {
            return Err(interim::TOO_MANY);
        }
        let answer = interim::clean(head.bytes())?;
        match head.status() {
            100 => self.continued.set(true),
            _ => {
                if let Some(client) = self.client.borrow().as_ref() {
                    client.send_interim(&answer);
                }
            }
        }
        Ok(())
    }

    /// The socket, for what comes after HTTP.
    pub(super) fn take_socket(&self) -> Option<Socket> {
        self.socket.borrow_mut().take()
    }

    /// Whether the runtime knows of something to read, or of an end; asks nobody.
    pub(super) fn has_stirred(&self) -> bool {
        let mut aside = Context::from_waker(Waker::noop());
        let socket = self.socket.borrow();
        socket
            .as_ref()
            .is_none_or(|socket| socket.transport().poll_read_ready(&mut aside).is_ready())
    }

    /// Whether an idle connection is still open and has sent nothing, by the kernel's own word.
    pub(super) fn is_quiet(&self) -> bool {
        self.socket.borrow_mut().as_mut().is_some_and(Socket::is_quiet)
    }
}
