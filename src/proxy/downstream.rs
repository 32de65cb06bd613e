//! The client's side of one connection: what its parts share, and the bytes between socket and HTTP library.
//!
//! [`DownstreamIo`] hands the library one whole, checked request at a time: no byte of a request before its head is complete,
//! and no byte of the next one before the present one is answered. So a head that may be read in two ways never reaches the
//! library, a client that trickles costs a buffer and nothing else, and what is pipelined waits its turn.

use std::{
    cell::{Cell, OnceCell, Ref, RefCell, RefMut},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    chunks::ChunkScanner,
    error::ProxyError,
    head::{Framing, Head, HeadLimits, Side},
    listener::Acceptor,
    tunnel::{self, Tunnel},
    worker::Worker,
};
use crate::{
    config::model::Listener,
    domain::{ErrorReason, Moment},
    lifecycle::clock,
};

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
    socket: RefCell<TcpStream>,
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
    /// Interim answers that did not fit into the socket.
    outbox: RefCell<Vec<u8>>,
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
        socket: TcpStream,
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
        self.rest.get() && self.phase.get() == Phase::Idle && self.flushed.get()
    }

    /// The connection's task runs again; remembers it, since it stays the same.
    pub(super) fn begin_turn(&self, cx: &Context<'_>) {
        self.dry.set(false);
        let mut task = self.task.borrow_mut();
        if task.is_none() {
            *task = Some(cx.waker().clone());
        }
    }

    fn poll_socket(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.dry.get() {
            return Poll::Pending;
        }
        let read = Pin::new(&mut *self.socket.borrow_mut()).poll_read(cx, buf);
        self.dry.set(read.is_pending());
        read
    }

    fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    // ---- deadlines

    pub(super) fn deadline(&self) -> Moment {
        self.deadline.get()
    }

    /// Sets the time by which the request must have come on, and the silence allowed from then on.
    pub(super) fn expect_within(&self, now: Moment, wait: Duration) {
        self.silence.set(wait);
        self.expired.set(false);
        let until = now + wait;
        self.deadline.set(self.total_deadline.get().map_or(until, |total| until.min(total)));
    }

    /// What a passed deadline means. `Some`: the connection ends, with a word to the client if there is a fault.
    pub(super) fn on_deadline(&self, now: Moment) -> Option<Option<ProxyError>> {
        match self.phase.get() {
            // The last answer is still on its way to a slow client.
            Phase::Idle if !self.flushed.get() && self.progress.take() => {
                self.deadline.set(now + self.listener.idle_timeout);
                None
            }
            Phase::Idle if !self.flushed.get() => {
                self.torn.set(true);
                Some(None)
            }
            Phase::Idle => Some(None),
            Phase::Head => Some(Some(ProxyError::new(
                ErrorReason::HeadTimeout,
                "the request's head did not come in time",
            ))),
            Phase::Parsing | Phase::Serving if self.past_total(now) => {
                self.expired.set(true);
                self.blocked.get().then_some(None)
            }
            Phase::Parsing | Phase::Serving if self.progress.take() => {
                self.expect_within(now, self.silence.get());
                None
            }
            Phase::Parsing | Phase::Serving if self.blocked.get() => {
                self.torn.set(true);
                Some(None)
            }
            Phase::Parsing | Phase::Serving => {
                self.expired.set(true);
                // Whoever waits gets the chance to say so; the next look is far off.
                self.deadline.set(now + Duration::from_secs(60));
                None
            }
        }
    }

    fn past_total(&self, now: Moment) -> bool {
        self.total_deadline.get().is_some_and(|total| total <= now)
    }

    /// Whether the wait is over; `Total` where the request as a whole took too long.
    pub(super) fn expiry(&self) -> Option<Expiry> {
        if !self.expired.get() {
            return None;
        }
        let total = self.past_total(clock::now());
        Some(if total { Expiry::Total } else { Expiry::Silence })
    }

    // ---- faults and ends

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
        // Where it cannot be set, the socket is gone already.
        let _ = socket2::SockRef::from(&*self.socket.borrow()).set_linger(Some(Duration::ZERO));
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

    /// Sends an interim answer (1xx), where it cannot get between the bytes of another one.
    pub(super) fn send_interim(&self, head: &[u8]) {
        /// More than this a client that does not read is not owed.
        const MAX_OUTBOX: usize = 64 * 1024;
        let mut outbox = self.outbox.borrow_mut();
        if !self.flushed.get() || outbox.len() + head.len() > MAX_OUTBOX {
            return;
        }
        let sent = if outbox.is_empty() { self.socket.borrow().try_write(head) } else { Ok(0) };
        outbox.extend_from_slice(&head[sent.unwrap_or(0)..]);
    }
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Nothing came for too long.
    Silence,
    /// The request as a whole took too long.
    Total,
}

/// Reads and writes the socket as it is: for tunnels and for last words.
pub(super) struct RawIo(pub(super) Rc<Downstream>);

impl RawIo {
    /// Lets the kernel ask now and then whether the client is still there.
    pub(super) fn keep_alive(&self) -> io::Result<()> {
        tunnel::keep_alive(&self.0.socket.borrow())
    }
}

impl AsyncRead for RawIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for RawIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.socket.borrow_mut()).poll_shutdown(cx)
    }
}

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
pub(super) struct DownstreamIo {
    shared: Rc<Downstream>,
    message: Message,
    /// Read, but not handed over yet: at most one read's worth.
    carry: Vec<u8>,
}

impl DownstreamIo {
    pub(super) const fn new(shared: Rc<Downstream>) -> Self {
        Self { shared, message: Message::Head { given: None }, carry: Vec::new() }
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn rest(&mut self) {
        self.message = Message::Head { given: None };
        self.shared.head.borrow_mut().release();
        *self.shared.added.borrow_mut() = Vec::new();
        if self.carry.is_empty() {
            self.carry = Vec::new();
        }
    }

    /// What was read beyond the present request.
    pub(super) fn take_carry(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.carry)
    }

    /// Waits for a complete head; false when the client closed before one came.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, HeadEnd>> {
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
        let Some(taken) = head.push(input).map_err(refuse)? else {
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
        if self.carry.is_empty() {
            let shared = self.shared.clone();
            let mut scratch = shared.worker.scratch();
            let mut buf = ReadBuf::new(&mut scratch);
            ready!(shared.poll_socket(cx, &mut buf))?;
            if buf.filled().is_empty() {
                shared.left.set(true);
                return Poll::Ready(Ok(()));
            }
            self.carry.extend_from_slice(buf.filled());
        }
        self.shared.pipelined.set(true);
        Poll::Pending
    }

    fn poll_outbox(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = self.shared.outbox.borrow_mut();
        while !outbox.is_empty() {
            let mut socket = self.shared.socket.borrow_mut();
            let sent = ready!(Pin::new(&mut *socket).poll_write(cx, &outbox))?;
            outbox.drain(..sent);
        }
        Poll::Ready(Ok(()))
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

    fn wrote(&self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.shared.blocked.set(done.is_pending());
        self.shared.flushed.set(false);
        if done.is_ready() {
            self.shared.progress.set(true);
        }
        done
    }
}

/// All of `bufs` in one piece, if that is a small one.
fn join<'a>(bufs: &[io::IoSlice<'_>], scratch: &'a mut [u8]) -> Option<&'a [u8]> {
    const SMALL: usize = 4 * 1024;
    let total = bufs.iter().map(|buf| buf.len()).sum();
    if total > SMALL {
        return None;
    }
    let mut rest = scratch.get_mut(..total)?;
    for buf in bufs {
        let (here, after) = rest.split_at_mut(buf.len());
        here.copy_from_slice(buf);
        rest = after;
    }
    Some(&scratch[..total])
}

/// Why no head came.
#[derive(Debug)]
pub(super) enum HeadEnd {
    /// It breaks the rules; the connection's fault says which.
    Refused,
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
            self.shared.head.borrow_mut().clear();
            self.message = Message::Head { given: None };
        }
        if let Message::Head { given: None } = self.message {
            match ready!(self.poll_head(cx)) {
                Ok(true) => {}
                Ok(false) => return Poll::Ready(Ok(())),
                Err(HeadEnd::Io(error)) => return Poll::Ready(Err(error)),
                Err(HeadEnd::Refused) => {
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
        ready!(self.poll_outbox(cx))?;
        let done = Pin::new(&mut *self.shared.socket.borrow_mut()).poll_write(cx, buf);
        self.wrote(done)
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
        ready!(self.poll_outbox(cx))?;
        let mut scratch = self.shared.worker.scratch();
        let mut socket = self.shared.socket.borrow_mut();
        // One small copy is cheaper than what the kernel does for a list of parts.
        let done = match join(bufs, &mut scratch) {
            Some(joined) => Pin::new(&mut *socket).poll_write(cx, joined),
            None => Pin::new(&mut *socket).poll_write_vectored(cx, bufs),
        };
        drop(socket);
        self.wrote(done)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    // The library flushes once all its bytes are written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.flushed.set(true);
        Poll::Ready(Ok(()))
    }

    // How a connection is closed depends on how it ended, which the library does not know.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
