//! All data-plane threads, as the rest of the process sees them.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use tokio::sync::mpsc;

use super::{
    listener::{self, ListenerGauges},
    worker::{self, Order, Parts},
};
use crate::{
    config::model::Listener,
    domain::Moment,
    lifecycle::{Tasks, way_to_listen},
    routing::{TableView, WorkerGauge},
    telemetry::{AccessLog, EventSink, Recorder, SpanSink},
};

/// Orders that a worker may be behind with; it takes them between two events of its sockets.
const ORDERS: usize = 4096;

/// What workers are made of.
#[derive(Debug)]
pub struct WorkersParts {
    /// How many.
    pub count: usize,
    /// Where they read routes and weights.
    pub table: TableView,
    /// Where they write outcomes; made for at least `count` workers.
    pub recorder: Arc<Recorder>,
    /// Where they say what operators should know.
    pub events: EventSink,
    /// What watches over their tasks.
    pub tasks: Tasks,
    /// Where lines of the access log go.
    pub access: Option<AccessLog>,
    /// Where spans of traced requests go.
    pub spans: Option<SpanSink>,
}

/// The running data-plane threads and their listeners.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<thread::JoinHandle<io::Result<()>>>,
    orders: Vec<mpsc::Sender<Order>>,
    listeners: Vec<Listening>,
    /// Sockets of another's making, by the addresses that the configuration gives them; the first listeners take them.
    passed: Vec<(SocketAddr, TcpListener)>,
    draining: bool,
}

#[derive(Debug)]
struct Listening {
    settings: Arc<Listener>,
    /// Where it really listens; differs from the settings with port 0.
    address: SocketAddr,
    gauges: ListenerGauges,
    /// The sockets of which the workers have copies.
    sockets: Vec<TcpListener>,
}

/// What a change of the listeners did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListenerChanges {
    /// Addresses that clients can connect to now.
    pub added: Vec<SocketAddr>,
    /// Addresses that take no new clients any more.
    pub removed: Vec<SocketAddr>,
}

/// Why listeners could not be changed; nothing has been.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", way_to_listen(source))]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// The process is ending.
    #[error("the process drains and takes no new listeners")]
    Draining,
    /// A worker has ended or does not keep up.
    #[error("a data-plane thread takes no orders; restart the process")]
    Deaf,
}

impl Workers {
    /// Starts the threads; they listen nowhere yet.
    ///
    /// # Errors
    /// The system's, when it gives no more threads.
    pub fn start(parts: &WorkersParts) -> io::Result<Self> {
        let mut workers = Self {
            threads: Vec::new(),
            orders: Vec::new(),
            listeners: Vec::new(),
            passed: Vec::new(),
            draining: false,
        };
        for index in 0..parts.count {
            let (sender, receiver) = mpsc::channel(ORDERS);
            let own = Parts {
                index,
                table: parts.table.clone(),
                shard: parts.recorder.shard(index),
                events: parts.events.clone(),
                tasks: parts.tasks.clone(),
                access: parts.access.as_ref().map(AccessLog::buffer),
                spans: parts.spans.as_ref().map(SpanSink::buffer),
                orders: receiver,
            };
            let name = format!("worker-{index}");
            workers.threads.push(thread::Builder::new().name(name).spawn(|| worker::run(own))?);
            workers.orders.push(sender);
        }
        Ok(workers)
    }

    /// Has the next listeners take `sockets`, by address, before any is bound for them.
    pub fn take_over(&mut self, sockets: Vec<(SocketAddr, TcpListener)>) {
        self.passed = sockets;
    }

    /// Closes the passed sockets that no listener has taken, and says where they listened.
    pub fn close_unused(&mut self) -> Vec<SocketAddr> {
        self.passed.drain(..).map(|(address, _)| address).collect()
    }

    /// The listeners' sockets, by the addresses that the configuration gives them.
    pub fn sockets(&self) -> impl Iterator<Item = (SocketAddr, &TcpListener)> {
        let of = |open: &'_ Listening| open.settings.bind;
        self.listeners
            .iter()
            .flat_map(move |open| open.sockets.iter().map(move |socket| (of(open), socket)))
    }

    /// Makes the open listeners be those of `wanted`: all of them, or no change at all.
    ///
    /// # Errors
    /// [`ListenError::Bind`] for the first address that cannot be had.
    pub fn listen(&mut self, wanted: &[Listener]) -> Result<ListenerChanges, ListenError> {
        if self.draining {
            return Err(ListenError::Draining);
        }
        // Room for one order to each listener there is or will be: what has begun is not stopped half-way.
        let most = wanted.len() + self.listeners.len() + self.passed.len();
        if self.orders.iter().any(|orders| orders.capacity() < most || orders.is_closed()) {
            return Err(ListenError::Deaf);
        }
        let open: Vec<_> = self.listeners.iter().map(|open| open.settings.bind).collect();
        let mut fresh = Vec::new();
        for settings in wanted.iter().filter(|settings| !open.contains(&settings.bind)) {
            let address = settings.bind;
            let sockets = self.sockets_for(address);
            let sockets = sockets.map_err(|source| ListenError::Bind { address, source })?;
            fresh.push((Arc::new(settings.clone()), sockets));
        }
        let mut changes = ListenerChanges::default();
        for settings in wanted {
            self.adjust(settings)?;
        }
        for (settings, sockets) in fresh {
            changes.added.push(self.open(settings, sockets)?);
        }
        let is_wanted = |bind| wanted.iter().any(|settings| settings.bind == bind);
        let gone = self.listeners.extract_if(.., |open| !is_wanted(open.settings.bind));
        for open in gone.collect::<Vec<_>>() {
            changes.removed.push(open.address);
            self.order_all(|| Order::Unlisten { bind: open.settings.bind })?;
        }
        Ok(changes)
    }

    fn adjust(&mut self, settings: &Listener) -> Result<(), ListenError> {
        let open = self.listeners.iter_mut().find(|open| open.settings.bind == settings.bind);
        let Some(open) = open.filter(|open| *open.settings != *settings) else { return Ok(()) };
        open.settings = Arc::new(settings.clone());
        let settings = open.settings.clone();
        self.order_all(|| Order::Adjust { settings: settings.clone() })
    }

    /// The passed sockets of `address`, or new ones; and copies of them for the workers.
    fn sockets_for(&mut self, address: SocketAddr) -> io::Result<Sockets> {
        let passed = self.passed.extract_if(.., |(known, _)| *known == address);
        let mut own: Vec<_> = passed.map(|(_, socket)| socket).collect();
        if own.is_empty() {
            own = listener::bind(address, self.orders.len())?;
        }
        let copies = listener::spread(&own, self.orders.len())?;
        Ok(Sockets { own, copies })
    }

    fn open(
        &mut self,
        settings: Arc<Listener>,
        sockets: Sockets,
    ) -> Result<SocketAddr, ListenError> {
        let gauges = ListenerGauges::new(self.orders.len());
        let Sockets { own, copies } = sockets;
        let address = own.first().and_then(|socket| socket.local_addr().ok());
        let address = address.unwrap_or(settings.bind);
        for (orders, copies) in self.orders.iter().zip(copies) {
            for socket in copies {
                let (settings, gauges) = (settings.clone(), gauges.clone());
                let order = Order::Listen { socket, settings, gauges };
                orders.try_send(order).map_err(|_| ListenError::Deaf)?;
            }
        }
        self.listeners.push(Listening { settings, address, gauges, sockets: own });
        Ok(address)
    }

    fn order_all(&self, order: impl Fn() -> Order) -> Result<(), ListenError> {
        for orders in &self.orders {
            orders.try_send(order()).map_err(|_| ListenError::Deaf)?;
        }
        Ok(())
    }

    /// Where clients can connect.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.iter().map(|open| open.address)
    }

    /// Where Tidegate's own requests come in: the first listener that serves whoever comes.
    pub fn entrance(&self) -> Option<SocketAddr> {
        let open = self.listeners.iter().find(|open| open.settings.is_for_checks());
        open.map(|open| open.address)
    }

    /// Open connections by listener.
    pub fn connections(&self) -> impl Iterator<Item = (SocketAddr, Arc<WorkerGauge>)> {
        self.listeners.iter().map(|open| (open.address, open.gauges.connections.clone()))
    }

    /// Takes no new clients, lets running requests finish, and cuts off what is left at `deadline`. What the kernel has
    /// accepted is taken too, unless another process has the sockets now.
    pub fn drain(&mut self, deadline: Moment, handed_over: bool) {
        self.draining = true;
        // With the workers' copies they close: nothing shall wait in the queue of a socket that nobody accepts from.
        self.listeners.iter_mut().for_each(|open| open.sockets.clear());
        // A worker that cannot be told has ended, or ends with its order channel.
        let _ = self.order_all(|| Order::Drain { deadline, handed_over });
    }

    /// Whether every worker has ended.
    pub fn have_ended(&self) -> bool {
        self.threads.iter().all(thread::JoinHandle::is_finished)
    }
}

/// A listener's sockets, and the workers' copies of them.
struct Sockets {
    own: Vec<TcpListener>,
    copies: Vec<Vec<TcpListener>>,
}
