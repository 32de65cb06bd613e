//! What goes to the client before anything else: small writes of the connection's present run, and interim answers.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::{Client, Downstream, client::Departure};
use crate::proxy::outgoing::Sender;

/// What waits to go to the client.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// So many of them are of interim answers, which are no progress towards an answer.
    interim: usize,
}

impl Outbox {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn add_interim(&mut self, head: &[u8]) {
        self.bytes.extend_from_slice(head);
        self.interim += head.len();
    }

    /// Takes away the first bytes, which have left; whether there was more among them than interim answers.
    fn sent(&mut self, count: usize) -> bool {
        self.bytes.drain(..count);
        let of_interim = count.min(self.interim);
        self.interim -= of_interim;
        count > of_interim
    }
}

impl Client {
    /// Leaves a small write for the end of the connection's run; `None` where it is better written at once.
    fn leave(&self, bufs: &[io::IoSlice<'_>]) -> Option<usize> {
        const SMALL: usize = 4 * 1024;
        let departs = self.departs();
        let mut outbox = self.outbox.borrow_mut();
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if outbox.bytes.len() + total > SMALL || !(departs || outbox.is_empty()) {
            return None;
        }
        bufs.iter().for_each(|buf| outbox.bytes.extend_from_slice(buf));
        if !departs {
            self.departure.set(Departure::AfterRun);
        }
        Some(total)
    }

    fn departs(&self) -> bool {
        self.departure.get() != Departure::Open
    }

    /// The connection's task has run, and adds nothing more to what it has left: that goes now, or at the end of the turn.
    pub(in crate::proxy) fn end_run(self: &Rc<Self>) {
        if self.departure.get() == Departure::AfterRun {
            self.departure.set(Departure::AfterTurn);
            self.worker.outgoing().add_whole(Sender::Downstream(self.clone()));
        }
    }

    /// Writes what a library of HTTP has to say: at once, or where it is little when the connection's task has run.
    pub(in crate::proxy) fn poll_say(
        &self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(taken) = self.leave(bufs) {
            return self.said(Poll::Ready(Ok(taken)));
        }
        let done = match self.poll_outbox(cx)? {
            Poll::Ready(()) => {
                Pin::new(&mut *self.socket.borrow_mut()).poll_write_vectored(cx, bufs)
            }
            Poll::Pending => Poll::Pending,
        };
        if let Poll::Ready(Ok(written)) = done {
            self.worker.outgoing().passes(written);
        }
        self.said(done)
    }

    fn said(&self, done: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.blocked.set(done.is_pending());
        self.flushed.set(false);
        if done.is_ready() {
            self.progress.set(true);
        }
        done
    }

    /// Waits until all that was written has gone, or goes by itself.
    pub(in crate::proxy) fn poll_said(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.departs() {
            ready!(self.poll_out(cx))?;
            self.blocked.set(false);
        }
        self.flushed.set(true);
        Poll::Ready(Ok(()))
    }

    /// Sends what has been left in the outbox.
    pub(in crate::proxy) fn send_now(&self) {
        if self.departure.take() == Departure::Open {
            return;
        }
        let mut outbox = self.outbox.borrow_mut();
        let mut socket = self.socket.borrow_mut();
        let sent = socket.try_write(&outbox.bytes).unwrap_or(0);
        outbox.sent(sent);
        if outbox.is_empty() && !socket.has_rest() {
            return;
        }
        // The connection's task finds out why, and sees to the rest.
        self.flushed.set(false);
        self.blocked.set(true);
        self.wake();
    }

    pub(super) fn poll_outbox(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outbox = self.outbox.borrow_mut();
        while !outbox.is_empty() {
            let mut socket = self.socket.borrow_mut();
            let sent = ready!(Pin::new(&mut *socket).poll_write(cx, &outbox.bytes))?;
            if outbox.sent(sent) {
                self.progress.set(true);
            }
        }
        self.departure.set(Departure::Open);
        Poll::Ready(Ok(()))
    }

    /// The same, and then all that the socket holds itself.
    pub(super) fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outbox(cx))?;
        let mut socket = self.socket.borrow_mut();
        let flushed = Pin::new(&mut *socket).poll_flush(cx);
        if flushed.is_pending() {
            self.blocked.set(true);
            if socket.has_moved() {
                self.progress.set(true);
            }
        }
        flushed
    }
}

impl Downstream {
    /// Sends an interim answer (1xx), where it cannot get between the bytes of another one.
    pub(in crate::proxy) fn send_interim(&self, head: &[u8]) {
        /// More than this a client that does not read is not owed.
        const MAX_OUTBOX: usize = 64 * 1024;
        let mut outbox = self.outbox.borrow_mut();
        // A stream's would need a frame, which the library does not write.
        if self.stream.is_some()
            || self.head.borrow().is_http_10()
            || !self.flushed.get()
            || outbox.bytes.len() + head.len() > MAX_OUTBOX
        {
            return;
        }
        let sent = if outbox.is_empty() { self.socket.borrow_mut().try_write(head) } else { Ok(0) };
        outbox.add_interim(&head[sent.unwrap_or(0)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else an endpoint that sends hint after hint would never be late.
    #[test]
    fn interim_answers_that_leave_are_no_progress() {
        let mut outbox = Outbox::default();
        outbox.add_interim(b"hint");
        outbox.add_interim(b"hint");
        assert!(!outbox.sent(3) && !outbox.sent(5) && outbox.is_empty());
        outbox.add_interim(b"hint");
        outbox.bytes.extend_from_slice(b"answer");
        assert!(outbox.sent(5) && outbox.sent(5) && outbox.is_empty());
    }
}
