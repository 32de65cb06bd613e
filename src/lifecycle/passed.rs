//! Listening sockets that this process did not make: a service manager's, or its predecessor's.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::net::{SocketAddr as UnixAddress, UnixListener},
    },
    path::{Path, PathBuf},
    process,
};

use listenfd::ListenFd;

use super::handover::SocketName;

/// Passed sockets that nobody has taken yet. What is left when it goes is closed.
#[derive(Debug, Default)]
pub struct PassedSockets {
    tcp: Vec<(SocketAddr, TcpListener)>,
    admin: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<PassedUnix>,
}

/// A passed unix socket.
#[derive(Debug)]
pub struct PassedUnix {
    /// Its file.
    pub path: PathBuf,
    /// The service manager made it, and removes its file.
    pub lent: bool,
    /// The socket.
    pub socket: UnixListener,
}

impl PassedSockets {
    /// The service manager's, by `LISTEN_FDS` and `LISTEN_PID`; none without them.
    ///
    /// # Errors
    /// When a descriptor is no listening stream socket.
    pub fn of_service_manager() -> io::Result<Self> {
        let ours = env::var("LISTEN_PID").is_ok_and(|id| id == process::id().to_string());
        let mut found = if ours { ListenFd::from_env() } else { ListenFd::empty() };
        let mut passed = Self::default();
        for place in 0..found.len() {
            if let Ok(Some(socket)) = found.take_tcp_listener(place) {
                if !socket2::SockRef::from(&socket).is_listener()? {
                    return Err(unusable(place, "connected, or does not listen"));
                }
                socket.set_nonblocking(true)?;
                passed.tcp.push((socket.local_addr()?, socket));
            } else if let Ok(Some(socket)) = found.take_unix_listener(place) {
                let path = socket.local_addr().ok().and_then(|address| path_of(&address));
                let Some(path) = path else {
                    return Err(unusable(place, "a unix socket without a path"));
                };
                passed.unix.push(PassedUnix { path, lent: true, socket });
            } else {
                return Err(unusable(place, "no stream socket"));
            }
        }
        Ok(passed)
    }

    /// Takes over what the predecessor calls `name`.
    pub fn add(&mut self, name: SocketName, descriptor: OwnedFd) {
        match name {
            SocketName::Listener(address) => self.tcp.push((address, descriptor.into())),
            SocketName::AdminListen(address) => self.admin.push((address, descriptor.into())),
            SocketName::Admin { path, lent } => {
                self.unix.push(PassedUnix { path, lent, socket: descriptor.into() });
            }
            SocketName::Log => {}
        }
    }

    /// The sockets of the clients' listeners, by the addresses that the configuration gives them.
    pub fn take_listeners(&mut self) -> Vec<(SocketAddr, TcpListener)> {
        std::mem::take(&mut self.tcp)
    }

    /// The operators' unix socket at `path`.
    pub fn take_unix(&mut self, path: &Path) -> Option<PassedUnix> {
        let at = self.unix.iter().position(|passed| passed.path == path)?;
        Some(self.unix.remove(at))
    }

    /// The operators' TCP socket at `address`.
    pub fn take_admin(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let taken = |sockets: &mut Vec<(SocketAddr, TcpListener)>| {
            let at = sockets.iter().position(|(known, _)| *known == address)?;
            Some(sockets.remove(at).1)
        };
        taken(&mut self.admin).or_else(|| taken(&mut self.tcp))
    }

    /// Sockets of addresses for which `is_wanted` has no use, for people.
    pub fn misfits(&self, is_wanted: impl Fn(SocketAddr) -> bool) -> Vec<String> {
        let addresses = self.tcp.iter().map(|(address, _)| *address);
        addresses.filter(|at| !is_wanted(*at)).map(|address| address.to_string()).collect()
    }

    /// What nobody took, for people.
    pub fn unused(&self) -> impl Iterator<Item = String> {
        let addresses = self.tcp.iter().chain(&self.admin).map(|(address, _)| address.to_string());
        addresses.chain(self.unix.iter().map(|passed| passed.path.display().to_string()))
    }
}

fn path_of(address: &UnixAddress) -> Option<PathBuf> {
    address.as_pathname().map(Path::to_owned)
}

fn unusable(place: usize, what: &str) -> io::Error {
    let descriptor = place + 3;
    io::Error::other(format!(
        "descriptor {descriptor} from the service manager is {what}; pass listening TCP or unix sockets alone"
    ))
}
