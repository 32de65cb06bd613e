//! Opens connections to endpoints: to one of their addresses after the other, and on to the next where one does not take it.

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::net::TcpStream;

use super::UpstreamConnection;
use crate::{
    domain::ErrorReason,
    proxy::{error::ProxyError, socket::Socket, worker::Worker},
    routing::{Endpoint, Home},
};

/// Connects to `endpoint`, trying every address of its name in turn, each for an even part of the time.
///
/// # Errors
/// `ConnectFailed` or, past `timeout`, `ConnectTimeout`.
pub(in crate::proxy) async fn connect(
    worker: &Rc<Worker>,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<Box<UpstreamConnection>, ProxyError> {
    let own =
        ProxyError::new(ErrorReason::Internal, "no descriptor or port is left to connect from");
    let failed = ProxyError::new(ErrorReason::ConnectFailed, "the endpoint refused the connection");
    let slow = ProxyError::new(ErrorReason::ConnectTimeout, "the endpoint could not be reached");
    let socket = tokio::time::timeout(timeout, open(endpoint, timeout));
    let socket = socket.await.map_err(|_| slow)?;
    let (socket, home) = socket.map_err(|error| {
        let is_slow = error.kind() == io::ErrorKind::TimedOut;
        if is_own(&error) {
            own
        } else if is_slow {
            slow
        } else {
            failed
        }
    })?;
    let socket = Socket::Plain(socket);
    UpstreamConnection::new(socket, home, worker.clone()).await.map_err(|_| failed)
}

async fn open(endpoint: &Endpoint, timeout: Duration) -> io::Result<(TcpStream, Home)> {
    // Before they are read: should they change meanwhile, the connection is looked at again when it comes back.
    let generation = endpoint.addresses().generation();
    let addresses = match endpoint.addresses().known() {
        Some(addresses) => addresses,
        // A name that nobody has looked up yet: the process, or this endpoint, has just begun.
        None => Box::pin(endpoint.addresses().resolved()).await.ok_or(io::ErrorKind::NotFound)?,
    };
    let (socket, peer) = match addresses[..] {
        [peer] => (TcpStream::connect(peer).await?, peer),
        _ => Box::pin(open_one_of(&addresses, endpoint.addresses().next_turn(), timeout)).await?,
    };
    socket.set_nodelay(true)?;
    Ok((socket, Home { peer, generation }))
}

async fn open_one_of(
    addresses: &[SocketAddr],
    turn: usize,
    timeout: Duration,
) -> io::Result<(TcpStream, SocketAddr)> {
    let part = timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let begin = turn % addresses.len();
    let mut why = io::ErrorKind::NotFound.into();
    for peer in addresses[begin..].iter().chain(&addresses[..begin]) {
        match tokio::time::timeout(part, TcpStream::connect(*peer)).await {
            Ok(Ok(socket)) => return Ok((socket, *peer)),
            Ok(Err(error)) if is_own(&error) => return Err(error),
            Ok(Err(error)) => why = error,
            Err(_) => why = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(why)
}

/// Whether it is this machine that has run out of something, and not the endpoint that failed.
fn is_own(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}
