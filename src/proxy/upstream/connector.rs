//! Opens connections to endpoints.

use std::{io, net::IpAddr, rc::Rc, time::Duration};

use tokio::net::TcpStream;

use super::UpstreamConnection;
use crate::{
    domain::{EndpointAddress, ErrorReason},
    proxy::{error::ProxyError, socket::Socket, worker::Worker},
};

/// Connects to `address`, trying every address of its name in turn.
///
/// # Errors
/// `ConnectFailed` or, past `timeout`, `ConnectTimeout`.
pub(in crate::proxy) async fn connect(
    worker: &Rc<Worker>,
    address: &EndpointAddress,
    timeout: Duration,
) -> Result<Box<UpstreamConnection>, ProxyError> {
    let own =
        ProxyError::new(ErrorReason::Internal, "no descriptor or port is left to connect from");
    let failed = ProxyError::new(ErrorReason::ConnectFailed, "the endpoint refused the connection");
    let slow = ProxyError::new(ErrorReason::ConnectTimeout, "the endpoint could not be reached");
    let socket = tokio::time::timeout(timeout, open(address));
    let socket = socket.await.map_err(|_| slow)?;
    let socket = socket.map_err(|error| if is_own(&error) { own } else { failed })?;
    UpstreamConnection::new(Socket::Plain(socket), worker.clone()).await.map_err(|_| failed)
}

async fn open(address: &EndpointAddress) -> io::Result<TcpStream> {
    let socket = match address.host().parse::<IpAddr>() {
        Ok(ip) => TcpStream::connect((ip, address.port())).await?,
        Err(_) => TcpStream::connect((address.host(), address.port())).await?,
    };
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Whether it is this machine that has run out of something, and not the endpoint that failed.
fn is_own(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}
