//! Notifications that wait for their sink: the urgent before the rest, each class in the order in which it came.
//!
//! Bounded: when it is full the oldest goes, since the newest says how things stand; one of the rest before an urgent one.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, watch};

use crate::domain::Notification;

/// Notifications that wait at most.
pub(super) const CAPACITY: usize = 256;

/// A queue with one reader.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Those that wait, and those that are under way.
    open: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Waiting {
    urgent: VecDeque<Notification>,
    rest: VecDeque<Notification>,
}

impl Waiting {
    fn pop(&mut self) -> Option<Notification> {
        self.urgent.pop_front().or_else(|| self.rest.pop_front())
    }
}

impl Queue {
    /// Adds `notification`; `true` when it cost one its place.
    pub(super) fn push(&self, notification: Notification, urgent: bool) -> bool {
        let mut waiting = self.waiting();
        let full = waiting.urgent.len() + waiting.rest.len() >= CAPACITY;
        if full {
            let gone = waiting.rest.pop_front();
            if gone.is_none() && !urgent {
                return true;
            }
            if gone.is_none() {
                waiting.urgent.pop_front();
            }
        } else {
            self.open.send_modify(|open| *open += 1);
        }
        let class = if urgent { &mut waiting.urgent } else { &mut waiting.rest };
        class.push_back(notification);
        drop(waiting);
        self.filled.notify_one();
        full
    }

    /// Takes the next, and waits until there is one. It stays open until it is [`Queue::done`].
    pub(super) async fn pop(&self) -> Notification {
        loop {
            if let Some(next) = self.try_pop() {
                return next;
            }
            self.filled.notified().await;
        }
    }

    /// Takes the next, if there is one. It stays open until it is [`Queue::done`].
    pub(super) fn try_pop(&self) -> Option<Notification> {
        self.waiting().pop()
    }

    /// The one that was taken is delivered, or given up.
    pub(super) fn done(&self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    /// How many are open, as it changes.
    pub(super) fn open(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::notify::tests::notification;

    #[tokio::test]
    async fn the_oldest_goes_when_it_is_full() {
        let queue = Queue::default();
        for at_ms in 0..CAPACITY as u64 {
            assert!(!queue.push(Notification { at_ms, ..notification() }, false));
        }
        assert!(queue.push(Notification { at_ms: 999, ..notification() }, false));
        for at_ms in 1..CAPACITY as u64 {
            assert_eq!(queue.pop().await.at_ms, at_ms);
        }
        assert_eq!(queue.pop().await.at_ms, 999);
        let waits = tokio::time::timeout(std::time::Duration::ZERO, queue.pop());
        assert!(waits.await.is_err(), "there is nothing more");
        assert_eq!(*queue.open().borrow(), CAPACITY);
        (0..CAPACITY).for_each(|_| queue.done());
        assert_eq!(*queue.open().borrow(), 0);
    }

    #[tokio::test]
    async fn the_urgent_come_first_and_go_last() {
        let queue = Queue::default();
        let push = |at_ms, urgent| queue.push(Notification { at_ms, ..notification() }, urgent);
        for (at_ms, urgent) in [(1, false), (2, true), (3, false), (4, true)] {
            assert!(!push(at_ms, urgent));
        }
        for at_ms in [2, 4, 1] {
            assert_eq!(queue.pop().await.at_ms, at_ms);
        }
        (0..CAPACITY as u64 - 1).for_each(|at_ms| assert!(!push(100 + at_ms, true)));
        assert!(push(1_000, true), "one of the rest gives way to it");
        assert!(push(1_001, false), "there is no room for it among the urgent");
        assert!(push(1_002, true), "the oldest of its own gives way to it");
        assert_eq!(queue.pop().await.at_ms, 101);
        for _ in 1..CAPACITY {
            assert!(queue.try_pop().is_some());
        }
        assert!(queue.try_pop().is_none());
    }
}
