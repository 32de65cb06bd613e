//! What follows a switch of protocols: bytes both ways, unread, until both sides have ended.
//!
//! No silence ends a tunnel: an idle WebSocket is a healthy one. A peer that vanished is found by TCP keep-alive.
//!
//! A rollback calls a canary's tunnels back, and the end of the process all of them. A WebSocket's client is told so between two
//! frames, and comes again; what speaks another protocol, or does not end its frame, is cut off after a grace.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes,
};

use super::{
    access::Entry,
    downstream::{Downstream, RawIo},
    error::ProxyError,
    frames::{CLOSE_FOR_RESTART, Frames},
    measure::Attempt,
    socket::Socket,
    upstream::Remains,
    worker::Worker,
};
use crate::{
    domain::ErrorReason,
    lifecycle::clock,
    routing::{Guard, Transport},
};

const BUFFER: usize = 8 * 1024;

/// What a tunnel that is called back has to come to its end.
const GRACE: Duration = Duration::from_secs(5);

/// What a client of HTTP/2 must not take for the begin of one.
pub(super) const NOT_OPENED: ProxyError = ProxyError::new(
    ErrorReason::MalformedResponse,
    "the endpoint answers a WebSocket without opening one",
);

/// The endpoint's side of a tunnel.
pub(super) struct Tunnel {
    endpoint: Remains,
    /// Counts at its endpoint while it is open.
    attempt: Attempt,
    is_websocket: bool,
    /// The request's line of the access log, written when the tunnel has ended.
    _entry: Option<Rc<Entry>>,
}

impl Tunnel {
    pub(super) const fn new(
        endpoint: Remains,
        attempt: Attempt,
        is_websocket: bool,
        entry: Option<Rc<Entry>>,
    ) -> Self {
        Self { endpoint, attempt, is_websocket, _entry: entry }
    }

    /// Copies until both sides have ended; `early` is what the client sent before it had an answer.
    pub(super) async fn run(mut self, mut client: TunnelClient, early: &[u8]) -> io::Result<()> {
        let Remains { socket, read, unsent } = &mut self.endpoint;
        keep_alive(socket.transport())?;
        client.downstream().keep_alive()?;
        client.write_all(read).await?;
        client.flush().await?;
        socket.write_all(unsent).await?;
        socket.write_all(early).await?;
        socket.flush().await?;
        let guard = self.attempt.trial().map(|rollout| &*rollout.guard);
        if guard.is_none() && !self.is_websocket {
            copy_bidirectional_with_sizes(&mut client, socket, BUFFER, BUFFER).await?;
            return Ok(());
        }
        let mut frames = Frames::default();
        frames.pass(read);
        let frames = Cell::new(frames);
        let frames = self.is_websocket.then_some(&frames);
        let worker = client.downstream().worker.clone();
        Watched { client, recall: Recall { guard, worker: &worker }, frames }.copy(socket).await
    }
}

/// The client's side of a tunnel.
pub(super) enum TunnelClient {
    /// Its whole connection.
    Socket(RawIo, Rc<Downstream>),
    /// One stream of it.
    Stream(TokioIo<Upgraded>, Rc<Downstream>),
}

impl TunnelClient {
    const fn downstream(&self) -> &Rc<Downstream> {
        match self {
            Self::Socket(_, downstream) | Self::Stream(_, downstream) => downstream,
        }
    }

    /// Ends without a last word.
    fn cut(self) {
        match self {
            Self::Socket(raw, _) => raw.0.reset(),
            Self::Stream(..) => {}
        }
    }
}

impl AsyncRead for TunnelClient {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(raw, _) => Pin::new(raw).poll_read(cx, buf),
            Self::Stream(stream, _) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for TunnelClient {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Socket(raw, _) => Pin::new(raw).poll_write(cx, buf),
            Self::Stream(stream, _) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(raw, _) => Pin::new(raw).poll_flush(cx),
            Self::Stream(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(raw, _) => Pin::new(raw).poll_shutdown(cx),
            Self::Stream(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What calls a tunnel back.
#[derive(Clone, Copy)]
struct Recall<'a> {
    /// A rollback, where the tunnel is a canary's.
    guard: Option<&'a Guard>,
    /// The end of the process.
    worker: &'a Worker,
}

impl Recall<'_> {
    fn is_made(self) -> bool {
        self.worker.is_leaving() || self.guard.is_some_and(Guard::is_recalled)
    }
}

/// The client of a tunnel that may be called back.
struct Watched<'a> {
    client: TunnelClient,
    recall: Recall<'a>,
    /// Where the frames to the client stand, if it gets frames.
    frames: Option<&'a Cell<Frames>>,
}

/// How the copying ended.
enum End {
    /// Both sides had nothing more to say.
    Ended,
    /// It was called back, and stands between two frames.
    Between,
    /// It was called back, and the grace is over.
    Late,
}

impl Watched<'_> {
    async fn copy(mut self, socket: &mut Socket) -> io::Result<()> {
        let (recall, frames) = (self.recall, self.frames);
        // At a recall the worker wakes the connection's task.
        let recalled = poll_fn(|_| if recall.is_made() { Poll::Ready(()) } else { Poll::Pending });
        let mut grace = pin!(async {
            recalled.await;
            tokio::time::sleep(GRACE).await;
        });
        let end = {
            let mut copying =
                pin!(copy_bidirectional_with_sizes(&mut self, socket, BUFFER, BUFFER));
            poll_fn(|cx| {
                if let Poll::Ready(copied) = copying.as_mut().poll(cx) {
                    return Poll::Ready(copied.map(|_| End::Ended));
                }
                if grace.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(End::Late));
                }
                let between = frames.is_some_and(|frames| frames.get().is_between());
                let told = recall.is_made() && between;
                if told { Poll::Ready(Ok(End::Between)) } else { Poll::Pending }
            })
            .await?
        };
        let mut client = self.client;
        match end {
            End::Ended => Ok(()),
            End::Late => {
                client.cut();
                Ok(())
            }
            End::Between => tokio::select! {
                parted = part(&mut client) => parted,
                () = grace => Ok(()),
            },
        }
    }
}

/// Tells a WebSocket's client to come again, and lets it have the last word.
async fn part(client: &mut TunnelClient) -> io::Result<()> {
    client.write_all(&CLOSE_FOR_RESTART).await?;
    client.shutdown().await?;
    if let TunnelClient::Socket(_, downstream) = client {
        // All is said: the end of the process cuts nothing short.
        downstream.rest_from(clock::now());
    }
    let mut unread = [0; 1024];
    while client.read(&mut unread).await? > 0 {}
    Ok(())
}

impl AsyncRead for Watched<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(cell) = self.frames else { return Pin::new(&mut self.client).poll_write(cx, buf) };
        let mut frames = cell.get();
        let most = match self.recall.is_made() {
            false => buf.len(),
            // No further frame begins; `copy` sees that too, and ends.
            true if frames.is_between() => return Poll::Pending,
            true => frames.rest(buf),
        };
        let written = Pin::new(&mut self.client).poll_write(cx, &buf[..most]);
        if let Poll::Ready(Ok(count)) = written {
            frames.pass(&buf[..count]);
            cell.set(frames);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_shutdown(cx)
    }
}

/// Lets the kernel ask now and then whether the peer is still there. The end of a unix socket's peer is known at once.
pub(super) fn keep_alive(transport: &Transport) -> io::Result<()> {
    let socket = match transport {
        Transport::Tcp(socket) => socket,
        Transport::Unix(_) => return Ok(()),
    };
    let probes = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6);
    socket2::SockRef::from(socket).set_tcp_keepalive(&probes)
}
