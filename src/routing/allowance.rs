//! A share of a route's requests that may be spent on fallbacks, or on retries: earned request by request, on one worker.
//!
//! Each request earns the share, each of them costs a whole one. A little is there from the beginning, so that thin
//! traffic is not left without; a lot cannot be saved, so that a sudden outage does not fall on the baseline whole.

use std::{cell::Cell, time::Duration};

use crate::domain::{Moment, Weight};

/// What is left, in 1/10 000 of one.
#[derive(Debug)]
pub struct Allowance(Cell<u32>);

const ONE: u32 = 10_000;
/// What a route begins with.
const FIRST: u32 = 10 * ONE;
/// What it can save.
const MOST: u32 = 100 * ONE;

impl Default for Allowance {
    fn default() -> Self {
        Self(Cell::new(FIRST))
    }
}

impl Allowance {
    /// A request came, of which `share` is earned.
    pub fn earn(&self, share: Weight) {
        self.0.set(MOST.min(self.0.get() + u32::from(share.basis_points())));
    }

    /// Takes one, if there is one.
    pub fn spend(&self) -> bool {
        let left = self.0.get().checked_sub(ONE);
        left.inspect(|left| self.0.set(*left)).is_some()
    }
}

/// An allowance for retries: where the share is spent, a few a second may go all the same, so that thin traffic has some.
#[derive(Debug, Default)]
pub struct RetryAllowance {
    share: Allowance,
    /// Of those that may always go, what has been spent of the second that began then.
    always: Cell<(Moment, u32)>,
}

/// Retries a second that may always go.
const ALWAYS: u32 = 3;

impl RetryAllowance {
    /// A request came, of which `share` is earned.
    pub fn earn(&self, share: Weight) {
        self.share.earn(share);
    }

    /// Takes one at `now`, if there is one.
    pub fn spend(&self, now: Moment) -> bool {
        let (begun, spent) = self.always.get();
        let (begun, spent) =
            if now.since(begun) < Duration::from_secs(1) { (begun, spent) } else { (now, 0) };
        if spent < ALWAYS {
            self.always.set((begun, spent + 1));
            return true;
        }
        self.share.spend()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_a_second_may_always_be_sent_again() {
        let allowance = RetryAllowance::default();
        let at = |ms| Moment::default() + Duration::from_millis(ms);
        let spent = |ms| (0..100).filter(|_| allowance.spend(at(ms))).count();
        assert_eq!(spent(1_000), 13, "with what is there from the beginning");
        assert_eq!([spent(1_999), spent(2_000), spent(2_500), spent(9_000)], [0, 3, 0, 3]);
        (0..50).for_each(|_| allowance.earn(Weight::FIFTH));
        assert_eq!(spent(9_500), 10);
    }

    fn spent(allowance: &Allowance) -> u32 {
        (0..1_000).map(|_| u32::from(allowance.spend())).sum()
    }

    #[test]
    fn a_share_of_the_requests_is_earned_and_little_is_there_before() {
        let allowance = Allowance::default();
        assert_eq!(spent(&allowance), 10);
        (0..100).for_each(|_| allowance.earn(Weight::FIFTH));
        assert_eq!(spent(&allowance), 20);
        (0..10).for_each(|_| allowance.earn(Weight::ZERO));
        assert_eq!(spent(&allowance), 0);
    }

    #[test]
    fn no_more_than_a_hundred_are_saved() {
        let allowance = Allowance::default();
        (0..100_000).for_each(|_| allowance.earn(Weight::FULL));
        assert_eq!(spent(&allowance), 100);
    }
}
