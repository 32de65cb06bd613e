//! Whether an endpoint takes requests, as every thread sees it: drained by an operator, unhealthy by its checks, ejected by
//! what became of its own requests, or on its way back.
//!
//! Ejections end by the clock, so that an endpoint comes back although nobody may be there to say so. A request reads
//! three words of one cache line, which only a change writes.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwapOption;

use crate::{
    decision::{
        outlier::{Fleet, Row, Ruling, rule},
        slow_start,
    },
    domain::{EjectionRules, Moment},
};

/// What keeps requests away from an endpoint.
#[derive(Debug, Default)]
pub struct Availability {
    /// [`DRAINED`] and [`UNHEALTHY`].
    out: AtomicU32,
    /// When the ejection ends, in nanoseconds; 0 without one.
    ejected_until: AtomicU64,
    /// When the endpoint has its full share again, in nanoseconds.
    full_at: AtomicU64,
    /// Failures in a row, over all workers. Written by failures, and by the first success after one.
    failures: AtomicU32,
    ejections: Rulings,
    /// Ejections that a limit prevented.
    withheld: Rulings,
    /// What the checks found last.
    health: ArcSwapOption<Health>,
}

const DRAINED: u32 = 1;
const UNHEALTHY: u32 = 2;

/// What an endpoint's checks found, since they last changed their mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it is well.
    pub healthy: bool,
    /// The result that said so, in words.
    pub why: String,
}

/// An ejection, or one that a limit prevented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Whether it happened.
    pub ruling: Ruling,
    /// How long it lasts, or would have.
    pub length: Duration,
    /// Failures in a row before it.
    pub failures: u32,
}

/// Rulings of one kind on one endpoint; written by whoever rules, one at a time.
#[derive(Debug, Default)]
struct Rulings {
    total: AtomicU64,
    in_row: AtomicU32,
    row_ends: AtomicU64,
    /// No other one is told before.
    quiet_until: AtomicU64,
}

impl Rulings {
    fn next(&self, rules: &EjectionRules, now: Moment) -> Duration {
        let ends = Moment::from_nanos(self.row_ends.load(Relaxed));
        let row = Row { count: self.in_row.load(Relaxed), ends };
        let (row, length) = row.extended(rules, now);
        self.in_row.store(row.count, Relaxed);
        self.row_ends.store(row.ends.as_nanos(), Relaxed);
        self.quiet_until.store((now + length).as_nanos(), Relaxed);
        self.total.fetch_add(1, Relaxed);
        length
    }
}

impl Availability {
    /// Whether new requests may go there.
    pub fn is_usable(&self, now: Moment) -> bool {
        self.out.load(Relaxed) == 0 && !self.is_ejected(now)
    }

    /// Whether an operator took it out.
    pub fn is_drained(&self) -> bool {
        self.out.load(Relaxed) & DRAINED != 0
    }

    /// Takes it out (`true`) or back in; running requests are not touched.
    pub fn set_drained(&self, drained: bool) {
        self.set(DRAINED, drained);
    }

    /// Whether its checks say that it is not well.
    pub fn is_unhealthy(&self) -> bool {
        self.out.load(Relaxed) & UNHEALTHY != 0
    }

    /// What its checks found last; `None` without any.
    pub fn health(&self) -> Option<Health> {
        self.health.load().as_deref().cloned()
    }

    /// Takes what the checks found; `None`: there are none any more, and nothing speaks against it.
    pub fn set_health(&self, health: Option<Health>) {
        let unhealthy = health.as_ref().is_some_and(|health| !health.healthy);
        self.health.store(health.map(Into::into));
        self.set(UNHEALTHY, unhealthy);
    }

    fn set(&self, flag: u32, on: bool) {
        if on {
            self.out.fetch_or(flag, Relaxed);
        } else {
            self.out.fetch_and(!flag, Relaxed);
        }
    }

    /// Whether it is taken out because of its own failures.
    pub fn is_ejected(&self, now: Moment) -> bool {
        self.ejected_until.load(Relaxed) > now.as_nanos()
    }

    /// How much longer it is ejected.
    pub fn ejected_for(&self, now: Moment) -> Duration {
        Moment::from_nanos(self.ejected_until.load(Relaxed)).since(now)
    }

    /// Forgets an ejection that is over; true once for each.
    pub fn readmit(&self, now: Moment) -> bool {
        let until = self.ejected_until.load(Relaxed);
        let over = until != 0 && until <= now.as_nanos();
        over && self.ejected_until.compare_exchange(until, 0, Relaxed, Relaxed).is_ok()
    }

    /// Ends an ejection now: whoever decides so knows better.
    pub fn lift(&self) {
        self.ejected_until.store(0, Relaxed);
        self.failures.store(0, Relaxed);
    }

    /// Ejections so far, and those that a limit prevented.
    pub fn ejections(&self) -> (u64, u64) {
        (self.ejections.total.load(Relaxed), self.withheld.total.load(Relaxed))
    }

    /// Gives it its full share only `slow_start` after `from`.
    pub fn start_slowly(&self, from: Moment, slow_start: Option<Duration>) {
        if let Some(whole) = slow_start {
            self.full_at.store((from + whole).as_nanos(), Relaxed);
        }
    }

    /// Time until it has its full share; zero when it has.
    pub fn slow_for(&self, now: Moment) -> Duration {
        Moment::from_nanos(self.full_at.load(Relaxed)).since(now)
    }

    /// Whether it takes a request with these `bits` while it starts slowly.
    pub fn takes(&self, now: Moment, slow_start: Option<Duration>, bits: impl Fn() -> u32) -> bool {
        let full_at = self.full_at.load(Relaxed);
        let Some(whole) = slow_start.filter(|_| full_at > now.as_nanos()) else { return true };
        slow_start::takes(Moment::from_nanos(full_at).since(now), whole, bits())
    }

    /// One of its requests went well.
    pub fn succeeded(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// One of its requests failed; gives the number in a row once that is `limit` or more.
    pub fn failed(&self, limit: u32, now: Moment) -> Option<u32> {
        if self.is_ejected(now) {
            // It was under way when the others failed.
            return None;
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        (failures >= limit).then_some(failures)
    }

    /// Rules on it, `failures` in a row having been counted; `None` where there is nothing to tell. Whoever calls rules
    /// alone on the backend of which it is one in `fleet`.
    pub fn judge(
        &self,
        rules: &EjectionRules,
        slow_start: Option<Duration>,
        fleet: Fleet,
        failures: u32,
        now: Moment,
    ) -> Option<Ejection> {
        self.failures.store(0, Relaxed);
        let ruling = rule(fleet, rules.max_share);
        let length = match ruling {
            Ruling::Eject => {
                let length = self.ejections.next(rules, now);
                // Before it is out: then it is slow from the first moment that it is back.
                self.start_slowly(now + length, slow_start);
                self.ejected_until.store((now + length).as_nanos(), Relaxed);
                length
            }
            Ruling::Spare(_) if self.withheld.quiet_until.load(Relaxed) > now.as_nanos() => {
                return None;
            }
            Ruling::Spare(_) => self.withheld.next(rules, now),
        };
        Some(Ejection { ruling, length, failures })
    }
}

/// Lets one thread at a time rule on the endpoints of a backend; who comes second does not wait.
#[derive(Debug, Default)]
pub struct Bench(AtomicBool);

impl Bench {
    /// Runs `ruling`, unless another one is going on.
    pub fn alone<T>(&self, ruling: impl FnOnce() -> Option<T>) -> Option<T> {
        use std::sync::atomic::Ordering::{Acquire, Release};
        if self.0.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            return None;
        }
        let ruled = ruling();
        self.0.store(false, Release);
        ruled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Weight;

    const RULES: EjectionRules = EjectionRules {
        consecutive_failures: 3,
        base_time: Duration::from_secs(10),
        max_time: Duration::from_secs(60),
        max_share: Weight::HALF,
    };
    const SLOW: Option<Duration> = Some(Duration::from_secs(10));
    const PAIR: Fleet = Fleet { all: 2, ejected: 0, others: 1 };
    const ALONE: Fleet = Fleet { all: 1, ejected: 0, others: 0 };

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn an_ejection_ends_by_the_clock_and_is_told_once() {
        let endpoint = Availability::default();
        let ejection = endpoint.judge(&RULES, SLOW, PAIR, 3, at(1)).unwrap();
        assert_eq!((ejection.ruling, ejection.length), (Ruling::Eject, RULES.base_time));
        assert!(!endpoint.is_usable(at(10)) && !endpoint.readmit(at(10)));
        assert!(endpoint.is_usable(at(11)), "whether or not anybody has readmitted it");
        assert!(endpoint.readmit(at(11)) && !endpoint.readmit(at(11)));
        assert_eq!(endpoint.slow_for(at(11)), Duration::from_secs(10));
        assert_eq!(endpoint.ejections(), (1, 0));
    }

    #[test]
    fn an_ejection_that_is_lifted_is_over_and_was_no_readmission() {
        let endpoint = Availability::default();
        endpoint.judge(&RULES, SLOW, PAIR, 3, at(1)).unwrap();
        endpoint.lift();
        assert!(endpoint.is_usable(at(2)) && !endpoint.readmit(at(60)));
    }

    #[test]
    fn failures_count_in_a_row_and_not_while_it_is_out() {
        let endpoint = Availability::default();
        let fail = |now| endpoint.failed(3, now);
        assert_eq!([fail(at(0)), fail(at(0))], [None, None]);
        endpoint.succeeded();
        assert_eq!([fail(at(0)), fail(at(0)), fail(at(0))], [None, None, Some(3)]);
        endpoint.judge(&RULES, SLOW, PAIR, 3, at(0)).unwrap();
        assert_eq!((0..9).find_map(|_| fail(at(1))), None);
        assert_eq!([fail(at(10)), fail(at(10)), fail(at(10))], [None, None, Some(3)]);
    }

    #[test]
    fn what_is_withheld_is_told_as_seldom_as_ejections_would_be() {
        let endpoint = Availability::default();
        let told = |now| endpoint.judge(&RULES, SLOW, ALONE, 3, now).map(|told| told.length);
        let seconds: Vec<_> = (0..100).filter(|second| told(at(*second)).is_some()).collect();
        assert_eq!(seconds, [0, 10, 30, 70]);
        assert!(endpoint.is_usable(at(100)));
        assert_eq!(endpoint.ejections(), (0, 4));
    }

    #[test]
    fn health_and_drain_do_not_undo_each_other() {
        let endpoint = Availability::default();
        let ill = Health { healthy: false, why: "refused".to_owned() };
        endpoint.set_health(Some(ill.clone()));
        endpoint.set_drained(true);
        endpoint.set_drained(false);
        assert!(endpoint.is_unhealthy() && !endpoint.is_usable(at(0)));
        assert_eq!(endpoint.health(), Some(ill));
        endpoint.set_health(None);
        assert!(endpoint.is_usable(at(0)) && endpoint.health().is_none());
    }

    #[test]
    fn a_second_ruling_does_not_wait_for_the_first() {
        let bench = Bench::default();
        assert_eq!(bench.alone(|| Some(bench.alone(|| Some(1)))), Some(None));
        assert_eq!(bench.alone(|| Some(2)), Some(2));
    }
}
