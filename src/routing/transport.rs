//! A connection's socket: of TCP, or a unix socket of this machine.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::Peer;

/// A connected stream socket.
#[derive(Debug)]
pub enum Transport {
    /// Of TCP, without Nagle's algorithm.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl From<TcpStream> for Transport {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl Transport {
    /// Connects to `peer`; the caller sees to the time.
    ///
    /// # Errors
    /// The system's own.
    pub async fn connect(peer: &Peer) -> io::Result<Self> {
        match peer {
            Peer::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                Ok(Self::Tcp(socket))
            }
            // Boxed, so that it makes no room in what waits for TCP.
            Peer::Unix(path) => Box::pin(connect_unix(path)).await.map(Self::Unix),
        }
    }

    /// Waits until there may be something to read.
    ///
    /// # Errors
    /// The runtime's own.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    /// Writes what the kernel takes now.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing, or the system's own.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            Self::Unix(socket) => socket.try_write(bytes),
        }
    }

    /// The same from several places.
    ///
    /// # Errors
    /// As [`Self::try_write`].
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write_vectored(bufs),
            Self::Unix(socket) => socket.try_write_vectored(bufs),
        }
    }
}

/// A unix socket whose queue is full refuses at once, where TCP would wait for its turn: it is asked again, for as long as the
/// caller waits.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    const LONGEST: Duration = Duration::from_millis(20);
    let mut pause = Duration::from_millis(1);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
            done => return done,
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsyncRead for Transport {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Neither keeps anything back.
    #[inline]
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_is_waited_for_and_a_missing_socket_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let peer = Peer::Unix(path.as_path().into());
        let missing = Transport::connect(&peer).await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);

        let listener = UnixListener::bind(&path).unwrap();
        // The shortest queue there is: one connection.
        rustix::net::listen(&listener, 0).unwrap();
        let first = Transport::connect(&peer).await.unwrap();
        let mut second = std::pin::pin!(Transport::connect(&peer));
        let soon = tokio::time::timeout(Duration::from_millis(30), second.as_mut()).await;
        assert!(soon.is_err(), "{soon:?}");
        drop((first, listener.accept().unwrap()));
        second.await.unwrap();

        drop(listener);
        let refused = Transport::connect(&peer).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
