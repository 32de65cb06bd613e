//! What lies between the controller and the store's thread: bounded, and never waited for.
//!
//! Splits are kept as the whole of their last state, so that none is lost however long the disk is away; events wait in a
//! bounded queue that gives up the oldest.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Kept,
    database::Batch,
    runs::{KeptSample, number_after},
};
use crate::{
    control::{
        hand_split::HandSplits,
        rollouts::{Run, Runs, Sample},
    },
    domain::RolloutName,
    telemetry::Event,
};

/// Events that wait for the disk: beyond the longest burst, and a few megabytes at most.
const MAX_EVENTS: usize = 10_000;
/// Samples that wait for the disk.
const MAX_SAMPLES: usize = 10_000;
/// Questions that wait for an answer.
const MAX_READS: usize = 64;
/// Events in one transaction.
const BATCH: usize = 512;

/// A question to the state file; the answer is `None` when the file cannot be read now.
#[derive(Debug)]
pub(super) enum Read {
    /// At most `limit` events: the first after `after`, or else the newest.
    Events { after: Option<u64>, limit: usize, answer: oneshot::Sender<Option<Vec<Event>>> },
    /// What happened in a run.
    Story {
        rollout: RolloutName,
        number: u64,
        since_ms: u64,
        answer: oneshot::Sender<Option<Story>>,
    },
}

/// What the state file tells of one run.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::control) struct Story {
    /// Events about the rollout, in the order of their numbers.
    pub events: Vec<Event>,
    /// In the order of their times.
    pub samples: Vec<Sample>,
}

/// What the store's thread is to do next.
#[derive(Debug, Default)]
pub(super) struct Errand {
    pub(super) batch: Batch,
    /// Batches from this one on go on from what the file held.
    pub(super) adopted: bool,
    pub(super) reads: Vec<Read>,
    pub(super) flushes: Vec<oneshot::Sender<bool>>,
    /// The file goes to another process, or comes back from it.
    pub(super) loan: Option<Loan>,
    /// There is more than this batch.
    pub(super) more: bool,
    /// Nobody will ask for anything more.
    pub(super) closed: bool,
}

/// A word about who has the file.
#[derive(Debug)]
pub(super) enum Loan {
    /// Let another process have it once all is written; the answer says whether it can.
    Lend(oneshot::Sender<bool>),
    /// It is ours again.
    Return,
}

/// The desk itself.
#[derive(Debug, Default)]
pub(super) struct Desk {
    papers: Mutex<Papers>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Papers {
    events: VecDeque<Event>,
    splits: Option<HandSplits>,
    runs: Runs,
    samples: VecDeque<KeptSample>,
    reads: Vec<Read>,
    flushes: Vec<oneshot::Sender<bool>>,
    loan: Option<Loan>,
    adopted: bool,
    closed: bool,
}

impl Desk {
    /// Leaves an event, and the whole of the splits set by hand if it changed them: the two go to the disk together, unless
    /// the disk is far behind. `false` when that cost the oldest event its place.
    pub(super) fn put_event(&self, event: Event, splits: Option<HandSplits>) -> bool {
        let mut papers = self.papers();
        if splits.is_some() {
            papers.splits = splits;
        }
        papers.events.push_back(event);
        let fits = papers.events.len() <= MAX_EVENTS;
        if !fits {
            papers.events.pop_front();
        }
        self.bell.notify_one();
        fits
    }

    /// Leaves a run as it is now: only its newest state goes to the disk.
    pub(super) fn put_run(&self, rollout: RolloutName, run: Run) {
        self.papers().runs.insert(rollout, run);
        self.bell.notify_one();
    }

    /// Leaves a sample; `false` when that cost the oldest its place.
    pub(super) fn put_sample(&self, sample: KeptSample) -> bool {
        let mut papers = self.papers();
        papers.samples.push_back(sample);
        let fits = papers.samples.len() <= MAX_SAMPLES;
        if !fits {
            papers.samples.pop_front();
        }
        self.bell.notify_one();
        fits
    }

    /// Goes on from a file that held `kept`, with `splits` as all that are set by hand now: what waits is numbered after it.
    pub(super) fn adopt(&self, kept: &Kept, splits: HandSplits) {
        let mut papers = self.papers();
        for event in &mut papers.events {
            event.id += kept.last_event;
        }
        let Papers { runs: waiting, samples, .. } = &mut *papers;
        number_after(kept, waiting, samples.iter_mut());
        papers.splits = Some(splits);
        papers.adopted = true;
        self.bell.notify_one();
    }

    /// Leaves a question; `false` when too many wait already.
    pub(super) fn put_read(&self, read: Read) -> bool {
        let mut papers = self.papers();
        let fits = papers.reads.len() < MAX_READS && !papers.closed;
        if fits {
            papers.reads.push(read);
            self.bell.notify_one();
        }
        fits
    }

    /// Asks for a word when all that was left before is written, or is not; a closed desk drops the question.
    pub(super) fn put_flush(&self, answer: oneshot::Sender<bool>) {
        let mut papers = self.papers();
        if !papers.closed {
            papers.flushes.push(answer);
            self.bell.notify_one();
        }
    }

    /// Says who shall have the file.
    pub(super) fn put_loan(&self, loan: Loan) {
        self.papers().loan = Some(loan);
        self.bell.notify_one();
    }

    /// Says that nothing more will come, and, if asked, when all is written and the file is closed.
    pub(super) fn close(&self, answer: Option<oneshot::Sender<bool>>) {
        let mut papers = self.papers();
        if !papers.closed {
            papers.flushes.extend(answer);
            papers.closed = true;
            self.bell.notify_one();
        }
    }

    /// Waits for work, at most for `patience`; while `busy` with an unwritten batch, only newer runs are handed out.
    pub(super) fn take(&self, patience: Option<Duration>, busy: bool) -> Errand {
        let idle = |papers: &mut Papers| {
            let written = busy || papers.are_written();
            let asked = !papers.flushes.is_empty() || papers.loan.is_some() || papers.closed;
            written && papers.reads.is_empty() && !asked
        };
        let papers = self.papers();
        let mut papers = match patience {
            None => self.bell.wait_while(papers, idle).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = self.bell.wait_timeout_while(papers, time, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        papers.hand_out(busy)
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Papers {
    fn are_written(&self) -> bool {
        self.events.is_empty()
            && self.splits.is_none()
            && self.runs.is_empty()
            && self.samples.is_empty()
    }

    fn hand_out(&mut self, busy: bool) -> Errand {
        let batch = if busy {
            // The newest state of a run goes over the one that is unwritten: what was undone must not come first.
            Batch { runs: std::mem::take(&mut self.runs), ..Batch::default() }
        } else {
            let count = self.events.len().min(BATCH);
            let samples = self.samples.len().min(BATCH);
            Batch {
                events: self.events.drain(..count).collect(),
                splits: self.splits.take(),
                runs: std::mem::take(&mut self.runs),
                samples: self.samples.drain(..samples).collect(),
            }
        };
        Errand {
            batch,
            adopted: self.adopted,
            reads: std::mem::take(&mut self.reads),
            flushes: std::mem::take(&mut self.flushes),
            loan: self.loan.take(),
            more: !self.are_written(),
            closed: self.closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::EventKind;

    fn event(id: u64) -> Event {
        Event { id, ..Event::new(EventKind::Started, 0, "", "serving") }
    }

    #[test]
    fn a_full_desk_gives_up_the_oldest_event() {
        let desk = Desk::default();
        let most = MAX_EVENTS as u64;
        assert!((1..=most).all(|id| desk.put_event(event(id), None)));
        assert!(!desk.put_event(event(most + 1), None));
        let errand = desk.take(None, false);
        assert_eq!((errand.batch.events[0].id, errand.batch.events.len()), (2, BATCH));
        assert!(errand.more);
    }

    #[test]
    fn nothing_more_is_handed_out_while_a_batch_is_unwritten() {
        let desk = Desk::default();
        desk.put_event(event(1), None);
        let errand = desk.take(Some(Duration::ZERO), true);
        assert!(errand.batch.is_empty() && errand.more);
    }

    #[test]
    fn questions_are_bounded_and_none_is_taken_at_the_end() {
        let desk = Desk::default();
        let read = || Read::Events { after: None, limit: 1, answer: oneshot::channel().0 };
        assert!((0..MAX_READS).all(|_| desk.put_read(read())));
        assert!(!desk.put_read(read()));
        assert_eq!(desk.take(None, false).reads.len(), MAX_READS);
        desk.close(None);
        assert!(!desk.put_read(read()));
        assert!(desk.take(None, false).closed);
    }
}
