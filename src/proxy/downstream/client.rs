//! A client's connection: its socket, and what all its requests have in common.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};

use super::outbox::Outbox;
use crate::{
    config::model::{Listener, Protocol},
    lifecycle::clock,
    proxy::{listener::Acceptor, pace::Pace, socket::Socket, tunnel, worker::Worker},
};

/// When small writes go that were left in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Departure {
    /// There are none, or the socket takes no more.
    #[default]
    Open,
    /// When the connection's task has run: until then others may join them.
    AfterRun,
    /// At the end of the worker's turn.
    AfterTurn,
}

/// The connection part of a client: one of it, however many requests share it.
pub(in crate::proxy) struct Client {
    pub(in crate::proxy) worker: Rc<Worker>,
    pub(in crate::proxy) listener: Arc<Listener>,
    acceptor: Rc<Acceptor>,
    pub(in crate::proxy) peer: SocketAddr,
    /// The peer's address for `x-forwarded-for`, made with the first request.
    address_text: OnceCell<Box<str>>,
    pub(super) socket: RefCell<Socket>,
    /// The socket had nothing to read in this turn; it need not be asked again.
    dry: Cell<bool>,
    /// Bytes went out since the deadline was last looked at.
    pub(super) progress: Cell<bool>,
    /// The client does not take what is written.
    pub(super) blocked: Cell<bool>,
    /// How fast it takes what is written, where that is held against it.
    pace: Cell<Pace>,
    /// All that the library wrote has left.
    pub(super) flushed: Cell<bool>,
    /// The client has closed its side.
    pub(super) left: Cell<bool>,
    /// What goes out before anything else: small writes of this turn, and what did not fit into the socket.
    pub(super) outbox: RefCell<Outbox>,
    /// When the outbox goes.
    pub(super) departure: Cell<Departure>,
    /// The connection's task.
    task: RefCell<Option<Waker>>,
}

impl Client {
    pub(in crate::proxy) fn new(
        worker: Rc<Worker>,
        listener: Arc<Listener>,
        acceptor: Rc<Acceptor>,
        peer: SocketAddr,
        socket: Socket,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            listener,
            acceptor,
            peer,
            address_text: OnceCell::new(),
            socket: RefCell::new(socket),
            dry: Cell::new(false),
            progress: Cell::new(false),
            blocked: Cell::new(false),
            pace: Cell::default(),
            flushed: Cell::new(true),
            left: Cell::new(false),
            outbox: RefCell::default(),
            departure: Cell::default(),
            task: RefCell::default(),
        })
    }

    /// The peer's address as text.
    pub(in crate::proxy) fn address_text(&self) -> &str {
        self.address_text.get_or_init(|| self.peer.ip().to_canonical().to_string().into())
    }

    /// Whether no further request should come over this connection.
    pub(in crate::proxy) fn is_closing(&self) -> bool {
        self.worker.is_draining() || self.acceptor.is_stopping()
    }

    /// What the client speaks, as far as that is known before its first byte.
    pub(in crate::proxy) fn protocol(&self) -> Option<Protocol> {
        let socket = self.socket.borrow();
        match &*self.listener.protocols {
            [only] => Some(*only),
            _ if socket.is_tls() => Some(socket.agreed().unwrap_or(Protocol::Http1)),
            _ => None,
        }
    }

    /// Whether the client's connection is encrypted.
    pub(in crate::proxy) fn is_tls(&self) -> bool {
        self.socket.borrow().is_tls()
    }

    /// Whether the peer is one of the proxies whose word about the client is taken.
    pub(in crate::proxy) fn is_trusted(&self, address: IpAddr) -> bool {
        self.listener.trusts(address)
    }

    /// Whether the client has closed its side.
    pub(in crate::proxy) fn has_left(&self) -> bool {
        self.left.get()
    }

    /// The client has closed its side.
    pub(in crate::proxy) fn leave_off(&self) {
        self.left.set(true);
    }

    /// The connection's task runs again; remembers it, since it stays the same.
    pub(in crate::proxy) fn begin_turn(&self, cx: &Context<'_>) {
        self.dry.set(false);
        let mut task = self.task.borrow_mut();
        if task.is_none() {
            *task = Some(cx.waker().clone());
        }
    }

    /// Wakes the connection's task.
    pub(in crate::proxy) fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    pub(in crate::proxy) fn poll_socket(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.dry.get() {
            return Poll::Pending;
        }
        let read = Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, buf);
        self.dry.set(read.is_pending());
        read
    }

    /// Whether every byte written so far has gone to the kernel.
    pub(in crate::proxy) fn has_sent_all(&self) -> bool {
        self.flushed.get() && self.outbox.borrow().is_empty()
    }

    /// Lets the kernel ask now and then whether the client is still there.
    pub(in crate::proxy) fn keep_alive(&self) -> io::Result<()> {
        tunnel::keep_alive(self.socket.borrow().transport())
    }

    /// Whether anything was written since this was asked last.
    pub(in crate::proxy) fn came_on(&self) -> bool {
        self.progress.take()
    }

    /// Whether a client that takes what is written, or does not, is fast enough.
    pub(super) fn keeps_pace(&self, done: &Poll<io::Result<usize>>) -> bool {
        let Some(least) = self.listener.min_rate else { return true };
        let mut pace = self.pace.get();
        let now = clock::now();
        let enough = match done {
            Poll::Pending => {
                pace.wait(now);
                true
            }
            Poll::Ready(written) => {
                let bytes = written.as_ref().map_or(0, |bytes| *bytes as u64);
                pace.pass(bytes, now, least)
            }
        };
        self.pace.set(pace);
        enough
    }

    /// Ends with a reset instead of an orderly close.
    pub(in crate::proxy) fn reset(&self) {
        self.send_now();
        // Where it cannot be set, the socket is gone already.
        let _ = socket2::SockRef::from(self.socket.borrow().transport())
            .set_linger(Some(Duration::ZERO));
    }
}
