//! The client's side of one connection: what its parts share.

mod deadline;
mod io;
mod outbox;
mod raw;

use std::{
    cell::{Cell, OnceCell, Ref, RefCell, RefMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::io::{AsyncRead, ReadBuf};

pub(super) use self::{
    deadline::{Expiry, Overdue},
    io::{DownstreamIo, HeadEnd},
    raw::RawIo,
};

use super::{
    error::ProxyError,
    head::{Head, HeadLimits, Side},
    listener::Acceptor,
    socket::Socket,
    tunnel::Tunnel,
    worker::Worker,
};
use crate::{config::model::Listener, domain::Moment, lifecycle::clock};

/// Where a connection stands.
///
/// ```text
///           first byte            head complete            service called
///   Idle ───────────────► Head ───────────────► Parsing ───────────────► Serving
///    ▲                                                                      │ answer ends or is dropped
///    └──────────────────────────────────────────────────────────────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// A part of a head has come.
    Head,
    /// The library has a whole head and has not called the service yet; what it writes now is a refusal of its own.
    Parsing,
    /// A request is being answered.
    Serving,
}

/// What the parts of one connection share.
pub(super) struct Downstream {
    pub(super) worker: Rc<Worker>,
    pub(super) listener: Arc<Listener>,
    acceptor: Rc<Acceptor>,
    pub(super) peer: SocketAddr,
    /// The peer's address for `x-forwarded-for`, made with the first request.
    address_text: OnceCell<Box<str>>,
    /// What Tidegate adds to the present request's head, as it goes over the wire.
    added: RefCell<Vec<u8>>,
    socket: RefCell<Socket>,
    head: RefCell<Head>,
    phase: Cell<Phase>,
    /// Why the connection must end, to be told to the client.
    fault: Cell<Option<ProxyError>>,
    /// When something must have happened; what follows depends on the phase.
    deadline: Cell<Moment>,
    /// The present request may not go on after this.
    total_deadline: Cell<Option<Moment>>,
    /// When the present answer was complete.
    answered: Cell<Option<Moment>>,
    /// The longest silence while bodies flow.
    silence: Cell<Duration>,
    /// The deadline has passed while serving; whoever waits ends its wait.
    expired: Cell<bool>,
    /// The socket had nothing to read in this turn; it need not be asked again.
    dry: Cell<bool>,
    /// Bytes went out since the deadline was last looked at.
    progress: Cell<bool>,
    /// The client does not take what is written.
    blocked: Cell<bool>,
    /// All that the library wrote has left.
    flushed: Cell<bool>,
    /// The client has closed its side.
    left: Cell<bool>,
    /// What was wrong with the present request's body.
    body_fault: Cell<Option<ProxyError>>,
    /// The answer was cut short: end with a reset, so that it cannot look complete.
    torn: Cell<bool>,
    /// The next request waits for this one's end.
    pipelined: Cell<bool>,
    /// What goes out before anything else: small writes of this turn, and what did not fit into the socket.
    outbox: RefCell<Vec<u8>>,
    /// The outbox is sent at the end of the turn.
    departing: Cell<bool>,
    task: RefCell<Option<Waker>>,
    tunnel: RefCell<Option<Tunnel>>,
    /// Asked to give its buffers back.
    rest: Cell<bool>,
}

impl Downstream {
    pub(super) fn new(
        worker: Rc<Worker>,
        listener: Arc<Listener>,
        acceptor: Rc<Acceptor>,
        peer: SocketAddr,
        socket: Socket,
    ) -> Self {
        let limits = HeadLimits { bytes: listener.max_header_bytes, lines: listener.max_headers };
        Self {
            deadline: Cell::new(clock::now() + listener.header_timeout),
            worker,
            listener,
            acceptor,
            peer,
            address_text: OnceCell::new(),
            added: RefCell::default(),
            socket: RefCell::new(socket),
            head: RefCell::new(Head::new(Side::Downstream, limits)),
            phase: Cell::new(Phase::Idle),
            fault: Cell::new(None),
            total_deadline: Cell::new(None),
            answered: Cell::new(None),
            silence: Cell::new(Duration::MAX),
            expired: Cell::new(false),
            dry: Cell::new(false),
            progress: Cell::new(false),
            blocked: Cell::new(false),
            flushed: Cell::new(true),
            left: Cell::new(false),
            body_fault: Cell::new(None),
            torn: Cell::new(false),
            pipelined: Cell::new(false),
            outbox: RefCell::default(),
            departing: Cell::new(false),
            task: RefCell::default(),
            tunnel: RefCell::default(),
            rest: Cell::new(false),
        }
    }

    /// The peer's address as text.
    pub(super) fn address_text(&self) -> &str {
        self.address_text.get_or_init(|| self.peer.ip().to_canonical().to_string().into())
    }

    /// What Tidegate adds to the present request's head.
    pub(super) fn added(&self) -> Ref<'_, Vec<u8>> {
        self.added.borrow()
    }

    /// The same, to be written.
    pub(super) fn added_mut(&self) -> RefMut<'_, Vec<u8>> {
        self.added.borrow_mut()
    }

    /// Whether no further request should come over this connection.
    pub(super) fn is_closing(&self) -> bool {
        self.worker.is_draining() || self.acceptor.is_stopping()
    }

    /// Whether the peer is one of the proxies whose word about the client is taken.
    pub(super) fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.listener.trusted_proxies.iter().any(|net| net.contains(&address))
    }

    /// The bytes of the present request's head.
    pub(super) fn head(&self) -> Ref<'_, Head> {
        self.head.borrow()
    }

    /// The service has the request.
    pub(super) fn begin_serving(&self, total: Option<Moment>) {
        self.phase.set(Phase::Serving);
        self.total_deadline.set(total);
    }

    /// The answer has ended, one way or the other.
    pub(super) fn finish_serving(&self) {
        if self.phase.get() != Phase::Serving {
            return;
        }
        self.phase.set(Phase::Idle);
        self.total_deadline.set(None);
        self.expired.set(false);
        self.rest.set(false);
        let ended = self.answered.take().unwrap_or_else(clock::now);
        self.deadline.set(ended + self.patience_when_idle());
        if self.pipelined.take() {
            self.wake();
        }
    }

    /// When the last byte of the answer came from its endpoint: close enough to when it leaves.
    pub(super) fn answered_at(&self, now: Moment) {
        self.answered.set(Some(now));
    }

    /// While draining, a client that just sent a request it did not see refused still gets its answer.
    fn patience_when_idle(&self) -> Duration {
        const DRAIN_LINGER: Duration = Duration::from_millis(500);
        let idle = self.listener.idle_timeout;
        if self.is_closing() { idle.min(DRAIN_LINGER) } else { idle }
    }

    /// Looks at the drain, the listener's end, or a request to rest.
    pub(super) fn nudge(&self) {
        if self.phase.get() == Phase::Idle && self.is_closing() {
            let soon = clock::now() + self.patience_when_idle();
            self.deadline.set(self.deadline.get().min(soon));
        }
        self.wake();
    }

    /// Asks an idle connection to give back what only a busy one needs.
    pub(super) fn suggest_rest(&self) {
        if self.phase.get() == Phase::Idle && !self.rest.replace(true) {
            self.wake();
        }
    }

    /// Whether it should and can rest now: no request under way, and every byte of the last answer gone.
    pub(super) fn may_rest(&self) -> bool {
        let gone = self.flushed.get() && self.outbox.borrow().is_empty();
        self.rest.get() && self.phase.get() == Phase::Idle && gone
    }

    /// The connection's task runs again; remembers it, since it stays the same.
    pub(super) fn begin_turn(&self, cx: &Context<'_>) {
        self.dry.set(false);
        let mut task = self.task.borrow_mut();
        if task.is_none() {
            *task = Some(cx.waker().clone());
        }
    }

    fn poll_socket(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.dry.get() {
            return Poll::Pending;
        }
        let read = Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, buf);
        self.dry.set(read.is_pending());
        read
    }

    pub(super) fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    pub(super) fn fault(&self) -> Option<ProxyError> {
        self.fault.get()
    }

    fn set_fault(&self, fault: ProxyError) {
        if self.fault.get().is_none() {
            self.fault.set(Some(fault));
        }
    }

    /// What was wrong with the present request's body.
    pub(super) fn body_fault(&self) -> Option<ProxyError> {
        self.body_fault.get()
    }

    /// Whether the client has closed its side.
    pub(super) fn has_left(&self) -> bool {
        self.left.get()
    }

    /// The answer cannot be completed.
    pub(super) fn tear(&self) {
        self.torn.set(true);
    }

    pub(super) fn is_torn(&self) -> bool {
        self.torn.get()
    }

    /// Ends with a reset instead of an orderly close.
    pub(super) fn reset(&self) {
        self.send_now();
        // Where it cannot be set, the socket is gone already.
        let _ = socket2::SockRef::from(self.socket.borrow().tcp()).set_linger(Some(Duration::ZERO));
    }

    pub(super) fn set_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    pub(super) fn has_tunnel(&self) -> bool {
        self.tunnel.borrow().is_some()
    }

    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }
}
