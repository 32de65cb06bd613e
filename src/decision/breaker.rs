//! The reflex: cuts a canary off that fails at once and often, without waiting for a window.
//!
//! It looks at the attempts of the last few seconds whatever the step, settling included: a canary that fails everything
//! does so at any weight.
//!
//! Who gives up on a silent backend leaves no failure behind, so clients that left before their answer began make a share of
//! their own with those that were failed. Where clients leave by habit, as they do where answers are waited for long, they
//! leave the baseline too, and that share is not looked at; failures alone still are. The habit is remembered for steps
//! that leave the baseline nobody to leave it.

use std::{collections::VecDeque, time::Duration};

use super::stats::Totals;
use crate::domain::{
    Moment, plan,
    verdict::{Cause, CauseKind},
};

/// A shared outage is no reason to prefer the baseline: at this error rate of it the share is not looked at.
const BASELINE_IN_TROUBLE: f64 = 0.05;

/// Attempts that tell something of a habit.
const HABIT_OF_AT_LEAST: u64 = 20;

/// Marks kept at most: a longer `within` is looked at with coarser marks.
const MAX_MARKS: usize = 256;

/// The last few seconds of both sides.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Breaker {
    marks: VecDeque<Mark>,
    /// The share of the baseline's clients that left before their answer, as it was when there were enough of them.
    habit: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Mark {
    at: Moment,
    canary: Side,
    baseline: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Side {
    success: u64,
    failure: u64,
    abandoned: u64,
}

impl Side {
    const fn of(totals: &Totals) -> Self {
        let Totals { success, failure, abandoned, .. } = *totals;
        Self { success, failure, abandoned }
    }

    const fn since(self, earlier: Self) -> Self {
        Self {
            success: self.success.saturating_sub(earlier.success),
            failure: self.failure.saturating_sub(earlier.failure),
            abandoned: self.abandoned.saturating_sub(earlier.abandoned),
        }
    }

    /// The same without those that were given up.
    const fn judged(self) -> Self {
        Self { abandoned: 0, ..self }
    }

    const fn bad(self) -> u64 {
        self.failure + self.abandoned
    }

    const fn all(self) -> u64 {
        self.success + self.bad()
    }

    fn bad_share(self) -> f64 {
        if self.all() == 0 { 0.0 } else { self.bad() as f64 / self.all() as f64 }
    }
}

impl Breaker {
    /// Forgets what was counted: counters of before are not compared with those of after.
    pub fn restart(&mut self) {
        self.marks.clear();
    }

    /// Notes the counters at `at`, for a look back of `within`.
    pub fn mark(&mut self, at: Moment, canary: &Totals, baseline: &Totals, within: Duration) {
        let finest = within / (MAX_MARKS as u32 / 2);
        let mark = Mark { at, canary: Side::of(canary), baseline: Side::of(baseline) };
        // The newest mark is moved on while the one before it is too near to keep both.
        let near = self.marks.len() >= 2
            && self.marks.get(self.marks.len() - 2).is_some_and(|m| at.since(m.at) < finest);
        if near {
            self.marks.pop_back();
        }
        self.marks.push_back(mark);
        let old = self.marks.partition_point(|mark| at.since(mark.at) >= within);
        self.marks.drain(..old.saturating_sub(1));
        while self.marks.len() > MAX_MARKS {
            self.marks.pop_front();
        }
        let baseline = self.marks.front().map(|first| mark.baseline.since(first.baseline));
        if let Some(baseline) = baseline.filter(|side| side.all() >= HABIT_OF_AT_LEAST) {
            self.habit = baseline.abandoned as f64 / baseline.all() as f64;
        }
    }

    /// Why the canary is to be cut off, if it is; `in_a_row` are its failures since its last success.
    pub fn trips(&self, limits: &plan::Breaker, in_a_row: u64) -> Option<Cause> {
        if limits.consecutive_failures.value().is_some_and(|most| in_a_row >= most) {
            let text = format!("{in_a_row} failures in a row");
            return Some(Cause::new(CauseKind::Breaker, text));
        }
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        let canary = last.canary.since(first.canary);
        let baseline = last.baseline.since(first.baseline);
        let trips = |canary: Side, baseline: Side| {
            canary.all() >= limits.of_at_least.max(1)
                && canary.bad_share() >= limits.failure_share
                && baseline.bad_share() < BASELINE_IN_TROUBLE
        };
        let canary = if self.habit < BASELINE_IN_TROUBLE && trips(canary, baseline) {
            canary
        } else {
            Some(canary.judged()).filter(|judged| trips(*judged, baseline.judged()))?
        };
        let given_up = match canary.abandoned {
            0 => String::new(),
            count => format!(" ({count} given up by their clients)"),
        };
        let text = format!(
            "{} of {} attempts failed within {:.1}s{given_up}",
            canary.bad(),
            canary.all(),
            last.at.since(first.at).as_secs_f64()
        );
        Some(Cause::new(CauseKind::Breaker, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::Limit;

    const LIMITS: plan::Breaker = plan::Breaker {
        consecutive_failures: Limit::At(10),
        failure_share: 0.5,
        of_at_least: 20,
        within: Duration::from_secs(5),
    };

    fn totals(success: u64, failure: u64) -> Totals {
        Totals { success, failure, ..Totals::default() }
    }

    /// Counters of canary and baseline at tenths of a second from the begin.
    fn after(states: &[(u64, Totals, Totals)]) -> Option<Cause> {
        let mut breaker = Breaker::default();
        for (tenths, canary, baseline) in states {
            let at = Moment::from_nanos(tenths * 100_000_000);
            breaker.mark(at, canary, baseline, LIMITS.within);
        }
        breaker.trips(&LIMITS, 0)
    }

    #[test]
    fn failures_in_a_row_trip_at_their_number() {
        let breaker = Breaker::default();
        assert_eq!(breaker.trips(&LIMITS, 9), None);
        assert_eq!(breaker.trips(&LIMITS, 10).unwrap().text, "10 failures in a row");
        let off = plan::Breaker { consecutive_failures: Limit::Off, ..LIMITS };
        assert_eq!(breaker.trips(&off, 1_000), None);
    }

    #[test]
    fn half_of_twenty_trip_and_fewer_do_not() {
        let quiet = || totals(1_000, 0);
        let begin = (0, totals(0, 0), quiet());
        assert!(after(&[begin.clone(), (10, totals(10, 10), quiet())]).is_some());
        assert_eq!(after(&[begin.clone(), (10, totals(10, 9), quiet())]), None);
        assert_eq!(after(&[begin.clone(), (10, totals(11, 10), quiet())]), None);
        // What lies further back than `within` says nothing.
        assert_eq!(
            after(&[begin, (1, totals(0, 30), quiet()), (70, totals(5, 30), quiet())]),
            None
        );
    }

    #[test]
    fn an_outage_of_both_sides_is_not_the_canarys_doing() {
        let begin = (0, totals(0, 0), totals(0, 0));
        assert_eq!(after(&[begin.clone(), (10, totals(0, 30), totals(94, 6))]), None);
        assert!(after(&[begin, (10, totals(0, 30), totals(96, 4))]).is_some());
    }

    #[test]
    fn a_canary_that_clients_give_up_on_trips_unless_they_leave_the_baseline_too() {
        let silent = |abandoned| Totals { abandoned, ..totals(0, 0) };
        let begin = (0, silent(0), totals(0, 0));
        let cause = after(&[begin.clone(), (10, silent(30), totals(96, 0))]).unwrap();
        assert_eq!(
            cause.text,
            "30 of 30 attempts failed within 1.0s (30 given up by their clients)"
        );
        assert_eq!(after(&[begin.clone(), (10, silent(19), totals(96, 0))]), None);
        let left_too = Totals { abandoned: 20, ..totals(96, 0) };
        assert_eq!(after(&[begin, (10, silent(30), left_too)]), None);
    }

    /// As where clients ask for news and leave when there is none for a while.
    #[test]
    fn where_clients_leave_by_habit_failures_still_trip() {
        let left = |success, failure| Totals { abandoned: 20, ..totals(success, failure) };
        let begin = (0, totals(0, 0), totals(0, 0));
        let cause = after(&[begin.clone(), (10, left(10, 20), left(80, 0))]).unwrap();
        assert_eq!(cause.text, "20 of 30 attempts failed within 1.0s");
        assert_eq!(after(&[begin, (10, left(10, 20), left(80, 8))]), None, "both fail");
    }

    #[test]
    fn a_habit_is_remembered_where_the_baseline_gets_nothing() {
        let left = |abandoned| Totals { abandoned, ..totals(abandoned / 4, 0) };
        let mut breaker = Breaker::default();
        let at = |breaker: &mut Breaker, second: u64, canary: Totals, baseline: Totals| {
            let at = Moment::from_nanos(second * 1_000_000_000);
            breaker.mark(at, &canary, &baseline, LIMITS.within);
        };
        at(&mut breaker, 0, left(0), left(0));
        at(&mut breaker, 1, left(40), left(40));
        breaker.restart();
        at(&mut breaker, 2, left(0), left(0));
        at(&mut breaker, 3, left(40), left(0));
        assert_eq!(breaker.trips(&LIMITS, 0), None, "they left the baseline as well");
        at(&mut breaker, 4, left(80), totals(96, 0));
        assert!(breaker.trips(&LIMITS, 0).is_some(), "but now they stay there");
    }

    #[test]
    fn a_long_look_back_is_bounded() {
        let mut breaker = Breaker::default();
        for tick in 0..100_000 {
            let at = Moment::from_nanos(tick * 100_000_000);
            breaker.mark(at, &totals(tick, 0), &totals(tick, 0), Duration::from_hours(1));
        }
        let (first, last) = (breaker.marks.front().unwrap(), breaker.marks.back().unwrap());
        assert!(last.at.since(first.at) >= Duration::from_hours(1));
        assert!(breaker.marks.len() <= MAX_MARKS);
    }
}
