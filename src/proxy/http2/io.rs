//! The client's socket as the library of HTTP/2 sees it: what comes in is counted, what goes out leaves like everything else.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::ReadBuf;

use super::budget::FrameScanner;
use crate::{
    domain::Queue,
    proxy::downstream::{Client, Shared},
};

/// What the connection's end is told by.
pub(super) struct Excess {
    /// What the client has used up.
    pub(super) queue: Cell<Option<Queue>>,
    /// The last stream that it opened.
    pub(super) last_stream: Cell<u32>,
    /// What it must have been, by the kind of the last frame, if the library finds that the client overdoes it.
    pub(super) of_library: Cell<Queue>,
}

impl Default for Excess {
    fn default() -> Self {
        Self {
            queue: Cell::new(None),
            last_stream: Cell::new(0),
            of_library: Cell::new(Queue::Http2Resets),
        }
    }
}

/// The socket of a connection that speaks HTTP/2.
pub(super) struct Http2Io {
    client: Rc<Client>,
    shared: Rc<Shared>,
    /// Read before it was known what the client speaks.
    early: Vec<u8>,
    scanner: FrameScanner,
    excess: Rc<Excess>,
}

impl Http2Io {
    pub(super) const fn new(
        client: Rc<Client>,
        shared: Rc<Shared>,
        early: Vec<u8>,
        excess: Rc<Excess>,
    ) -> Self {
        Self { client, shared, early, scanner: FrameScanner::new(), excess }
    }

    fn give(&mut self, input: &[u8], cursor: &mut ReadBufCursor<'_>) -> io::Result<()> {
        let counted = self.scanner.scan(input, &self.shared.budget);
        self.excess.last_stream.set(self.scanner.last_stream());
        self.excess.of_library.set(self.scanner.likely_excess());
        counted.map_err(|queue| {
            self.excess.queue.set(Some(queue));
            io::Error::other("the client's budget is used up")
        })?;
        cursor.put_slice(input);
        Ok(())
    }
}

impl Read for Http2Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let mut early = std::mem::take(&mut self.early);
            let rest = early.split_off(early.len().min(cursor.remaining()));
            self.early = rest;
            return Poll::Ready(self.give(&early, &mut cursor));
        }
        let client = self.client.clone();
        let mut scratch = client.worker.scratch();
        let room = scratch.len().min(cursor.remaining());
        let mut buf = ReadBuf::new(&mut scratch[..room]);
        ready!(client.poll_socket(cx, &mut buf))?;
        if buf.filled().is_empty() {
            client.leave_off();
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.give(buf.filled(), &mut cursor))
    }
}

impl Write for Http2Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.client.poll_say(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.client.poll_say(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.poll_said(cx)
    }

    // How a connection is closed depends on how it ended, which the library does not know.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
