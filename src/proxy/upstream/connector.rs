//! Opens connections to endpoints: to one of their addresses after the other, and on to the next where one does not take it.

use std::{io, rc::Rc, time::Duration};

use rustls::{AlertDescription, CertificateError, pki_types::InvalidDnsNameError};
use tokio_rustls::{TlsConnector, TlsStream};

use super::{UpstreamConnection, client::Http1Connection, http2::Http2Connection};
use crate::{
    config::model::{BackendProtocol, Protocol},
    domain::{EndpointAddress, ErrorReason},
    proxy::{
        error::ProxyError,
        socket::{Socket, Wire},
        worker::Worker,
    },
    routing::{Backend, Endpoint, EndpointId, Home, Peer, Transport},
    tls::ClientTls,
};

/// Joins a connection to `endpoint` of `backend` that has room, or opens one, trying every address of its name in turn, each for
/// an even part of the time. A handshake is part of it. `speaks` is what `backend` speaks, or HTTP/1.1 where a request needs
/// that.
///
/// # Errors
/// `ConnectFailed`, `TlsFailed` or, past `timeout`, `ConnectTimeout`; `WebSocketUnsupported` where the endpoint does not speak
/// HTTP/1.1, and need not by its configuration.
pub(in crate::proxy) async fn connect(
    worker: &Rc<Worker>,
    backend: &Backend,
    endpoint: &Endpoint,
    speaks: BackendProtocol,
    timeout: Duration,
) -> Result<UpstreamConnection, ProxyError> {
    // A request whose own connection has failed it finds another one here that is well.
    if speaks != BackendProtocol::Http1
        && let Some(shared) = worker.pools().room(backend, endpoint)
    {
        return Ok(UpstreamConnection::Http2(shared.stream(true)));
    }
    match speaks {
        BackendProtocol::Http1 | BackendProtocol::Auto => {
            open_own(worker, backend, endpoint, speaks, timeout).await
        }
        BackendProtocol::Http2 => Box::pin(open_or_join(worker, backend, endpoint, timeout)).await,
    }
}

/// Many requests fit into one connection: who comes while one is being opened waits for that, rather than opening another.
async fn open_or_join(
    worker: &Rc<Worker>,
    backend: &Backend,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<UpstreamConnection, ProxyError> {
    /// Connections that a request waits for in vain, full or failed, before it opens its own.
    const ROUNDS: usize = 4;
    let waiting = async {
        for _ in 0..ROUNDS {
            let opened = worker.pools().opening(endpoint)?;
            opened.notified().await;
            // As good as one of its own: it has just been opened.
            if let Some(shared) = worker.pools().room(backend, endpoint) {
                return Some(UpstreamConnection::Http2(shared.stream(false)));
            }
        }
        None
    };
    let joined = tokio::time::timeout(timeout, waiting).await.map_err(|_| SLOW)?;
    if let Some(joined) = joined {
        return Ok(joined);
    }
    let _opening = Opening::begin(worker, endpoint);
    open_own(worker, backend, endpoint, BackendProtocol::Http2, timeout).await
}

/// Says for as long as it lives that a connection is being opened.
struct Opening {
    worker: Rc<Worker>,
    endpoint: EndpointId,
}

impl Opening {
    fn begin(worker: &Rc<Worker>, endpoint: &Endpoint) -> Self {
        worker.pools().begin_opening(endpoint.id());
        Self { worker: worker.clone(), endpoint: endpoint.id() }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.worker.pools().end_opening(self.endpoint);
    }
}

const SLOW: ProxyError =
    ProxyError::new(ErrorReason::ConnectTimeout, "the endpoint could not be reached");

const REFUSED: ProxyError =
    ProxyError::new(ErrorReason::ConnectFailed, "the endpoint refused the connection");

/// What it means that a socket was not opened.
fn unopened(error: &io::Error) -> ProxyError {
    let failed = |why| ProxyError::new(ErrorReason::ConnectFailed, why);
    let kind = error.kind();
    if is_own(error) {
        ProxyError::new(ErrorReason::Internal, "no descriptor or port is left to connect from")
    } else if kind == io::ErrorKind::TimedOut {
        SLOW
    } else if kind == io::ErrorKind::NotFound {
        failed("the endpoint's name or socket does not exist")
    } else if kind == io::ErrorKind::PermissionDenied {
        failed("the system forbids to connect to the endpoint")
    } else {
        REFUSED
    }
}

async fn open_own(
    worker: &Rc<Worker>,
    backend: &Backend,
    endpoint: &Endpoint,
    speaks: BackendProtocol,
    timeout: Duration,
) -> Result<UpstreamConnection, ProxyError> {
    let open = async {
        let opened = open(endpoint, timeout).await;
        let (socket, home) = opened.map_err(|error| unopened(&error))?;
        let socket = match &backend.tls {
            None => Socket::Plain(socket),
            Some(tls) => {
                let encrypted = Box::pin(encrypt(socket, tls, endpoint.address(), speaks)).await;
                encrypted.map_err(|error| unencrypted(&error, speaks != backend.protocol))?
            }
        };
        Ok((socket, home))
    };
    let until = tokio::time::Instant::now() + timeout;
    let (socket, home) = tokio::time::timeout_at(until, open).await.map_err(|_| SLOW)??;
    let tls = backend.tls.clone();
    if speaks_http2(&socket, speaks)? {
        let opened = Box::pin(Http2Connection::new(socket, home, tls, worker));
        let opened = tokio::time::timeout_at(until, opened).await.map_err(|_| SLOW)?;
        let shared = opened.map_err(|_| REFUSED)?;
        worker.pools().share(endpoint, &shared);
        return Ok(UpstreamConnection::Http2(shared.stream(false)));
    }
    Ok(UpstreamConnection::Http1(Http1Connection::new(socket, home, tls, worker.clone())))
}

/// What the endpoint speaks: in the clear what the configuration says, else what the handshake agreed on.
fn speaks_http2(socket: &Socket, wanted: BackendProtocol) -> Result<bool, ProxyError> {
    if wanted == BackendProtocol::Http2 && socket.is_tls() && socket.agreed().is_none() {
        let why = "the endpoint does not speak HTTP/2 over TLS";
        return Err(ProxyError::new(ErrorReason::TlsFailed, why));
    }
    Ok(match wanted {
        BackendProtocol::Http1 => false,
        BackendProtocol::Http2 => true,
        BackendProtocol::Auto => socket.agreed() == Some(Protocol::Http2),
    })
}

async fn encrypt(
    socket: Transport,
    tls: &ClientTls,
    address: &EndpointAddress,
    speaks: BackendProtocol,
) -> io::Result<Socket> {
    let name = tls.name_for(address).map_err(io::Error::other)?;
    let config = match speaks {
        BackendProtocol::Http1 => tls.config_for_http1(),
        BackendProtocol::Http2 | BackendProtocol::Auto => tls.config(),
    };
    let stream = TlsConnector::from(config.clone()).connect(name, Wire::new(socket)).await?;
    Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
}

/// What it means that a handshake failed. An endpoint whose configuration asks for no HTTP/1.1 may refuse it.
fn unencrypted(error: &io::Error, may_refuse: bool) -> ProxyError {
    const NO_HTTP1: rustls::Error =
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if may_refuse && inner == Some(&NO_HTTP1) {
        return NO_WEBSOCKET;
    }
    ProxyError::new(ErrorReason::TlsFailed, reason(error))
}

/// Where an endpoint cannot be asked for a WebSocket: Tidegate does not ask for one over HTTP/2.
pub(in crate::proxy) const NO_WEBSOCKET: ProxyError = ProxyError::new(
    ErrorReason::WebSocketUnsupported,
    "a WebSocket needs an endpoint that speaks HTTP/1.1, and this backend speaks HTTP/2 alone",
);

/// Why a handshake failed, as far as it helps to mend it.
fn reason(error: &io::Error) -> &'static str {
    let inner = error.get_ref();
    if inner.is_some_and(|inner| inner.is::<InvalidDnsNameError>()) {
        return "the endpoint's name is none that a certificate has";
    }
    let inner = inner.and_then(|inner| inner.downcast_ref());
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

async fn open(endpoint: &Endpoint, timeout: Duration) -> io::Result<(Transport, Home)> {
    // Before they are read: should they change meanwhile, the connection is looked at again when it comes back.
    let generation = endpoint.addresses().generation();
    let addresses = match endpoint.addresses().known() {
        Some(addresses) => addresses,
        // A name that nobody has looked up yet: the process, or this endpoint, has just begun.
        None => Box::pin(endpoint.addresses().resolved()).await.ok_or(io::ErrorKind::NotFound)?,
    };
    let (socket, peer) = match &addresses[..] {
        [peer] => (Transport::connect(peer).await?, peer.clone()),
        _ => Box::pin(open_one_of(&addresses, endpoint.addresses().next_turn(), timeout)).await?,
    };
    Ok((socket, Home { peer, generation }))
}

async fn open_one_of(
    addresses: &[Peer],
    turn: usize,
    timeout: Duration,
) -> io::Result<(Transport, Peer)> {
    let part = timeout / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let begin = turn % addresses.len();
    let mut why = io::ErrorKind::NotFound.into();
    for peer in addresses[begin..].iter().chain(&addresses[..begin]) {
        match tokio::time::timeout(part, Transport::connect(peer)).await {
            Ok(Ok(socket)) => return Ok((socket, peer.clone())),
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
