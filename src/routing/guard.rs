//! The live side of a rollout in the data plane: what the workers tell at once, and what they hold to without asking.
//!
//! Three reflexes live here, each an atomic: failures of the canary in a row, the budget's hard caps, and the recall.
//! Only requests of a route that a rollout owns come here. Of those, a canary's successes write nothing that another
//! worker reads; its failures do, and they are what this is for.
//!
//! Invariants: once the budget is spent or the canary is recalled, no request is admitted any more; caps are passed by
//! no more than the attempts that were under way; the recall is final.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use tokio::sync::Notify;

use super::{WorkerGauge, key_set::KeySet, sketch::Sketch};
use crate::{
    decision::split::SplitKey,
    domain::{Class, Moment},
};

/// Wakes one worker; see [`Guard::listen`].
pub type Bell = Arc<Notify>;

/// What the data plane holds a canary to by itself; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuardLimits {
    /// Failures in a row after which the control plane is woken.
    pub failures_in_row: Option<u32>,
    /// Failed attempts after which the canary gets nothing more.
    pub max_bad_responses: Option<u64>,
    /// Split keys that may ever see the canary; a request without a key counts as one of its own. Held at 25 million.
    pub max_exposed_keys: Option<u64>,
}

/// How much of its budget a canary has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// Failed attempts.
    pub bad_responses: u64,
    /// Split keys that were admitted. Counted only while there is a limit for them.
    pub exposed_keys: u64,
}

/// What the workers and the control plane share of one rollout, from its start to its end.
#[derive(Debug)]
pub struct Guard {
    epoch: AtomicU32,
    recalled: AtomicBool,
    limits: Limits,
    failures_in_row: AtomicU32,
    bad_responses: AtomicU64,
    exposed: KeySet,
    sessions: Sketch,
    in_flight: WorkerGauge,
    last: Box<[LastByte]>,
    alarm: Notify,
    bells: Mutex<Vec<Bell>>,
}

/// [`GuardLimits`], changed while requests read them; the largest number is no limit.
#[derive(Debug)]
struct Limits {
    failures_in_row: AtomicU32,
    max_bad_responses: AtomicU64,
    max_exposed_keys: AtomicU64,
}

/// When a worker's last attempt against the canary ended, in nanoseconds; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct LastByte(AtomicU64);

impl Guard {
    /// Nothing counted, for `workers` data-plane threads.
    pub fn new(workers: usize, limits: GuardLimits) -> Self {
        let guard = Self {
            epoch: AtomicU32::new(0),
            recalled: AtomicBool::new(false),
            limits: Limits {
                failures_in_row: AtomicU32::new(u32::MAX),
                max_bad_responses: AtomicU64::new(u64::MAX),
                max_exposed_keys: AtomicU64::new(u64::MAX),
            },
            failures_in_row: AtomicU32::new(0),
            bad_responses: AtomicU64::new(0),
            exposed: KeySet::default(),
            sessions: Sketch::default(),
            in_flight: WorkerGauge::new(workers),
            last: (0..workers.max(1)).map(|_| LastByte::default()).collect(),
            alarm: Notify::new(),
            bells: Mutex::default(),
        };
        guard.set_limits(limits);
        guard
    }

    /// Holds the canary to other limits from now on. A limit for keys that comes later does not know of those before it.
    pub fn set_limits(&self, limits: GuardLimits) {
        let GuardLimits { failures_in_row, max_bad_responses, max_exposed_keys } = limits;
        let own = &self.limits;
        own.failures_in_row.store(failures_in_row.unwrap_or(u32::MAX), Relaxed);
        own.max_bad_responses.store(max_bad_responses.unwrap_or(u64::MAX), Relaxed);
        own.max_exposed_keys.store(max_exposed_keys.unwrap_or(u64::MAX), Relaxed);
    }

    /// Counts what was spent before a restart, once, before any request. Keys are known by their number alone: one that was
    /// admitted before must be admitted anew, and counts again.
    pub fn restore(&self, spent: Spent) {
        self.bad_responses.fetch_add(spent.bad_responses, Relaxed);
        self.exposed.restore(spent.exposed_keys);
    }

    /// Begins a new epoch, as every change of weights does. What is under way counts for the judge no more.
    pub fn begin_epoch(&self) -> u32 {
        self.epoch.fetch_add(1, Relaxed).wrapping_add(1)
    }

    /// The epoch whose attempts the judge counts.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Relaxed)
    }

    /// Whether a request that the split sends to the canary may go there. An admitted key is admitted again until the
    /// canary is recalled or has answered badly too often.
    pub fn admits(&self, key: Option<SplitKey>) -> bool {
        if self.is_recalled() || self.is_bad_spent() {
            return false;
        }
        let limit = self.limits.max_exposed_keys.load(Relaxed);
        let admitted = limit == u64::MAX
            || match key {
                Some(key) => self.exposed.admits(key, limit),
                None => self.exposed.admits_unknown(limit),
            };
        if let Some(key) = key.filter(|_| admitted) {
            self.sessions.add(key);
        }
        admitted
    }

    /// An attempt against the canary begins at `worker`.
    pub fn enter(&self, worker: usize) {
        self.in_flight.enter(worker);
    }

    /// An attempt against the canary is over, its last byte passed on.
    pub fn leave(&self, worker: usize, now: Moment) {
        self.last[worker].0.store(now.as_nanos(), Relaxed);
        self.in_flight.leave(worker);
    }

    /// Counts what became of an attempt against the canary.
    pub fn record(&self, class: Class) {
        match class {
            Class::Success => {
                // Read first: while all is well, no worker takes the line from the others.
                if self.failures_in_row.load(Relaxed) != 0 {
                    self.failures_in_row.store(0, Relaxed);
                }
            }
            Class::Failure => {
                let in_row = self.failures_in_row.fetch_add(1, Relaxed) + 1;
                let bad = self.bad_responses.fetch_add(1, Relaxed) + 1;
                let trips = in_row == self.limits.failures_in_row.load(Relaxed);
                if trips || bad == self.limits.max_bad_responses.load(Relaxed) {
                    self.alarm.notify_one();
                }
            }
            Class::Excluded => {}
        }
    }

    /// Failures of the canary since its last success, over all workers.
    pub fn failures_in_row(&self) -> u32 {
        self.failures_in_row.load(Relaxed)
    }

    /// What has been used of the budget.
    pub fn spent(&self) -> Spent {
        let bad_responses = self.bad_responses.load(Relaxed);
        Spent { bad_responses, exposed_keys: self.exposed.count() }
    }

    /// How many different split keys saw the canary since this guard began, within a few percent; unlike [`Guard::spent`] it
    /// knows them without a limit too, and leaves requests without a key out.
    pub fn sessions(&self) -> u64 {
        self.sessions.estimate()
    }

    /// Whether the canary has answered badly as often as it may.
    pub fn is_bad_spent(&self) -> bool {
        self.bad_responses.load(Relaxed) >= self.limits.max_bad_responses.load(Relaxed)
    }

    /// Attempts against the canary under way, tunnels included.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.total()
    }

    /// When the last attempt against the canary ended that has ended; `None` before the first.
    pub fn last_byte(&self) -> Option<Moment> {
        let newest = self.last.iter().map(|last| last.0.load(Relaxed)).max();
        newest.filter(|nanos| *nanos != 0).map(Moment::from_nanos)
    }

    /// Waits until a limit is reached: failures in a row or bad responses. For one waiter.
    pub async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// Calls everything back from the canary, for good: from now on no request is admitted, requests that wait for an
    /// answer move to the baseline where that is safe, and tunnels are closed.
    pub fn recall(&self) {
        self.recalled.store(true, Relaxed);
        // The lock orders this after, or before, every worker's beginning to listen.
        self.bells().iter().for_each(|bell| bell.notify_one());
    }

    /// Whether the canary has been recalled.
    pub fn is_recalled(&self) -> bool {
        self.recalled.load(Relaxed)
    }

    /// Has `bell` rung at the recall, or now if that is past.
    pub fn listen(&self, bell: &Bell) {
        let mut bells = self.bells();
        if !bells.iter().any(|known| Arc::ptr_eq(known, bell)) {
            bells.push(bell.clone());
        }
        if self.is_recalled() {
            bell.notify_one();
        }
    }

    fn bells(&self) -> MutexGuard<'_, Vec<Bell>> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn limited(limits: GuardLimits) -> Guard {
        Guard::new(2, limits)
    }

    #[test]
    fn failures_in_a_row_ring_once_and_a_success_ends_the_row() {
        let limits = GuardLimits { failures_in_row: Some(3), ..GuardLimits::default() };
        let guard = limited(limits);
        for class in [Class::Failure, Class::Failure, Class::Success, Class::Failure] {
            guard.record(class);
        }
        guard.record(Class::Excluded);
        guard.record(Class::Failure);
        assert_eq!(guard.failures_in_row(), 2);
        assert!(guard.alarmed().now_or_never().is_none());
        guard.record(Class::Failure);
        assert!(guard.alarmed().now_or_never().is_some());
        guard.record(Class::Failure);
        assert!(guard.alarmed().now_or_never().is_none(), "the alarm of one row is one alarm");
    }

    #[test]
    fn a_spent_budget_admits_nobody() {
        let limits = GuardLimits { max_bad_responses: Some(2), ..GuardLimits::default() };
        let guard = limited(limits);
        guard.restore(Spent { bad_responses: 1, exposed_keys: 0 });
        assert!(guard.admits(None));
        guard.record(Class::Failure);
        assert!(!guard.admits(None) && !guard.admits(Some(SplitKey(1))));
        assert!(guard.alarmed().now_or_never().is_some());
        guard.set_limits(GuardLimits { max_bad_responses: Some(3), ..limits });
        assert!(guard.admits(None), "a limit that grows makes room");
    }

    #[test]
    fn no_limit_for_keys_keeps_none() {
        let guard = limited(GuardLimits::default());
        assert!((0..100).all(|key| guard.admits(Some(SplitKey(key)))));
        assert_eq!((guard.spent(), guard.sessions()), (Spent::default(), 101));
    }

    #[test]
    fn a_recall_rings_for_early_and_late_listeners_and_is_final() {
        let guard = limited(GuardLimits::default());
        let (early, late) = (Bell::default(), Bell::default());
        guard.listen(&early);
        guard.listen(&early);
        guard.recall();
        guard.listen(&late);
        assert!(early.notified().now_or_never().is_some());
        assert!(late.notified().now_or_never().is_some());
        assert!(!guard.admits(None));
    }

    #[test]
    fn the_last_byte_is_the_latest_of_all_workers() {
        let guard = limited(GuardLimits::default());
        assert_eq!(guard.last_byte(), None);
        guard.enter(0);
        guard.enter(1);
        guard.leave(1, Moment::from_nanos(9));
        assert_eq!((guard.in_flight(), guard.last_byte()), (1, Some(Moment::from_nanos(9))));
        guard.leave(0, Moment::from_nanos(5));
        assert_eq!((guard.in_flight(), guard.last_byte()), (0, Some(Moment::from_nanos(9))));
    }
}
