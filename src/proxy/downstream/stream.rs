//! A request that shares its connection with others: one stream of HTTP/2.
//!
//! Each has a task of its own, and a deadline; the connection has one timer for all of them.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
};

use super::{Client, Downstream};
use crate::{
    domain::Moment,
    lifecycle::clock,
    proxy::{
        error::ProxyError,
        http2::{Accept, Budget},
        pace::Pace,
    },
};

/// What the streams of a connection share.
#[derive(Default)]
pub(in crate::proxy) struct Shared {
    /// When the connection's timer fires.
    pub(in crate::proxy) armed: Cell<Moment>,
    pub(in crate::proxy) budget: Budget,
}

/// What is special about a request that is a stream.
pub(super) struct Stream {
    shared: Rc<Shared>,
    task: RefCell<Option<Waker>>,
    /// It was given a part of its answer and has not come back for the next: the client leaves no room for it.
    stalled: Cell<bool>,
    /// How fast the client makes room, where that matters; and bytes that were given and not yet asked beyond.
    pace: Cell<(Pace, u64)>,
    /// Its task is to end, and with it the stream.
    abandoned: Cell<bool>,
    /// Its client takes any success for a tunnel that is open; how an endpoint accepts it.
    accept: Cell<Option<Accept>>,
}

impl Stream {
    pub(super) fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.get()
    }

    /// Whether the connection's timer would miss `deadline`.
    pub(super) fn is_before_timer(&self, deadline: Moment) -> bool {
        deadline < self.shared.armed.get()
    }
}

impl Downstream {
    /// A new stream of `client`'s connection.
    pub(in crate::proxy) fn of_stream(client: Rc<Client>, shared: Rc<Shared>) -> Rc<Self> {
        let (task, stalled, pace) = <(RefCell<_>, Cell<_>, Cell<_>)>::default();
        let (abandoned, accept) = <(Cell<_>, Cell<_>)>::default();
        let stream = Some(Stream { shared, task, stalled, pace, abandoned, accept });
        Rc::new(Self { stream, ..Self::new(client) })
    }

    /// Whether it is a stream of HTTP/2.
    pub(in crate::proxy) const fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// The stream's task runs.
    pub(in crate::proxy) fn begin_stream_turn(&self, cx: &Context<'_>) {
        if let Some(stream) = &self.stream {
            let mut task = stream.task.borrow_mut();
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
        }
    }

    /// The stream asks for a tunnel by an extended CONNECT (RFC 8441), and takes any success for its begin; its endpoint
    /// has to `accept` the key that was made for it.
    pub(in crate::proxy) fn await_tunnel(&self, accept: Accept) {
        if let Some(stream) = &self.stream {
            stream.accept.set(Some(accept));
        }
    }

    pub(in crate::proxy) fn awaits_tunnel(&self) -> bool {
        self.awaited_accept().is_some()
    }

    /// How an endpoint has to accept the tunnel, if the stream asks for one.
    pub(in crate::proxy) fn awaited_accept(&self) -> Option<Accept> {
        self.stream.as_ref()?.accept.get()
    }

    /// The stream is a tunnel from here on, which no silence ends.
    pub(in crate::proxy) fn begin_tunnel(&self) {
        self.deadline.set(Moment::from_nanos(u64::MAX));
    }

    /// The answer's next part is asked for, since there is room for it; `false` when the client makes room too slowly. What
    /// HTTP/1.1 writes is watched where it is written.
    pub(in crate::proxy) fn asks_for_more(&self) -> bool {
        let Some(stream) = &self.stream else { return true };
        stream.stalled.set(false);
        let Some(least) = self.listener.min_rate else { return true };
        let (mut pace, given) = stream.pace.take();
        let enough = pace.pass(given, clock::now(), least);
        stream.pace.set((pace, 0));
        enough
    }

    /// A part of the answer is on its way to the client.
    pub(in crate::proxy) fn gave_part(&self, bytes: u64) {
        let Some(stream) = &self.stream else { return };
        stream.stalled.set(true);
        stream.shared.budget.earn();
        if self.listener.min_rate.is_some() {
            let (mut pace, given) = stream.pace.take();
            pace.wait(clock::now());
            stream.pace.set((pace, given + bytes));
        }
    }

    /// Lets the stream's task end as soon as it runs.
    pub(in crate::proxy) fn abandon(&self) {
        if let Some(stream) = &self.stream {
            stream.abandoned.set(true);
            stream.wake();
        }
    }

    pub(in crate::proxy) fn is_abandoned(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.abandoned.get())
    }

    /// Whether no further request may come after the answer to one that went wrong.
    pub(in crate::proxy) fn closes_after(&self, error: ProxyError) -> bool {
        self.stream.is_none() && (error.closes() || self.is_closing())
    }

    /// Whether the answer should say that no further request may come: in HTTP/2 the connection says so itself.
    pub(in crate::proxy) fn says_close(&self) -> bool {
        self.stream.is_none() && self.is_closing()
    }
}
