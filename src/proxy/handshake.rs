//! From a client's TCP connection to one under TLS: bounded in time and in number.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use rustls::HandshakeKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::{
    connection,
    downstream::{Client, Downstream},
    listener::{Acceptor, Place},
    socket::{Socket, Wire},
    worker::Worker,
};
use crate::{
    config::model::Listener,
    domain::{Handshake, Queue},
};

/// A connection that has just been accepted.
pub(super) struct Arrival {
    pub(super) acceptor: Rc<Acceptor>,
    pub(super) settings: Arc<Listener>,
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: Place,
}

/// Begins the handshake, unless too many are under way: then the connection is closed, before it has cost anything.
pub(super) fn begin(arrival: Arrival, worker: &Rc<Worker>, name: &'static str) {
    let Some(turn) = arrival.acceptor.begin_handshake(worker.index(), &arrival.settings) else {
        worker.shard().overflow(Queue::Handshakes);
        return;
    };
    // A drain waits for it: its client may have sent a request already.
    let registration = worker.register();
    let worker = worker.clone();
    let tasks = worker.tasks().clone();
    tasks.spawn_local(name, async move {
        let Arrival { acceptor, settings, stream, peer, place } = arrival;
        let shaken = Box::pin(shake(stream, &settings, &worker)).await;
        drop(turn);
        if let Some(socket) = shaken {
            let client = Client::new(worker, settings, acceptor, peer, socket);
            let downstream = Rc::new(Downstream::new(client));
            registration.show(&downstream);
            downstream.nudge();
            connection::run(downstream).await;
        }
        drop((registration, place));
    });
}

/// The connection once it is encrypted; `None` when nothing came of it.
async fn shake(stream: TcpStream, settings: &Listener, worker: &Worker) -> Option<Socket> {
    let limits = settings.tls.as_ref()?;
    // The certificates of this moment: connections that began keep theirs.
    let tls = worker.table().tls().listener(settings.bind)?.config().clone();
    let accepting = TlsAcceptor::from(tls).accept(Wire::new(stream)).into_fallible();
    let shard = worker.shard();
    match tokio::time::timeout(limits.handshake_timeout, accepting).await {
        Ok(Ok(stream)) => {
            let kind = stream.get_ref().1.handshake_kind();
            let resumed = kind == Some(HandshakeKind::Resumed);
            shard.handshake(if resumed { Handshake::Resumed } else { Handshake::Full });
            Some(Socket::Tls(Box::new(TlsStream::Server(stream))))
        }
        Ok(Err((_, wire))) => {
            shard.handshake(Handshake::Failed);
            part(wire).await;
            None
        }
        Err(_) => {
            shard.handshake(Handshake::Late);
            None
        }
    }
}

/// Closes so that the client learns why: a socket closed over unread input resets, and the reset overtakes the alert.
async fn part(mut wire: Wire) {
    const PATIENCE: Duration = Duration::from_secs(1);
    const MOST: usize = 64;
    if wire.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut buffer = [0; 1024];
        for _ in 0..MOST {
            let Ok(1..) = wire.read(&mut buffer).await else { return };
        }
    };
    // A client that goes on talking is not listened to.
    let _ = tokio::time::timeout(PATIENCE, drain).await;
}
