//! Small writes of one turn, sent together at its end.
//!
//! When the kernel reports many sockets at once, their tasks run one after the other. Sent one by one between stretches of our
//! own work, each message runs through the whole network stack from cold, up to the peer that it wakes; sent in a row they
//! share both. So a head or a short answer is left here, and goes out when every task that was ready has run, or when enough
//! have gathered.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use super::{downstream::Client, upstream::Upstream};

/// How many gather at most before they go: a bound on how long the first of them waits.
const MOST: usize = 64;

/// A connection with something to send.
pub(super) enum Sender {
    /// To a client.
    Downstream(Rc<Client>),
    /// To an endpoint.
    Upstream(Rc<Upstream>),
}

impl Sender {
    fn send(&self) {
        match self {
            Self::Downstream(client) => client.send_now(),
            Self::Upstream(upstream) => upstream.send_now(),
        }
    }
}

/// The connections of one worker that have something to send.
#[derive(Default)]
pub(super) struct Outgoing {
    senders: RefCell<Vec<Sender>>,
    task: RefCell<Option<Waker>>,
}

impl Outgoing {
    /// Lets `sender` send before the worker waits for the kernel again.
    pub(super) fn add(&self, sender: Sender) {
        let mut senders = self.senders.borrow_mut();
        senders.push(sender);
        match senders.len() {
            // The task goes to the end of the queue, behind everything that is ready.
            1 => {
                if let Some(task) = self.task.borrow().as_ref() {
                    task.wake_by_ref();
                }
            }
            MOST => {
                senders.iter().for_each(Sender::send);
                senders.clear();
            }
            _ => {}
        }
    }

    /// Sends at the end of every turn, for ever.
    pub(super) async fn run(&self) {
        poll_fn(|cx| {
            let mut task = self.task.borrow_mut();
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
            drop(task);
            let mut senders = self.senders.borrow_mut();
            senders.iter().for_each(Sender::send);
            senders.clear();
            Poll::<()>::Pending
        })
        .await;
    }
}
