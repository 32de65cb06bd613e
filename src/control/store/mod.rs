//! The state file, on a thread of its own: a slow, full or broken disk stops neither plane.
//!
//! Invariants: nobody waits for a write but who asks to ([`Store::flush`]); what could not be written is kept, bounded,
//! and written when it can be; the process that holds the lock is the only writer.

mod database;
mod desk;
mod keeper;
mod open_error;
mod outage;
mod place;
mod runs;

use std::{io, path::PathBuf, sync::Arc, thread};

use tokio::sync::{mpsc, oneshot};

pub(in crate::control) use self::{desk::Story, runs::UnreadableRun};
use self::{
    desk::{Desk, Loan, Read},
    keeper::Keeper,
    runs::KeptSample,
};
use super::{
    hand_split::HandSplits,
    rollouts::{Run, Runs, Sample},
};
use crate::{
    domain::RolloutName,
    telemetry::{Event, EventSink},
};

/// Why there is no state to begin with. Anything less is an event, and the process runs on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds the file.
    #[error(
        "the state file {} belongs to another running Tidegate; stop that one, or give this one its own [state] file",
        .0.display()
    )]
    InUse(PathBuf),
    /// The file is of a later version.
    #[error(
        "the state file {} was written by a newer Tidegate ({why}); use that one, or move the file away",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which versions meet.
        why: String,
    },
    /// No thread, or no randomness, to be had.
    #[error("cannot begin to keep state: {0}")]
    System(#[from] io::Error),
}

/// What the state file held when it was opened.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Splits set by hand.
    pub splits: HandSplits,
    /// The newest run of each rollout.
    pub(in crate::control) runs: Runs,
    /// Rollouts whose newest run cannot be read.
    pub(in crate::control) unreadable: Vec<UnreadableRun>,
    /// Random key for the cookies that Tidegate issues; made at the first start.
    pub cookie_secret: Vec<u8>,
    /// Number of the newest event.
    pub last_event: u64,
    /// Whether that is all there was.
    pub past: Past,
}

impl Kept {
    /// The newest run of `rollout` that cannot be read.
    pub(in crate::control) fn unreadable(&self, rollout: &RolloutName) -> Option<&UnreadableRun> {
        self.unreadable.iter().find(|run| run.rollout == rollout.as_str())
    }

    /// Number of the newest run of every rollout that has a name.
    pub(in crate::control) fn newest_numbers(&self) -> impl Iterator<Item = (RolloutName, u64)> {
        let readable = self.runs.iter().map(|(name, run)| (name.clone(), run.number));
        let unreadable = self.unreadable.iter();
        readable.chain(
            unreadable.filter_map(|run| Some((RolloutName::new(&run.rollout).ok()?, run.number))),
        )
    }

    /// Number of the newest run of `rollout`, 0 without any.
    pub(in crate::control) fn newest_number(&self, rollout: &RolloutName) -> u64 {
        let readable = self.runs.get(rollout).map(|run| run.number);
        readable.or_else(|| Some(self.unreadable(rollout)?.number)).unwrap_or(0)
    }
}

/// Whether the state of the process before this one is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Past {
    /// It is, or there was no process before.
    #[default]
    Known,
    /// The file was damaged, or is gone though its lock is still there.
    Lost,
    /// The file cannot be read now.
    Unread,
}

/// Tells, at most once, what a file held that could not be read at the start.
pub type LateRead = mpsc::Receiver<Kept>;

/// A way to the store's thread. The thread ends, with all written that can be, when the last of these is gone.
#[derive(Debug, Clone)]
pub struct Store(Arc<Counter>);

#[derive(Debug)]
struct Counter(Arc<Desk>);

impl Drop for Counter {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

impl Store {
    /// Opens the state file and starts its thread. Blocks on the disk; called once, before there is traffic.
    ///
    /// # Errors
    /// [`StoreError`] when another process owns the file, or a newer version wrote it. A damaged file is set aside, one
    /// that cannot be read or written leaves the state in memory; both are said through `events`.
    pub fn open(path: PathBuf, events: EventSink) -> Result<(Self, Kept, LateRead), StoreError> {
        let (late_reads, late_read) = mpsc::channel(1);
        let (mut keeper, kept) = Keeper::open(path, events, late_reads)?;
        let desk = Arc::new(Desk::default());
        let counter = desk.clone();
        thread::Builder::new()
            .name("tidegate-state".to_owned())
            .spawn(move || keeper.work(&desk))?;
        Ok((Self(Arc::new(Counter(counter))), kept, late_read))
    }

    /// Keeps an event, and the whole of the splits set by hand if it changed them; `false` when an older event had to give
    /// way to it.
    #[must_use]
    pub fn keep(&self, event: Event, splits: Option<HandSplits>) -> bool {
        self.0.0.put_event(event, splits)
    }

    /// Keeps a run as it is now, over its older state.
    pub(in crate::control) fn keep_run(&self, rollout: RolloutName, run: Run) {
        self.0.0.put_run(rollout, run);
    }

    /// Keeps a sample of a run; `false` when an older one had to give way to it.
    #[must_use]
    pub fn keep_sample(&self, rollout: RolloutName, number: u64, sample: Sample) -> bool {
        self.0.0.put_sample(KeptSample { rollout, number, sample })
    }

    /// Goes on from `kept`, which [`LateRead`] told: events and runs so far come after those of it, and `splits` are all
    /// that are set by hand now.
    pub(in crate::control) fn adopt(&self, kept: &Kept, splits: HandSplits) {
        self.0.0.adopt(kept, splits);
    }

    /// At most `limit` events in the order of their numbers: the first after `after`, or else the newest. `None` when the
    /// file cannot be read now.
    pub async fn events(&self, after: Option<u64>, limit: usize) -> Option<Vec<Event>> {
        let (answer, answered) = oneshot::channel();
        if !self.0.0.put_read(Read::Events { after, limit, answer }) {
            return None;
        }
        answered.await.ok().flatten()
    }

    /// Events and samples of a run that began at `since_ms`. `None` when the file cannot be read now.
    pub(in crate::control) async fn story(
        &self,
        rollout: RolloutName,
        number: u64,
        since_ms: u64,
    ) -> Option<Story> {
        let (answer, answered) = oneshot::channel();
        if !self.0.0.put_read(Read::Story { rollout, number, since_ms, answer }) {
            return None;
        }
        answered.await.ok().flatten()
    }

    /// Waits until all that was kept before is written: `true`, or `false` when the disk did not take it.
    pub async fn flush(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.0.put_flush(answer);
        answered.await.unwrap_or(false)
    }

    /// Writes what was kept and lets another process have the file; what comes later stays in memory. `false`, and the file
    /// is kept, when the disk did not take all.
    pub async fn lend(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.0.put_loan(Loan::Lend(answer));
        answered.await.unwrap_or(false)
    }

    /// Takes a file back that was lent: what is in memory goes over it.
    pub fn take_back(&self) {
        self.0.0.put_loan(Loan::Return);
    }

    /// Writes what was kept and closes the file; what comes later is not kept. `false` when the disk did not take all.
    pub async fn close(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.0.close(Some(answer));
        answered.await.unwrap_or(false)
    }
}

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod tests;
