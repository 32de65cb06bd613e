//! The API's sockets and connections: bounded in number, in the size of a head, and in time.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use super::{
    api::{self, Api},
    auth::{Admission, Peer, Token},
    door::{Door, DoorKeeper},
    reserve::Reserve,
    socket_file::SocketFile,
    stream::Streams,
};
use crate::{
    control::ControlHandle,
    lifecycle::{
        PassedSockets, PassedUnix, Tasks, handover::SocketName, read_regular, way_to_listen,
    },
    telemetry::{self, Exporter, ListenerGauge},
    tls::ServerTls,
};

/// Connections at once on each socket; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Time for a request's head; an idle connection is closed after it as well.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const MAX_HEAD: usize = 32 << 10;
/// Pause when the system gives no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time for the answer that is under way when a successor takes over.
const LAST_ANSWER: Duration = Duration::from_secs(1);
const MIN_TOKEN: usize = 8;
const MAX_TOKEN: u64 = 4 << 10;

/// Where the API is to be found.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The unix socket.
    pub socket: PathBuf,
    /// Permission bits of its file.
    pub socket_mode: u32,
    /// The TCP address, if there is to be one.
    pub listen: Option<SocketAddr>,
    /// File with the token for writes over TCP.
    pub token_file: Option<PathBuf>,
    /// TCP is encrypted, with the certificate of the table in force.
    pub tls: bool,
    /// Host names taken over TCP beside the address.
    pub hosts: Arc<[Box<str>]>,
}

/// Tells the open connections of each listener.
pub type Connections = Box<dyn Fn() -> Vec<ListenerGauge> + Send + Sync>;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No unix socket.
    #[error("cannot listen on the admin socket {}: {why}", path.display())]
    Socket {
        /// Its file.
        path: PathBuf,
        /// What stands against it.
        why: String,
    },
    /// No TCP socket.
    #[error("cannot listen on admin.listen {address}: {source}{}", way_to_listen(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No token.
    #[error("admin.token_file {}: {source}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// No metrics.
    #[error(transparent)]
    Metrics(#[from] telemetry::Error),
}

/// The API, bound and not yet answering. The unix socket's file goes with it.
#[derive(Debug)]
pub struct Server {
    unix: std::os::unix::net::UnixListener,
    tcp: Option<std::net::TcpListener>,
    router: Router,
    reserve: Arc<Reserve>,
    socket_file: SocketFile,
    keeper: DoorKeeper,
    certificates: Option<Certificates>,
}

/// What a successor of this process takes over.
#[derive(Debug)]
pub struct Heritage {
    /// The sockets.
    pub sockets: Vec<(SocketName, OwnedFd)>,
    /// Says who takes new connections.
    pub door: DoorKeeper,
}

/// What TCP is encrypted with: the newest that there is.
#[derive(Debug)]
struct Certificates {
    control: ControlHandle,
    first: Arc<ServerTls>,
}

impl Certificates {
    fn now(&self) -> Arc<ServerTls> {
        // A file that names none any more takes effect with the next start.
        self.control.table().tls().admin().unwrap_or(&self.first).clone()
    }
}

impl Server {
    /// Binds what `settings` asks for and is not among `passed`.
    ///
    /// # Errors
    /// [`AdminError`] when a socket, the token or the metrics are not to be had.
    pub fn bind(
        settings: &Settings,
        control: ControlHandle,
        connections: Connections,
        passed: &mut PassedSockets,
    ) -> Result<Self, AdminError> {
        let token = settings.token_file.as_deref().map(read_token).transpose()?;
        let (socket_file, unix) = match passed.take_unix(&settings.socket) {
            Some(PassedUnix { path, lent, socket }) => (SocketFile::passed(&path, lent), socket),
            None => SocketFile::listen(&settings.socket, settings.socket_mode)
                .map_err(|error| socket_error(&settings.socket, &error))?,
        };
        unix.set_nonblocking(true).map_err(|error| socket_error(&settings.socket, &error))?;
        let tcp = settings.listen.map(|address| match passed.take_admin(address) {
            Some(socket) => Ok(socket),
            None => listen_tcp(address),
        });
        let tcp = tcp.transpose()?;
        let first = control.table().tls().admin().filter(|_| settings.tls).cloned();
        let certificates = first.map(|first| Certificates { control: control.clone(), first });
        let seen = control.clone();
        let gauges = move || telemetry::Gauges { connections: connections(), ..seen.gauges() };
        let exporter = Arc::new(Exporter::new(control.recorder().clone(), gauges)?);
        let router = api::router(
            Api { control, exporter, streams: Streams::new() },
            Admission { token, hosts: settings.hosts.clone() },
        );
        let (reserve, keeper) = (Arc::new(Reserve::new()), DoorKeeper::new());
        Ok(Self { unix, tcp, router, reserve, socket_file, keeper, certificates })
    }

    /// What a successor would take over; `listen` is the TCP address that the configuration gives.
    ///
    /// # Errors
    /// The system's, when it gives no more descriptors.
    pub fn heritage(&self, socket: &Path, listen: Option<SocketAddr>) -> io::Result<Heritage> {
        let lent = self.socket_file.is_managers();
        let name = SocketName::Admin { path: socket.to_owned(), lent };
        let mut sockets = vec![(name, self.unix.try_clone()?.into())];
        if let (Some(address), Some(tcp)) = (listen, &self.tcp) {
            sockets.push((SocketName::AdminListen(address), tcp.try_clone()?.into()));
        }
        Ok(Heritage { sockets, door: self.keeper.clone() })
    }

    /// Where the TCP side listens, port 0 resolved.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }

    /// Answers until it is dropped, or a successor does.
    ///
    /// # Errors
    /// The system's, when the runtime cannot take the sockets.
    pub async fn serve(self, tasks: Tasks) -> io::Result<()> {
        let Self { unix, tcp, router, reserve, socket_file, keeper, certificates } = self;
        let unix = UnixListener::from_std(unix)?;
        let tcp = tcp.map(TcpListener::from_std).transpose()?;
        // Removed at the end, unless it is left.
        let mut socket_file = socket_file;
        socket_file.claim();
        let host = Host { router, tasks, reserve, door: keeper.door() };
        let over_tcp = async {
            if let Some(tcp) = tcp {
                accept_tcp(tcp, certificates.as_ref(), &host).await;
            }
        };
        tokio::join!(accept_unix(unix, &host), over_tcp);
        socket_file.leave();
        Ok(())
    }
}

async fn accept_unix(listener: UnixListener, host: &Host) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let Some(accepted) = host.admit(|| listener.accept()).await else { return };
        let peer = accepted.and_then(|(stream, _)| {
            let uid = stream.peer_cred()?.uid();
            Ok((stream, Peer::Unix { uid }))
        });
        match peer {
            Ok((stream, peer)) => host.serve(stream, peer, slot),
            Err(error) => host.pause("unix", &error).await,
        }
    }
}

async fn accept_tcp(listener: TcpListener, certificates: Option<&Certificates>, host: &Host) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let Some(accepted) = host.admit(|| listener.accept()).await else { return };
        let peer = accepted.and_then(|(stream, from)| {
            let to = stream.local_addr()?;
            Ok((stream, Peer::Tcp { from: from.ip(), to }))
        });
        match peer {
            Ok((stream, peer)) => match certificates {
                Some(certificates) => host.encrypt(stream, peer, slot, &certificates.now()),
                None => host.serve(stream, peer, slot),
            },
            Err(error) => host.pause("tcp", &error).await,
        }
    }
}

/// What serves a connection, whichever socket it came by.
#[derive(Clone)]
struct Host {
    router: Router,
    tasks: Tasks,
    reserve: Arc<Reserve>,
    door: Door,
}

impl Host {
    /// What `accept` gives while the door is open; `None` once it has been left.
    async fn admit<F: Future>(&self, accept: impl Fn() -> F) -> Option<F::Output> {
        let mut door = self.door.clone();
        loop {
            tokio::select! {
                biased;
                () = door.shut() => if !door.opens().await {
                    return None;
                },
                accepted = accept() => return Some(accepted),
            }
        }
    }

    fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        peer: Peer,
        slot: OwnedSemaphorePermit,
    ) {
        let service = TowerToHyperService::new(self.router.clone().layer(Extension(peer)));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(MAX_HEAD);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let (reserve, mut door) = (self.reserve.clone(), self.door.clone());
        let served = async move {
            let mut connection = pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = door.left() => {
                    connection.as_mut().graceful_shutdown();
                    // What follows events has no end of its own.
                    tokio::time::timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
                }
            }
        };
        self.tasks.spawn("admin connection", async move {
            // Its descriptor is free when this has ended, for the reserve before anybody else.
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection of the admin API ended early");
            }
            reserve.fill();
            drop(slot);
        });
    }

    /// Serves a connection once its handshake is over.
    fn encrypt(&self, stream: TcpStream, peer: Peer, slot: OwnedSemaphorePermit, tls: &ServerTls) {
        let accepting = TlsAcceptor::from(tls.config().clone()).accept(stream);
        let host = self.clone();
        self.tasks.spawn("admin handshake", async move {
            match tokio::time::timeout(HEAD_PATIENCE, accepting).await {
                Ok(Ok(stream)) => host.serve(stream, peer, slot),
                Ok(Err(error)) => tracing::debug!(%error, "a handshake with the admin API failed"),
                Err(_) => tracing::debug!("a handshake with the admin API took too long"),
            }
        });
    }

    /// Waits after a connection could not be accepted, unless the reserve helps at once.
    async fn pause(&self, socket: &str, error: &io::Error) {
        if !self.reserve.relieves(error) {
            tracing::warn!(%error, socket, "the admin API cannot accept a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            self.reserve.fill();
        }
    }
}

fn listen_tcp(address: SocketAddr) -> Result<std::net::TcpListener, AdminError> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| AdminError::Listen { address, source })
}

fn socket_error(path: &Path, error: &dyn std::error::Error) -> AdminError {
    AdminError::Socket { path: path.to_owned(), why: error.to_string() }
}

/// Reads the token file at `path`, as a start would. Blocks.
///
/// # Errors
/// [`AdminError::Token`] when it holds no token.
pub fn check_token(path: &Path) -> Result<(), AdminError> {
    read_token(path).map(drop)
}

fn read_token(path: &Path) -> Result<Token, AdminError> {
    let read = || {
        let token = read_regular(path, MAX_TOKEN)?;
        let token = token.trim_ascii();
        if token.len() < MIN_TOKEN {
            return Err(io::Error::other(format!(
                "{} bytes are too short for a token; write at least {MIN_TOKEN}",
                token.len()
            )));
        }
        Ok(Token::new(token))
    };
    read().map_err(|source| AdminError::Token { path: path.to_owned(), source })
}
