//! What follows a switch of protocols: bytes both ways, unread, until both sides have ended.
//!
//! No silence ends a tunnel: an idle WebSocket is a healthy one. A peer that vanished is found by TCP keep-alive.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncWriteExt, copy_bidirectional_with_sizes},
    net::TcpStream,
};

use super::{downstream::RawIo, measure::Attempt, upstream::Remains};

const BUFFER: usize = 8 * 1024;

/// The endpoint's side of a tunnel.
pub(super) struct Tunnel {
    endpoint: Remains,
    /// Counts at its endpoint while it is open.
    _attempt: Attempt,
}

impl Tunnel {
    pub(super) const fn new(endpoint: Remains, attempt: Attempt) -> Self {
        Self { endpoint, _attempt: attempt }
    }

    /// Copies until both sides have ended; `early` is what the client sent before it had an answer.
    pub(super) async fn run(mut self, mut client: RawIo, early: &[u8]) -> io::Result<()> {
        let Remains { socket, read, unsent } = &mut self.endpoint;
        keep_alive(socket)?;
        client.keep_alive()?;
        client.write_all(read).await?;
        client.flush().await?;
        socket.write_all(unsent).await?;
        socket.write_all(early).await?;
        copy_bidirectional_with_sizes(&mut client, socket, BUFFER, BUFFER).await?;
        Ok(())
    }
}

/// Lets the kernel ask now and then whether the peer is still there.
pub(super) fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    let probes = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6);
    socket2::SockRef::from(socket).set_tcp_keepalive(&probes)
}
