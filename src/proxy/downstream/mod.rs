//! The client's side of a request, and of the connection it came over.

mod client;
mod deadline;
mod io;
mod outbox;
mod raw;
mod stream;

use std::{
    cell::{Cell, Ref, RefCell, RefMut},
    ops::Deref,
    rc::Rc,
    time::Duration,
};

pub(super) use self::{
    client::Client,
    deadline::{Expiry, Overdue},
    io::{DownstreamIo, HeadEnd},
    raw::RawIo,
    stream::Shared,
};

use self::stream::Stream;

use super::{
    error::ProxyError,
    head::{Framing, Head, HeadLimits, Side},
    tunnel::Tunnel,
};
use crate::{domain::Moment, lifecycle::clock};

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
    /// A request is being answered, or there is a tunnel.
    Serving,
}

/// One request as its client's side sees it. HTTP/1.1 has one of it a connection, used by one request after the other.
pub(super) struct Downstream {
    client: Rc<Client>,
    /// What Tidegate adds to the present request's head, as it goes over the wire.
    added: RefCell<Vec<u8>>,
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
    /// What was wrong with the present request's body.
    body_fault: Cell<Option<ProxyError>>,
    /// The answer was cut short: end with a reset, so that it cannot look complete.
    torn: Cell<bool>,
    /// A part of the present request's body is to come that nobody may wait for once it is answered.
    owed: Cell<bool>,
    /// The next request waits for this one's end.
    pipelined: Cell<bool>,
    tunnel: RefCell<Option<Tunnel>>,
    /// Asked to give its buffers back.
    rest: Cell<bool>,
    /// Something has changed that whoever waits should look at.
    nudged: Cell<bool>,
    /// The present request is a call of gRPC.
    call: Cell<bool>,
    /// The connection carries many requests: each is a stream, which says itself where it ends.
    multiplexed: Cell<bool>,
    /// It is one of many at its connection.
    stream: Option<Stream>,
}

/// A request knows all that its connection knows.
impl Deref for Downstream {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Downstream {
    pub(super) fn new(client: Rc<Client>) -> Self {
        let listener = &client.listener;
        let limits = HeadLimits { bytes: listener.max_header_bytes, lines: listener.max_headers };
        Self {
            deadline: Cell::new(clock::now() + listener.header_timeout),
            client,
            added: RefCell::default(),
            head: RefCell::new(Head::new(Side::Downstream, limits)),
            phase: Cell::new(Phase::Idle),
            fault: Cell::new(None),
            total_deadline: Cell::new(None),
            answered: Cell::new(None),
            silence: Cell::new(Duration::MAX),
            expired: Cell::new(false),
            body_fault: Cell::new(None),
            torn: Cell::new(false),
            owed: Cell::new(false),
            pipelined: Cell::new(false),
            tunnel: RefCell::default(),
            rest: Cell::new(false),
            nudged: Cell::new(false),
            call: Cell::new(false),
            multiplexed: Cell::new(false),
            stream: None,
        }
    }

    /// The connection that it came over.
    pub(super) const fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// What Tidegate adds to the present request's head.
    pub(super) fn added(&self) -> Ref<'_, Vec<u8>> {
        self.added.borrow()
    }

    /// The same, to be written.
    pub(super) fn added_mut(&self) -> RefMut<'_, Vec<u8>> {
        self.added.borrow_mut()
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

    /// The answer has ended, one way or the other; gives the moment, if this is the first to say so.
    pub(super) fn finish_serving(&self) -> Option<Moment> {
        if self.phase.get() != Phase::Serving {
            return None;
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
        Some(ended)
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
        self.nudged.set(true);
        self.wake();
    }

    /// Whether it has been nudged since this was asked last.
    pub(super) fn was_nudged(&self) -> bool {
        self.nudged.take()
    }

    /// Says whether the present request is a call of gRPC, to which any answer is a success of HTTP.
    pub(super) fn set_call(&self, is_call: bool) {
        self.call.set(is_call && !self.awaits_tunnel());
    }

    /// Whether the present request is a call of gRPC.
    pub(super) fn is_call(&self) -> bool {
        self.call.get()
    }

    /// Wakes the task that waits for the request.
    pub(super) fn wake(&self) {
        match &self.stream {
            None => self.client.wake(),
            Some(stream) => stream.wake(),
        }
    }

    /// Takes a head that did not come as bytes of HTTP/1.1: as it would have come.
    pub(super) fn take_head(&self, bytes: Vec<u8>, framing: Framing) {
        self.head.borrow_mut().adopt(bytes, framing);
    }

    /// Nothing is under way from `now` on.
    pub(super) fn rest_from(&self, now: Moment) {
        self.phase.set(Phase::Idle);
        self.deadline.set(now + self.patience_when_idle());
    }

    /// Whether all of the answer has come.
    pub(super) fn is_answered(&self) -> bool {
        self.answered.get().is_some()
    }

    /// Asks an idle connection to give back what only a busy one needs.
    pub(super) fn suggest_rest(&self) {
        if self.phase.get() == Phase::Idle && !self.rest.replace(true) {
            self.wake();
        }
    }

    /// Whether it should and can rest now: no request under way, and every byte of the last answer gone.
    pub(super) fn may_rest(&self) -> bool {
        self.rest.get() && self.phase.get() == Phase::Idle && self.has_sent_all()
    }

    pub(super) fn fault(&self) -> Option<ProxyError> {
        self.fault.get()
    }

    fn set_fault(&self, fault: ProxyError) {
        if self.fault.get().is_none() {
            self.fault.set(Some(fault));
        }
    }

    /// All of the present request's body has come.
    pub(super) fn has_whole_body(&self) {
        self.owed.set(false);
    }

    /// What was wrong with the present request's body.
    pub(super) fn body_fault(&self) -> Option<ProxyError> {
        self.body_fault.get()
    }

    /// From here on the connection speaks HTTP/2.
    pub(super) fn multiplex(&self) {
        self.multiplexed.set(true);
    }

    /// The process ends now: what has not been said as a whole is seen to be cut. A stream that is lacks its end; a reset would
    /// take from the client what is on its way of those that are whole.
    pub(super) fn cut_off(&self) {
        self.send_now();
        if self.multiplexed.get() {
            return;
        }
        if matches!(self.phase.get(), Phase::Parsing | Phase::Serving) || !self.has_sent_all() {
            self.reset();
        }
    }

    /// The answer cannot be completed.
    pub(super) fn tear(&self) {
        self.torn.set(true);
    }

    pub(super) fn is_torn(&self) -> bool {
        self.torn.get()
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
