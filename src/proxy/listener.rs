//! Sockets that accept clients: one per worker and address, all bound to the same port.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::{
    arrival::{self, Arrival},
    clients::Clients,
    headers::RequestId,
    respond,
    worker::Worker,
};
use crate::{
    config::model::Listener,
    domain::Queue,
    lifecycle::clock,
    routing::WorkerGauge,
    telemetry::{Event, EventKind},
};

/// Name of the task that serves a client's connection.
pub const CONNECTION_TASK: &str = "connection";

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;

/// Binds one socket a worker to `address`; with port 0, all to the same free one.
pub(super) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // Sockets that share a port share it with any process of the same user; one that does not share tells that it is free.
    drop(open(address, false)?);
    let mut address = address;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = open(address, true)?;
        socket.listen(BACKLOG)?;
        let socket = std::net::TcpListener::from(socket);
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Sockets for each worker: every socket has a worker, and every worker a socket. Where there are too few, workers share.
pub(super) fn spread(
    sockets: &[std::net::TcpListener],
    workers: usize,
) -> io::Result<Vec<Vec<std::net::TcpListener>>> {
    let mut spread: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for place in 0..workers.max(sockets.len()) {
        spread[place % workers].push(sockets[place % sockets.len()].try_clone()?);
    }
    Ok(spread)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What a listener has under way, counted over all workers.
#[derive(Debug, Clone)]
pub(super) struct ListenerGauges {
    /// Open connections.
    pub(super) connections: Arc<WorkerGauge>,
    /// TLS handshakes.
    handshakes: Arc<WorkerGauge>,
    /// Connections by client.
    clients: Arc<Clients>,
}

impl ListenerGauges {
    pub(super) fn new(workers: usize) -> Self {
        let gauge = || Arc::new(WorkerGauge::new(workers));
        Self { connections: gauge(), handshakes: gauge(), clients: Arc::default() }
    }
}

/// One worker's side of a listener.
pub(super) struct Acceptor {
    settings: RefCell<Arc<Listener>>,
    gauges: ListenerGauges,
    stopping: Cell<bool>,
    /// What the kernel has accepted is another process's.
    leaving: Cell<bool>,
    stop: Notify,
}

impl Acceptor {
    pub(super) fn new(settings: Arc<Listener>, gauges: ListenerGauges) -> Rc<Self> {
        Rc::new(Self {
            settings: RefCell::new(settings),
            gauges,
            stopping: Cell::new(false),
            leaving: Cell::new(false),
            stop: Notify::new(),
        })
    }

    /// New limits, for connections from now on.
    pub(super) fn adjust(&self, settings: Arc<Listener>) {
        *self.settings.borrow_mut() = settings;
    }

    /// Takes what the kernel has already accepted, and then no more.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.stop.notify_one();
    }

    /// Takes no more at once: whoever has the socket now goes on.
    pub(super) fn leave(&self) {
        self.leaving.set(true);
        self.stop();
    }

    /// Whether connections accepted here should end soon.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// The listener's connections by client.
    pub(super) const fn clients(&self) -> &Arc<Clients> {
        &self.gauges.clients
    }

    /// A place among the handshakes under way, if there is one.
    pub(super) fn begin_handshake(&self, worker: usize, settings: &Listener) -> Option<Place> {
        let most = settings.tls.as_ref().map_or(0, |tls| tls.max_handshakes);
        let free = self.gauges.handshakes.total() < most;
        free.then(|| Place::enter(self.gauges.handshakes.clone(), worker))
    }

    /// Accepts until stopped.
    pub(super) async fn run(self: Rc<Self>, worker: Rc<Worker>, socket: TcpListener) {
        while !self.leaving.get() {
            let accepted = tokio::select! {
                biased;
                accepted = socket.accept() => accepted,
                () = self.stop.notified() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.take(&worker, stream, peer),
                Err(error) => pause(&worker, &error).await,
            }
        }
    }

    fn take(self: &Rc<Self>, worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
        let settings = self.settings.borrow().clone();
        if self.gauges.connections.total() >= settings.max_connections {
            worker.shard().overflow(Queue::Connections);
            // Under TLS a word would cost more than there is.
            if settings.tls.is_some() {
                return;
            }
            // As much as fits; a client that is refused is not waited for.
            let id = RequestId::new(|| worker.random());
            let _ = stream.try_write(&respond::full(&id));
            return;
        }
        // Only a socket that is gone already refuses, and its first read tells.
        let _ = stream.set_nodelay(true);
        let place = Place::enter(self.gauges.connections.clone(), worker.index());
        let arrival = Arrival { acceptor: self.clone(), settings, stream, peer, place };
        arrival::begin(arrival, worker, CONNECTION_TASK);
    }
}

/// Out of descriptors or memory: waits, since the next try at once would fail alike and spin.
async fn pause(worker: &Worker, error: &io::Error) {
    const PAUSE: Duration = Duration::from_millis(100);
    // A client that left before it was accepted is no reason to wait.
    if error.kind() == io::ErrorKind::ConnectionAborted {
        return;
    }
    if worker.may_report_accept() {
        let message = format!("a connection could not be accepted: {error}");
        let now_ms = clock::wall_millis();
        worker.events().report(Event::new(EventKind::AcceptFailed, now_ms, "listener", message));
    }
    tokio::time::sleep(PAUSE).await;
}

/// Counts a connection or a handshake at its listener for as long as it lives.
pub(super) struct Place {
    gauge: Arc<WorkerGauge>,
    worker: usize,
}

impl Place {
    fn enter(gauge: Arc<WorkerGauge>, worker: usize) -> Self {
        gauge.enter(worker);
        Self { gauge, worker }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.leave(self.worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_shares_is_not_taken_from_it() {
        let ours = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = ours[0].local_addr().unwrap();
        assert_eq!(ours[1].local_addr().unwrap(), address);
        assert_eq!(bind(address, 2).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn no_socket_is_left_out_and_no_worker() {
        for (sockets, workers, each) in
            [(1, 3, vec![1, 1, 1]), (3, 2, vec![2, 1]), (2, 5, vec![1; 5]), (2, 2, vec![1, 1])]
        {
            let bound = bind("127.0.0.1:0".parse().unwrap(), sockets).unwrap();
            let spread = spread(&bound, workers).unwrap();
            assert_eq!(spread.iter().map(Vec::len).collect::<Vec<_>>(), each);
            // Connections tell the sockets apart: each that is in a queue is found by somebody.
            let address = bound[0].local_addr().unwrap();
            let clients: Vec<_> =
                (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
            let all = spread.iter().flatten();
            let taken: usize =
                all.map(|socket| socket.incoming().map_while(Result::ok).count()).sum();
            assert_eq!(taken, clients.len());
        }
    }
}
