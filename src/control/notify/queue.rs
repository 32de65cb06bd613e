//! Notifications that wait for their sink. Bounded: when it is full the oldest goes, since the newest says how things stand.

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
    waiting: Mutex<VecDeque<Notification>>,
    filled: Notify,
    /// Those that wait, and the one that is under way.
    open: watch::Sender<usize>,
}

impl Queue {
    /// Adds `notification`; `true` when the oldest had to go for it.
    pub(super) fn push(&self, notification: Notification) -> bool {
        let mut waiting = self.waiting();
        let full = waiting.len() >= CAPACITY;
        if full {
            waiting.pop_front();
        } else {
            self.open.send_modify(|open| *open += 1);
        }
        waiting.push_back(notification);
        drop(waiting);
        self.filled.notify_one();
        full
    }

    /// Takes the oldest, and waits until there is one. It stays open until it is [`Queue::done`].
    pub(super) async fn pop(&self) -> Notification {
        loop {
            if let Some(oldest) = self.waiting().pop_front() {
                return oldest;
            }
            self.filled.notified().await;
        }
    }

    /// The one that was taken is delivered, or given up.
    pub(super) fn done(&self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    /// How many are open, as it changes.
    pub(super) fn open(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Notification>> {
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
            assert!(!queue.push(Notification { at_ms, ..notification() }));
        }
        assert!(queue.push(Notification { at_ms: 999, ..notification() }));
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
}
