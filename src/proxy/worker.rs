//! A data-plane thread: its own runtime, its own sockets, pools and counters. Nothing on a request's way leaves it.

use std::{
    cell::{Cell, RefCell, RefMut},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, sync::mpsc};

use super::{
    access::Calendar,
    downstream::Downstream,
    edge,
    listener::{Acceptor, ListenerGauges},
    mirror::Desk,
    outgoing::Outgoing,
    registry::{PARTS, Registry},
    room::Store,
    upstream::Pools,
};
use crate::{
    config::model::Listener,
    domain::{ErrorReason, Moment},
    lifecycle::{Tasks, clock},
    routing::{LocalTable, TableReader},
    telemetry::{AccessBuffer, EventSink, Shard, SpanBuffer},
};

/// Bytes read at once; one buffer serves all connections of a worker, in turn.
const SCRATCH: usize = 32 * 1024;
/// How long before the end of a drain WebSockets are told of it, at most.
const NOTICE: Duration = Duration::from_secs(1);
/// How often a part of the connections is looked through: each of them once a second.
const SWEEP: Duration = Duration::from_millis(100);

/// What the control plane asks of a worker.
pub(super) enum Order {
    /// Accept clients on this socket.
    Listen { socket: std::net::TcpListener, settings: Arc<Listener>, gauges: ListenerGauges },
    /// New limits for a listener, known by its configured address.
    Adjust { settings: Arc<Listener> },
    /// No new clients there; those that are idle go, the others finish.
    Unlisten { bind: SocketAddr },
    /// Take nothing new, finish what runs, end at the deadline. A second one may bring that forward.
    Drain {
        deadline: Moment,
        /// Another process has the listeners' sockets, and takes what the kernel has accepted.
        handed_over: bool,
    },
}

/// What a worker is made of, handed to its thread.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) table: crate::routing::TableView,
    pub(super) shard: Arc<Shard>,
    pub(super) events: EventSink,
    pub(super) tasks: Tasks,
    pub(super) access: Option<AccessBuffer>,
    pub(super) spans: Option<SpanBuffer>,
    pub(super) orders: mpsc::Receiver<Order>,
}

/// What the connections of one worker share.
pub(super) struct Worker {
    index: usize,
    table: RefCell<TableReader>,
    shard: Arc<Shard>,
    events: EventSink,
    tasks: Tasks,
    pools: RefCell<Pools>,
    random: RefCell<fastrand::Rng>,
    scratch: RefCell<Box<[u8]>>,
    draining: Cell<bool>,
    /// The drain's time is nearly up: whoever can be told is.
    leaving: Cell<bool>,
    /// The drain's time is up: what still runs is cut off.
    cutting: Cell<bool>,
    accept_reported: Cell<Option<Moment>>,
    connections: Rc<Registry>,
    outgoing: Outgoing,
    /// Lines of the access log, and the time as they show it.
    access: Option<RefCell<(AccessBuffer, Calendar)>>,
    /// Spans of traced requests.
    spans: Option<RefCell<SpanBuffer>>,
    mirrors: Rc<Desk>,
    /// Memory of encoders.
    encoders: Rc<Store>,
}

impl Worker {
    fn new(parts: &mut Parts) -> Rc<Self> {
        let access = parts.access.take();
        Rc::new(Self {
            access: access.map(|buffer| RefCell::new((buffer, Calendar::new()))),
            spans: parts.spans.take().map(RefCell::new),
            index: parts.index,
            table: RefCell::new(parts.table.reader()),
            shard: parts.shard.clone(),
            events: parts.events.clone(),
            tasks: parts.tasks.clone(),
            pools: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            draining: Cell::new(false),
            leaving: Cell::new(false),
            cutting: Cell::new(false),
            accept_reported: Cell::new(None),
            connections: Rc::default(),
            outgoing: Outgoing::default(),
            mirrors: Rc::default(),
            encoders: Store::new(edge::MOST_ENCODER_BYTES),
        })
    }

    pub(super) const fn index(&self) -> usize {
        self.index
    }

    /// The table in force.
    pub(super) fn table(&self) -> LocalTable {
        self.table.borrow_mut().load()
    }

    pub(super) fn shard(&self) -> &Shard {
        &self.shard
    }

    pub(super) const fn events(&self) -> &EventSink {
        &self.events
    }

    pub(super) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(super) fn pools(&self) -> RefMut<'_, Pools> {
        self.pools.borrow_mut()
    }

    /// Room to read into; to be given back before anything else is read.
    pub(super) fn scratch(&self) -> RefMut<'_, [u8]> {
        RefMut::map(self.scratch.borrow_mut(), |scratch| &mut scratch[..])
    }

    pub(super) const fn outgoing(&self) -> &Outgoing {
        &self.outgoing
    }

    /// Where lines of the access log go.
    pub(super) fn access(&self) -> Option<RefMut<'_, (AccessBuffer, Calendar)>> {
        self.access.as_ref().map(RefCell::borrow_mut)
    }

    /// Where spans of traced requests go.
    pub(super) fn spans(&self) -> Option<RefMut<'_, SpanBuffer>> {
        self.spans.as_ref().map(RefCell::borrow_mut)
    }

    /// What copies of requests may take.
    pub(super) const fn mirrors(&self) -> &Rc<Desk> {
        &self.mirrors
    }

    /// What encoders of answers may take.
    pub(super) const fn encoders(&self) -> &Rc<Store> {
        &self.encoders
    }

    /// Random bits, seeded by the operating system; not for secrets.
    pub(super) fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether tunnels should come to their end, before it comes to them.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Whether what ends now is cut off by the end of the process.
    pub(super) fn is_cutting(&self) -> bool {
        self.cutting.get()
    }

    /// Why a request ends that is dropped without a word.
    pub(super) fn reason_of_drop(&self) -> ErrorReason {
        if std::thread::panicking() {
            ErrorReason::Internal
        } else if self.is_cutting() {
            ErrorReason::Shutdown
        } else {
            ErrorReason::ClientGone
        }
    }

    /// Whether a failed accept is worth an event: not more than one a minute.
    pub(super) fn may_report_accept(&self) -> bool {
        let now = clock::now();
        let fresh = |at: Moment| now.since(at) < Duration::from_secs(60);
        if self.accept_reported.get().is_some_and(fresh) {
            return false;
        }
        self.accept_reported.set(Some(now));
        true
    }

    /// The connections that are open.
    pub(super) const fn connections(&self) -> &Rc<Registry> {
        &self.connections
    }

    /// Hands over what there is of the access log, and of spans.
    fn write_lines(&self) {
        if let Some(mut access) = self.access() {
            access.0.flush();
            access.1.adjust();
        }
        if let Some(mut spans) = self.spans() {
            spans.flush();
        }
    }

    fn sweep(&self, turn: usize) {
        self.write_lines();
        let part = turn % PARTS;
        if part == 0 {
            let table = self.table();
            self.pools().sweep(&table, clock::now());
            if self.index == 0 {
                edge::sweep(&table);
            }
        }
        self.connections.each_of(part, Downstream::suggest_rest);
    }
}

/// Runs a worker on this thread until it has drained.
pub(super) fn run(mut parts: Parts) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let worker = Worker::new(&mut parts);
    runtime.block_on(obey(&worker, parts.orders));
    // What still runs ends with it, and has something to tell of its end.
    drop(runtime);
    worker.write_lines();
    Ok(())
}

async fn obey(worker: &Rc<Worker>, mut orders: mpsc::Receiver<Order>) {
    let sending = worker.clone();
    let send = move || {
        let worker = sending.clone();
        async move { worker.outgoing.run().await }
    };
    worker.tasks().keep_local("outgoing", send);
    let mut acceptors = Acceptors { worker: worker.clone(), open: Vec::new() };
    let bell = worker.table.borrow().bell().clone();
    let mut sweeps = tokio::time::interval(SWEEP);
    let mut turn = 0;
    let (deadline, handed_over) = loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Drain { deadline, handed_over }) => break (deadline, handed_over),
                Some(order) => acceptors.obey(order),
                // Nobody is left to give orders: the process is ending.
                None => break (clock::now(), false),
            },
            // A rollout is over: whoever waits for its canary looks whether it still should.
            () = bell.notified() => worker.connections.each(Downstream::nudge),
            _ = sweeps.tick() => {
                worker.sweep(turn);
                turn += 1;
            }
        }
    };
    worker.draining.set(true);
    acceptors.stop_all(handed_over).await;
    worker.connections.each(Downstream::nudge);
    let mut ending = Ending::new(clock::now(), deadline);
    while !worker.connections.is_empty() && clock::now() < ending.deadline {
        tokio::select! {
            () = worker.connections.emptied() => {}
            order = orders.recv() => ending.obey(order.as_ref()),
            () = bell.notified() => worker.connections.each(Downstream::nudge),
            _ = sweeps.tick() => worker.write_lines(),
            () = clock::sleep_until(ending.notice), if !worker.is_leaving() => {
                worker.leaving.set(true);
                worker.connections.each(Downstream::nudge);
            }
            () = clock::sleep_until(ending.deadline) => {}
        }
    }
    worker.cutting.set(true);
    worker.connections.each(Downstream::cut_off);
}

/// When a drain ends.
struct Ending {
    notice: Moment,
    deadline: Moment,
}

impl Ending {
    fn new(now: Moment, deadline: Moment) -> Self {
        let left = deadline.since(now);
        Self { notice: now + (left - NOTICE.min(left / 2)), deadline }
    }

    fn obey(&mut self, order: Option<&Order>) {
        let now = clock::now();
        let deadline = match order {
            Some(Order::Drain { deadline, .. }) => self.deadline.min(*deadline),
            Some(Order::Listen { .. } | Order::Adjust { .. } | Order::Unlisten { .. }) => return,
            // Nobody is left to give orders: the process is ending.
            None => now,
        };
        *self = Self::new(now, deadline);
    }
}

/// A worker's open listeners.
struct Acceptors {
    worker: Rc<Worker>,
    open: Vec<(SocketAddr, Rc<Acceptor>, tokio::task::JoinHandle<()>)>,
}

impl Acceptors {
    fn obey(&mut self, order: Order) {
        match order {
            Order::Listen { socket, settings, gauges } => {
                // Made non-blocking when it was bound; nothing else can fail here.
                let Ok(socket) = TcpListener::from_std(socket) else { return };
                let bind = settings.bind;
                let acceptor = Acceptor::new(settings, gauges);
                let running = acceptor.clone().run(self.worker.clone(), socket);
                let task = self.worker.tasks().spawn_local("listener", running);
                self.open.push((bind, acceptor, task));
            }
            Order::Adjust { settings } => {
                for (_, acceptor, _) in self.open.iter().filter(|(at, _, _)| *at == settings.bind) {
                    acceptor.adjust(settings.clone());
                }
            }
            Order::Unlisten { bind } => {
                for (_, acceptor, _) in self.open.extract_if(.., |(at, _, _)| *at == bind) {
                    acceptor.stop();
                }
                self.worker.connections.each(Downstream::nudge);
            }
            Order::Drain { .. } => {}
        }
    }

    /// Ends all listeners, and waits until what the kernel had accepted for them is ours, unless it was `handed_over`.
    async fn stop_all(&mut self, handed_over: bool) {
        for (_, acceptor, task) in self.open.drain(..) {
            if handed_over {
                acceptor.leave();
            } else {
                acceptor.stop();
            }
            // A listener that failed has been reported, and is as closed as one that ended.
            let _ = task.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_ends_no_later_than_it_was_told_first_and_says_so_before() {
        let at = |seconds| Moment::from_nanos(0) + Duration::from_secs_f64(seconds);
        for (seconds, notice) in [(30.0, 29.0), (1.0, 0.5), (0.0, 0.0)] {
            let mut ending = Ending::new(at(5.0), at(5.0 + seconds));
            assert_eq!(ending.notice, at(5.0 + notice));
            for (told, deadline) in [(50.0, 5.0 + seconds), (5.0, 5.0)] {
                ending.obey(Some(&Order::Drain { deadline: at(told), handed_over: false }));
                assert_eq!(ending.deadline, at(deadline));
            }
        }
    }
}
