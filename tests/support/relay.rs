//! A unix socket in front of an upstream that listens on TCP, so that every upstream can be one on a unix socket.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
};

/// A listening unix socket. Its threads end with the test process.
pub(crate) struct UnixRelay {
    path: PathBuf,
}

impl UnixRelay {
    /// Passes every connection to the socket at `path` on to `upstream`, each end of its own.
    pub(crate) fn bind(path: &Path, upstream: SocketAddr) -> Self {
        let listener = UnixListener::bind(path).expect("a free path");
        std::thread::spawn(move || {
            for downstream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || pass(&downstream, upstream));
            }
        });
        Self { path: path.to_owned() }
    }

    /// As a configuration names it.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }
}

fn pass(downstream: &UnixStream, upstream: SocketAddr) -> Option<()> {
    let upstream = TcpStream::connect(upstream).ok()?;
    upstream.set_nodelay(true).ok()?;
    let (mut from, mut to) = (downstream.try_clone().ok()?, upstream.try_clone().ok()?);
    std::thread::spawn(move || {
        io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Write).ok();
    });
    io::copy(&mut &upstream, &mut &*downstream).ok();
    downstream.shutdown(Shutdown::Write).ok();
    Some(())
}
