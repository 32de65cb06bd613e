//! Opens connections to endpoints: to one of their addresses after the other, and on to the next where one does not take it.

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use rustls::CertificateError;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::UpstreamConnection;
use crate::{
    domain::{EndpointAddress, ErrorReason},
    proxy::{
        error::ProxyError,
        socket::{Socket, Wire},
        worker::Worker,
    },
    routing::{Backend, Endpoint, Home},
    tls::ClientTls,
};

/// Connects to `endpoint` of `backend`, trying every address of its name in turn, each for an even part of the time. A
/// handshake is part of it.
///
/// # Errors
/// `ConnectFailed`, `TlsFailed` or, past `timeout`, `ConnectTimeout`.
pub(in crate::proxy) async fn connect(
    worker: &Rc<Worker>,
    backend: &Backend,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<Box<UpstreamConnection>, ProxyError> {
    let own =
        ProxyError::new(ErrorReason::Internal, "no descriptor or port is left to connect from");
    let failed = ProxyError::new(ErrorReason::ConnectFailed, "the endpoint refused the connection");
    let slow = ProxyError::new(ErrorReason::ConnectTimeout, "the endpoint could not be reached");
    let open = async {
        let opened = open(endpoint, timeout).await;
        let (socket, home) = opened.map_err(|error| {
            let is_slow = error.kind() == io::ErrorKind::TimedOut;
            if is_own(&error) {
                own
            } else if is_slow {
                slow
            } else {
                failed
            }
        })?;
        let socket = match &backend.tls {
            None => Socket::Plain(socket),
            Some(tls) => Box::pin(encrypt(socket, tls, endpoint.address())).await?,
        };
        Ok((socket, home))
    };
    let (socket, home) = tokio::time::timeout(timeout, open).await.map_err(|_| slow)??;
    let tls = backend.tls.clone();
    UpstreamConnection::new(socket, home, tls, worker.clone()).await.map_err(|_| failed)
}

async fn encrypt(
    socket: TcpStream,
    tls: &ClientTls,
    address: &EndpointAddress,
) -> Result<Socket, ProxyError> {
    let failed = |why| ProxyError::new(ErrorReason::TlsFailed, why);
    let name = tls.name_for(address);
    let name = name.map_err(|_| failed("the endpoint's name is none that a certificate has"))?;
    let connector = TlsConnector::from(tls.config().clone());
    let stream = connector.connect(name, Wire::new(socket)).await;
    let stream = stream.map_err(|error| failed(reason(&error)))?;
    Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
}

/// Why a handshake failed, as far as it helps to mend it.
fn reason(error: &io::Error) -> &'static str {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(fault)) = inner else {
        return "the TLS handshake with the endpoint failed";
    };
    if matches!(fault, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
        "the endpoint's certificate has expired"
    } else if matches!(fault, CertificateError::UnknownIssuer) {
        "the endpoint's certificate is from an authority that is not trusted"
    } else if matches!(
        fault,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    ) {
        "the endpoint's certificate is for another name"
    } else {
        "the endpoint's certificate is not taken"
    }
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
