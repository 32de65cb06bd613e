//! Small writes of one turn, sent together at its end.
//!
//! When the kernel reports many sockets at once, their tasks run one after the other. Sent one by one between stretches of our
//! own work, each message runs through the whole network stack from cold, up to the peer that it wakes; sent in a row they
//! share both. So a head or a short answer is left here, and goes out when every task that was ready has run, or when enough
//! have gathered. While turns are short there is little to share, and what is whole is not kept waiting.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use tokio::runtime::{Handle, RuntimeMetrics};

use super::{downstream::Client, upstream::Upstream};

/// How many gather at most before they go: a bound on how long the first of them waits.
const MOST: usize = 64;

/// How many messages make a turn long, or how many bytes: to move those takes time too, in which others come.
const MANY: usize = 8;
const LARGE: usize = MANY * 16 * 1024;

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
    turns: Turns,
}

/// How much there is to send between two waits for the kernel.
#[derive(Default)]
struct Turns {
    /// Set as soon as the worker runs.
    runtime: OnceCell<RuntimeMetrics>,
    /// How often the worker had waited when the last message came.
    waits: Cell<u64>,
    /// Messages of the present turn, and of the last one that had any.
    present: Cell<usize>,
    last: Cell<usize>,
}

impl Turns {
    /// Counts messages; true while the last turn had few, and the present one has.
    fn count(&self, messages: usize) -> bool {
        let waits = self.runtime.get().map_or(0, |runtime| runtime.worker_park_count(0));
        if waits != self.waits.replace(waits) {
            self.last.set(self.present.take());
        }
        self.present.set(self.present.get() + messages);
        self.present.get().max(self.last.get()) < MANY
    }
}

impl Outgoing {
    /// Lets `sender` send something to which this turn adds nothing.
    pub(super) fn add_whole(&self, sender: Sender) {
        if self.turns.count(1) {
            sender.send();
        } else {
            self.gather(sender);
        }
    }

    /// Lets `sender` send before the worker waits for the kernel again.
    pub(super) fn add(&self, sender: Sender) {
        self.turns.count(1);
        self.gather(sender);
    }

    /// Counts what goes past, since it is too much to be left here.
    pub(super) fn passes(&self, bytes: usize) {
        self.turns.count(1 + bytes * MANY / LARGE);
    }

    fn gather(&self, sender: Sender) {
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
        self.turns.runtime.get_or_init(|| Handle::current().metrics());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_short_while_it_and_the_one_before_have_few_messages() {
        let turns = Turns::default();
        turns.runtime.get_or_init(|| Handle::current().metrics());
        let next_turn = || tokio::time::sleep(std::time::Duration::from_millis(1));
        assert!((1..MANY).all(|_| turns.count(1)));
        assert!(!turns.count(1));
        next_turn().await;
        assert!(!turns.count(1));
        next_turn().await;
        assert!(turns.count(1));
        assert!(!turns.count(MANY));
    }
}
