//! Opens connections to endpoints.

use std::{io, net::IpAddr, rc::Rc, time::Duration};

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
    routing::Backend,
    tls::ClientTls,
};

/// Connects to `address` of `backend`, trying every address of its name in turn. A handshake is part of it.
///
/// # Errors
/// `ConnectFailed`, `TlsFailed` or, past `timeout`, `ConnectTimeout`.
pub(in crate::proxy) async fn connect(
    worker: &Rc<Worker>,
    backend: &Backend,
    address: &EndpointAddress,
    timeout: Duration,
) -> Result<Box<UpstreamConnection>, ProxyError> {
    let own =
        ProxyError::new(ErrorReason::Internal, "no descriptor or port is left to connect from");
    let failed = ProxyError::new(ErrorReason::ConnectFailed, "the endpoint refused the connection");
    let slow = ProxyError::new(ErrorReason::ConnectTimeout, "the endpoint could not be reached");
    let open = async {
        let opened = open(address).await;
        let socket = opened.map_err(|error| if is_own(&error) { own } else { failed })?;
        match &backend.tls {
            None => Ok(Socket::Plain(socket)),
            Some(tls) => Box::pin(encrypt(socket, tls, address)).await,
        }
    };
    let socket = tokio::time::timeout(timeout, open).await.map_err(|_| slow)??;
    let tls = backend.tls.clone();
    UpstreamConnection::new(socket, tls, worker.clone()).await.map_err(|_| failed)
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
