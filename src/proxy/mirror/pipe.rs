//! A request's body on its way to the mirror as well: copied as it passes, never waited for.
//!
//! The client's side writes and goes on. A mirror that does not keep up within a bounded buffer loses its copy; so does a
//! body that is too large. The copy of a body that did not come whole ends in an error, so that it cannot look complete.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

use crate::{
    domain::{ErrorReason, MirrorOutcome},
    proxy::{error::ProxyError, headers, room::Room},
};

/// Bytes that one copy may lag behind.
const MOST_BEHIND: usize = 512 * 1024;
/// Bytes handed over at once.
const PART: usize = 64 * 1024;

/// What is between the client's side and the mirror's.
pub(super) struct Pipe {
    pending: RefCell<BytesMut>,
    room: RefCell<Room>,
    trailers: RefCell<Option<HeaderMap>>,
    /// Bytes that may still come.
    left: Cell<u64>,
    state: Cell<State>,
    task: Cell<Option<Waker>>,
    /// Who sends the body, where that is another task.
    sender: Cell<Option<Waker>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// More is to come.
    Flows,
    /// All of it has come.
    Complete,
    /// The copy is given up.
    GivenUp(MirrorOutcome),
    /// The mirror takes no more.
    Closed,
}

impl Pipe {
    /// An empty one for a body of `max_bytes` at most.
    pub(super) fn new(max_bytes: u64, room: Room) -> Rc<Self> {
        Rc::new(Self {
            pending: RefCell::default(),
            room: RefCell::new(room),
            trailers: RefCell::default(),
            left: Cell::new(max_bytes),
            state: Cell::new(State::Flows),
            task: Cell::new(None),
            sender: Cell::new(None),
        })
    }

    /// Why the copy is given up, if it is; else the task hears of whatever comes next.
    pub(super) fn watch(&self, cx: &Context<'_>) -> Option<MirrorOutcome> {
        self.task.set(Some(cx.waker().clone()));
        match self.state.get() {
            State::GivenUp(outcome) => Some(outcome),
            State::Flows | State::Complete | State::Closed => None,
        }
    }

    fn wake(&self) {
        [self.task.take(), self.sender.take()].into_iter().flatten().for_each(Waker::wake);
    }

    /// Ends the flow in `state`, and lets go of what is not wanted then.
    fn end(&self, state: State) {
        if self.state.get() == State::Flows || state == State::Closed {
            self.state.set(state);
        }
        if self.state.get() != State::Complete {
            let held = self.pending.take().len();
            self.room.borrow_mut().shrink(held);
        }
        self.wake();
    }

    fn take_in(&self, data: &[u8]) {
        let Some(left) = self.left.get().checked_sub(data.len() as u64) else {
            return self.end(State::GivenUp(MirrorOutcome::TooLarge));
        };
        self.left.set(left);
        let mut pending = self.pending.borrow_mut();
        let fits = pending.len() + data.len() <= MOST_BEHIND;
        if !fits || !self.room.borrow_mut().grow(data.len()) {
            drop(pending);
            return self.end(State::GivenUp(MirrorOutcome::Slow));
        }
        pending.extend_from_slice(data);
        drop(pending);
        self.wake();
    }
}

/// The client's end.
pub(in crate::proxy) struct Tee(Rc<Pipe>);

impl Tee {
    pub(super) const fn new(pipe: Rc<Pipe>) -> Self {
        Self(pipe)
    }

    /// Copies a part of the body.
    pub(in crate::proxy) fn copy(&self, frame: &Frame<Bytes>) {
        if self.0.state.get() != State::Flows {
            return;
        }
        if let Some(data) = frame.data_ref() {
            self.0.take_in(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            *self.0.trailers.borrow_mut() = Some(headers::clean_request_trailers(trailers.clone()));
            self.0.end(State::Complete);
        }
    }

    /// All of the body has come.
    pub(in crate::proxy) fn end(&self) {
        self.0.end(State::Complete);
    }
}

impl Drop for Tee {
    fn drop(&mut self) {
        self.0.end(State::GivenUp(MirrorOutcome::Cut));
    }
}

/// Closes the pipe when the exchange is over, whoever still has the body.
pub(super) struct Outlet(pub(super) Rc<Pipe>);

impl Drop for Outlet {
    fn drop(&mut self) {
        self.0.end(State::Closed);
    }
}

/// The mirror's end, as the HTTP library takes it.
pub(in crate::proxy) struct CopiedBody {
    pipe: Rc<Pipe>,
    /// Bytes still to come, where that is known.
    exact: Option<u64>,
    /// It has said that it is over. Before, a chunked body that is empty must not look like none.
    ended: bool,
}

impl CopiedBody {
    pub(super) const fn new(pipe: Rc<Pipe>, exact: Option<u64>) -> Self {
        Self { pipe, exact, ended: false }
    }
}

impl Body for CopiedBody {
    type Data = Bytes;
    type Error = ProxyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let part = {
            let mut pending = self.pipe.pending.borrow_mut();
            let length = pending.len().min(PART);
            pending.split_to(length).freeze()
        };
        if !part.is_empty() {
            self.pipe.room.borrow_mut().shrink(part.len());
            self.exact = self.exact.map(|exact| exact.saturating_sub(part.len() as u64));
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        match self.pipe.state.get() {
            State::Flows => {
                self.pipe.sender.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            State::Complete => {
                let trailers = self.pipe.trailers.borrow_mut().take();
                self.ended = trailers.is_none();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            State::GivenUp(_) | State::Closed => {
                let error = ProxyError::new(ErrorReason::Internal, "the copy is given up");
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for CopiedBody {
    fn drop(&mut self) {
        self.pipe.end(State::Closed);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::desk::Desk, *};

    fn pipe(max_bytes: u64) -> (Tee, CopiedBody) {
        let pipe = Pipe::new(max_bytes, Desk::default().room());
        (Tee::new(pipe.clone()), CopiedBody::new(pipe, None))
    }

    fn next(body: &mut CopiedBody) -> Poll<Option<Result<Bytes, ProxyError>>> {
        let polled = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        polled.map_ok(|frame| frame.into_data().unwrap_or_default())
    }

    fn given_up(body: &CopiedBody) -> Option<MirrorOutcome> {
        body.pipe.watch(&Context::from_waker(Waker::noop()))
    }

    fn data(text: &'static [u8]) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(text))
    }

    #[test]
    fn what_goes_in_comes_out() {
        let (tee, mut body) = pipe(10);
        assert!(next(&mut body).is_pending());
        tee.copy(&data(b"ab"));
        tee.copy(&data(b"cd"));
        assert!(matches!(next(&mut body), Poll::Ready(Some(Ok(part))) if part == "abcd"));
        tee.end();
        drop(tee);
        assert!(matches!(next(&mut body), Poll::Ready(None)));
        assert!(body.is_end_stream() && given_up(&body).is_none());
    }

    #[test]
    fn a_body_that_breaks_off_or_is_too_large_never_looks_whole() {
        let (tee, mut body) = pipe(3);
        tee.copy(&data(b"abc"));
        drop(tee);
        assert_eq!(given_up(&body), Some(MirrorOutcome::Cut));
        assert!(matches!(next(&mut body), Poll::Ready(Some(Err(_)))));
        let (tee, mut body) = pipe(3);
        tee.copy(&data(b"abc"));
        tee.copy(&data(b"d"));
        tee.end();
        assert_eq!(given_up(&body), Some(MirrorOutcome::TooLarge));
        assert!(matches!(next(&mut body), Poll::Ready(Some(Err(_)))));
    }

    #[test]
    fn a_mirror_that_lags_behind_loses_its_copy_and_its_memory() {
        let (tee, body) = pipe(u64::MAX);
        let block = Frame::data(Bytes::from(vec![0; MOST_BEHIND]));
        tee.copy(&block);
        assert_eq!(given_up(&body), None);
        tee.copy(&data(b"x"));
        assert_eq!(given_up(&body), Some(MirrorOutcome::Slow));
        assert!(body.pipe.pending.borrow().is_empty());
    }

    #[test]
    fn a_mirror_that_has_gone_costs_nothing_more() {
        let (tee, body) = pipe(u64::MAX);
        let pipe = body.pipe.clone();
        drop(body);
        tee.copy(&data(b"x"));
        assert!(pipe.pending.borrow().is_empty());
    }
}
