//! From an accepted connection to one that carries requests: who the client is, whether it may have one more connection, and
//! the handshake.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use tokio::net::TcpStream;

use super::{
    announced,
    clients::ClientPlace,
    connection,
    downstream::{Client, Downstream},
    handshake,
    headers::RequestId,
    listener::{Acceptor, Place},
    registry::Registration,
    respond,
    socket::Socket,
    worker::Worker,
};
use crate::{
    config::model::Listener,
    domain::{ErrorReason, Queue},
};

/// A connection that has just been accepted.
pub(super) struct Arrival {
    pub(super) acceptor: Rc<Acceptor>,
    pub(super) settings: Arc<Listener>,
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
}

/// Serves the connection, in a task of that name. A drain waits for it from now on: its client may have sent a request.
pub(super) fn begin(arrival: Arrival, worker: &Rc<Worker>, name: &'static str) {
    let registration = worker.connections().register();
    let tasks = worker.tasks().clone();
    let worker = worker.clone();
    if arrival.settings.proxy_protocol || arrival.settings.tls.is_some() {
        tasks.spawn_local(name, async move {
            let Some((arrival, held)) = Box::pin(announce(arrival, &worker)).await else { return };
            let Arrival { acceptor, settings, stream, peer, place } = arrival;
            let socket = match settings.tls.is_some() {
                true => Box::pin(handshake::run(stream, peer, &acceptor, &settings, &worker)).await,
                false => Some(Socket::Plain(stream.into())),
            };
            if let Some(socket) = socket {
                let downstream = open(acceptor, settings, peer, socket, &worker, &registration);
                downstream.nudge();
                connection::run(downstream).await;
            }
            drop((registration, place, held));
        });
        return;
    }
    let Some((arrival, held)) = admit(arrival, &worker) else { return };
    let Arrival { acceptor, settings, stream, peer, place } = arrival;
    let socket = Socket::Plain(stream.into());
    let downstream = open(acceptor, settings, peer, socket, &worker, &registration);
    tasks.spawn_local(name, async move {
        connection::run(downstream).await;
        drop((registration, place, held));
    });
}

fn open(
    acceptor: Rc<Acceptor>,
    settings: Arc<Listener>,
    peer: SocketAddr,
    socket: Socket,
    worker: &Rc<Worker>,
    registration: &Registration,
) -> Rc<Downstream> {
    let client = Client::new(worker.clone(), settings, acceptor, peer, socket);
    let downstream = Rc::new(Downstream::new(client));
    registration.show(&downstream);
    downstream
}

/// Learns who the client is, where a header is to tell, and then admits it.
async fn announce(mut arrival: Arrival, worker: &Worker) -> Option<(Arrival, Option<ClientPlace>)> {
    let settings = &arrival.settings;
    if settings.proxy_protocol {
        let believed = settings.trusted_proxies.is_empty() || settings.trusts(arrival.peer.ip());
        let reading = announced::read(&mut arrival.stream);
        let announced = match believed {
            true => tokio::time::timeout(settings.header_timeout, reading).await,
            false => Ok(Err(())),
        };
        let Ok(Ok(client)) = announced else {
            worker.shard().error(ErrorReason::ProxyHeader);
            return None;
        };
        arrival.peer = client.unwrap_or(arrival.peer);
    }
    admit(arrival, worker)
}

/// Lets a client have one more connection, unless it has as many as it may.
fn admit(arrival: Arrival, worker: &Worker) -> Option<(Arrival, Option<ClientPlace>)> {
    let settings = &arrival.settings;
    let address = arrival.peer.ip();
    let most = settings.max_connections_per_client.filter(|_| !settings.trusts(address));
    let Some(most) = most else { return Some((arrival, None)) };
    let held = arrival.acceptor.clients().enter(address, most);
    if held.is_none() {
        worker.shard().overflow(Queue::ClientConnections);
        // Under TLS a word would cost more than there is.
        if settings.tls.is_none() {
            // As much as fits; a client that is refused is not waited for.
            let id = RequestId::new(|| worker.random());
            let _ = arrival.stream.try_write(&respond::full(&id));
        }
        return None;
    }
    Some((arrival, held))
}
