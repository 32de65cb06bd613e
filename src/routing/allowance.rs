//! A share of a route's requests that may be spent on fallbacks: earned request by request, on one worker.
//!
//! Each request earns the share, each fallback costs a whole one. A little is there from the beginning, so that thin
//! traffic is not left without; a lot cannot be saved, so that a sudden outage does not fall on the baseline whole.

use std::cell::Cell;

use crate::domain::Weight;

/// What is left, in 1/10 000 fallback.
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

#[cfg(test)]
mod tests {
    use super::*;

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
