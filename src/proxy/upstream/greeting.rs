//! The endpoint's first words: until it has said how many requests it takes, none goes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

use crate::proxy::socket::Socket;

/// A socket that tells when the first bytes have come. A connection of HTTP/2 begins with its settings (RFC 9113 §3.4), and the
/// library, which reads them in a task of its own, says nothing of it.
pub(super) struct Greeting {
    socket: Socket,
    heard: Option<oneshot::Sender<()>>,
}

impl Greeting {
    /// Also gives what is told when they have.
    pub(super) fn of(socket: Socket) -> (Self, oneshot::Receiver<()>) {
        let (heard, hearing) = oneshot::channel();
        (Self { socket, heard: Some(heard) }, hearing)
    }
}

impl AsyncRead for Greeting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if let Some(heard) = self.heard.take() {
            // Whoever opened the connection may have gone.
            let _ = heard.send(());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
