//! From a client's TCP connection to one under TLS: bounded in time and in number.

use std::{net::SocketAddr, time::Duration};

use rustls::HandshakeKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::{
    listener::Acceptor,
    socket::{Socket, Wire},
    worker::Worker,
};
use crate::{
    config::model::Listener,
    domain::{Handshake, Queue},
};

/// Goes through the handshake, unless too many are under way: then the connection is closed, before it has cost anything.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: &Acceptor,
    settings: &Listener,
    worker: &Worker,
) -> Option<Socket> {
    let Some(turn) = acceptor.begin_handshake(worker.index(), settings) else {
        worker.shard().overflow(Queue::Handshakes);
        return None;
    };
    let shaken = shake(stream, peer, settings, worker).await;
    drop(turn);
    shaken
}

/// The connection once it is encrypted; `None` when nothing came of it.
async fn shake(
    stream: TcpStream,
    peer: SocketAddr,
    settings: &Listener,
    worker: &Worker,
) -> Option<Socket> {
    let limits = settings.tls.as_ref()?;
    // The certificates of this moment: connections that began keep theirs.
    let tls = worker.table().tls().listener(settings.bind)?.config().clone();
    let accepting = TlsAcceptor::from(tls).accept(Wire::new(stream.into())).into_fallible();
    let shard = worker.shard();
    match tokio::time::timeout(limits.handshake_timeout, accepting).await {
        Ok(Ok(stream)) => {
            let kind = stream.get_ref().1.handshake_kind();
            let resumed = kind == Some(HandshakeKind::Resumed);
            shard.handshake(if resumed { Handshake::Resumed } else { Handshake::Full });
            Some(Socket::Tls(Box::new(TlsStream::Server(stream))))
        }
        Ok(Err((error, wire))) => {
            shard.handshake(Handshake::Failed);
            tracing::debug!(client = %peer, listener = %settings.bind, %error, "a handshake failed");
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
