//! The end of service: no new work from the moment it begins, running work until a deadline.
//!
//! ```text
//! Running ── begin ──► Draining { since, deadline } ── hurry ──► the same with an earlier deadline
//! ```
//! There is no way back: a process that has begun to drain ends.

use std::time::Duration;

use tokio::sync::watch;

use super::clock;
use crate::domain::Moment;

/// Whether new work is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainState {
    /// It is.
    Running,
    /// It is not; what runs has until `deadline`.
    Draining {
        /// When the drain began.
        since: Moment,
        /// When what still runs is cut off.
        deadline: Moment,
    },
}

/// Begins the drain. Not `Clone`: the end of the process has one owner.
#[derive(Debug)]
pub struct Drain(watch::Sender<DrainState>);

impl Drain {
    /// A process in service, and the first of its watches.
    pub fn new() -> (Self, DrainWatch) {
        let (sender, receiver) = watch::channel(DrainState::Running);
        (Self(sender), DrainWatch(receiver))
    }

    /// Begins to drain at `now`, for at most `patience`; a second call changes nothing.
    pub fn begin(&self, now: Moment, patience: Duration) {
        self.0.send_if_modified(|state| {
            let fresh = *state == DrainState::Running;
            if fresh {
                *state = DrainState::Draining { since: now, deadline: now + patience };
            }
            fresh
        });
    }

    /// Ends the drain at once: whatever still runs is past its deadline.
    pub fn hurry(&self, now: Moment) {
        self.0.send_modify(|state| {
            let since = match *state {
                DrainState::Running => now,
                DrainState::Draining { since, .. } => since,
            };
            *state = DrainState::Draining { since, deadline: now };
        });
    }

    /// Another watch.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch(self.0.subscribe())
    }
}

/// Sees the drain begin and end, on any thread.
#[derive(Debug, Clone)]
pub struct DrainWatch(watch::Receiver<DrainState>);

impl DrainWatch {
    /// The present state.
    pub fn state(&self) -> DrainState {
        *self.0.borrow()
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.state() != DrainState::Running
    }

    /// Waits until the drain begins; for ever when its owner is gone without beginning it.
    pub async fn begun(&mut self) {
        if self.0.wait_for(|state| *state != DrainState::Running).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the drain's deadline has passed, also when it is moved forward meanwhile.
    pub async fn over(&mut self) {
        self.begun().await;
        loop {
            let deadline = match *self.0.borrow_and_update() {
                DrainState::Running => return,
                DrainState::Draining { deadline, .. } => deadline,
            };
            tokio::select! {
                () = clock::sleep_until(deadline) => return,
                moved = self.0.changed() => if moved.is_err() {
                    return clock::sleep_until(deadline).await;
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn a_watch_sees_the_drain_begin_once() {
        let (drain, mut watch) = Drain::new();
        assert!(!watch.is_draining());
        drain.begin(Moment::from_nanos(5), AGE);
        drain.begin(Moment::from_nanos(9), Duration::ZERO);
        watch.begun().await;
        let (since, deadline) = (Moment::from_nanos(5), Moment::from_nanos(5) + AGE);
        assert_eq!(watch.state(), DrainState::Draining { since, deadline });
    }

    #[tokio::test]
    async fn hurrying_ends_a_wait_for_the_deadline() {
        let (drain, mut watch) = Drain::new();
        drain.begin(clock::now(), AGE);
        let hurry = async {
            tokio::task::yield_now().await;
            drain.hurry(clock::now());
        };
        tokio::join!(watch.over(), hurry);
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_is_over_at_once_for_late_watches_too() {
        let (drain, _) = Drain::new();
        drain.begin(Moment::default(), Duration::ZERO);
        let mut late = drain.watch();
        drop(drain);
        late.over().await;
    }
}
