//! A connection's bytes, in the clear or under TLS.
//!
//! TLS keeps encrypted bytes that the kernel did not take: what was written has left only once it has been flushed. A socket
//! in the clear keeps nothing, so that there a flush costs nothing.

use std::{
    cell::Cell,
    io::{self, IoSlice, Write as _},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use rustls::{ConnectionCommon, IoState, SideData};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::{config::model::Protocol, routing::Transport};

/// One connection to a client or to an endpoint.
pub(super) enum Socket {
    /// In the clear.
    Plain(Transport),
    /// Encrypted; the handshake is over.
    Tls(Box<TlsStream<Wire>>),
}

impl Socket {
    /// The socket below.
    pub(super) fn transport(&self) -> &Transport {
        match self {
            Self::Plain(transport) => transport,
            Self::Tls(tls) => &tls.get_ref().0.transport,
        }
    }

    /// The version of HTTP that the handshake agreed on; `None` without TLS, or where the other side knows of none.
    pub(super) fn agreed(&self) -> Option<Protocol> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => {
                let name = tls.get_ref().1.alpn_protocol()?;
                let known = [Protocol::Http1, Protocol::Http2];
                known.into_iter().find(|protocol| protocol.name().as_bytes() == name)
            }
        }
    }

    /// Whether what passes is encrypted.
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Writes what fits now, without a wait; `has_rest` tells whether all that was taken has left.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(transport) => transport.try_write(bytes),
            Self::Tls(tls) => match &mut **tls {
                TlsStream::Client(tls) => {
                    let (wire, session) = tls.get_mut();
                    write_now(wire, &mut **session, bytes)
                }
                TlsStream::Server(tls) => {
                    let (wire, session) = tls.get_mut();
                    write_now(wire, &mut **session, bytes)
                }
            },
        }
    }

    /// Whether bytes that were taken wait for a flush.
    pub(super) fn has_rest(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.wants_write(),
        }
    }

    /// Whether the kernel took bytes of a flush that has not come to its end since this was last asked.
    pub(super) fn has_moved(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().0.moved.take(),
        }
    }

    /// Whether there is something to read that the kernel has handed over already: data, or the end.
    pub(super) fn has_read_ahead(&mut self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => {
                let state = match &mut **tls {
                    TlsStream::Client(tls) => tls.get_mut().1.process_new_packets(),
                    TlsStream::Server(tls) => tls.get_mut().1.process_new_packets(),
                };
                !state.is_ok_and(|state| has_nothing(&state))
            }
        }
    }

    /// Whether the other side is still there and has said nothing, by the kernel's own word.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match socket2::SockRef::from(self.transport()).peek(&mut byte) {
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            Ok(0) => false,
            Ok(_) => match self {
                Self::Plain(_) => false,
                Self::Tls(tls) => match &mut **tls {
                    TlsStream::Client(tls) => {
                        let (wire, session) = tls.get_mut();
                        says_nothing(wire, &mut **session)
                    }
                    TlsStream::Server(tls) => {
                        let (wire, session) = tls.get_mut();
                        says_nothing(wire, &mut **session)
                    }
                },
            },
        }
    }
}

/// A turn of the worker has no task to wake, so the session writes to the socket itself.
fn write_now<S: SideData>(
    wire: &Wire,
    session: &mut ConnectionCommon<S>,
    bytes: &[u8],
) -> io::Result<usize> {
    let taken = session.writer().write(bytes)?;
    while session.wants_write() {
        match session.write_tls(&mut Now(&wire.transport)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// Whether a session holds neither data nor its end.
fn has_nothing(state: &IoState) -> bool {
    state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed()
}

/// Whether what the kernel holds is neither data nor an end, such as a ticket for a later session.
fn says_nothing<S: SideData>(wire: &Wire, session: &mut ConnectionCommon<S>) -> bool {
    loop {
        match session.read_tls(&mut Now(&wire.transport)) {
            Ok(1..) => {
                if !session.process_new_packets().is_ok_and(|state| has_nothing(&state)) {
                    return false;
                }
            }
            Ok(_) => return false,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// A socket asked past the runtime, which is not told and need not be: it asks again before it waits.
struct Now<'a>(&'a Transport);

impl io::Read for Now<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut &*socket2::SockRef::from(self.0), buf)
    }
}

impl io::Write for Now<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket below TLS. Remembers that bytes went out, which the session does not tell.
pub(super) struct Wire {
    transport: Transport,
    moved: Cell<bool>,
}

impl Wire {
    pub(super) const fn new(transport: Transport) -> Self {
        Self { transport, moved: Cell::new(false) }
    }

    fn wrote(&self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(done, Poll::Ready(Ok(_))) {
            self.moved.set(true);
        }
        done
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.transport).poll_write(cx, buf);
        self.wrote(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.transport).poll_write_vectored(cx, bufs);
        self.wrote(done)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}

impl AsyncRead for Socket {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(transport) => Pin::new(transport).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(transport) => Pin::new(transport).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(transport) => Pin::new(transport).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(transport) => Pin::new(transport).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_shutdown(cx),
        }
    }
}
