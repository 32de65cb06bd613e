//! The part of a rollout's budget that may be spent now: never more than the state file already counts as spent.
//!
//! What was really spent is written once a second, and a killed process forgets that second. So an upper bound is written
//! ahead, and only once it is durable may the canary spend up to it. After a kill the bound is taken for what was spent: a
//! cap stays a cap, at the price of what was reserved and not used. The shares are small for the same reason.

use super::judge::Spent;
use crate::domain::plan::{Budget, Limit};

/// What may be spent, and what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    /// The bound that the state file holds.
    granted: Spent,
    /// The bound that is on its way there.
    asked: Option<Spent>,
}

impl Lease {
    /// Nothing beyond `spent`, as after a restart.
    pub const fn of_nothing_beyond(spent: Spent) -> Self {
        Self { granted: spent, asked: None }
    }

    /// For a run whose first record, which comes before any traffic, holds the bound: see [`Self::granted`].
    pub fn of_a_new_run(budget: &Budget) -> Self {
        let lease = Self::default();
        Self { granted: lease.wanted(budget, Spent::default()).unwrap_or_default(), asked: None }
    }

    /// The bound that holds.
    pub const fn granted(&self) -> Spent {
        self.granted
    }

    /// `budget`, as far as it may be spent now.
    pub fn allowed(&self, budget: &Budget) -> Budget {
        let within = |cap: Limit<u64>, granted: u64| match cap {
            Limit::Off => Limit::Off,
            Limit::At(cap) => Limit::At(cap.min(granted)),
        };
        Budget {
            max_bad_responses: within(budget.max_bad_responses, self.granted.bad_responses),
            max_exposed_keys: within(budget.max_exposed_keys, self.granted.exposed_keys),
        }
    }

    /// Asks for a higher bound where `spent` has come near to the one that holds; gives it, to be written.
    pub fn ask(&mut self, budget: &Budget, spent: Spent) -> Option<Spent> {
        if self.asked.is_some() {
            return None;
        }
        self.asked = self.wanted(budget, spent);
        self.asked
    }

    /// The bound that was asked for is durable, or could not be written.
    pub fn answered(&mut self, durable: bool) {
        if let Some(asked) = self.asked.take().filter(|_| durable) {
            self.granted = asked;
        }
    }

    /// Whether nothing more may be spent for want of a bound, though the budget has more.
    pub fn is_short(&self, budget: &Budget, spent: Spent) -> bool {
        let short = |cap: Limit<u64>, granted: u64, spent: u64| {
            cap.value().is_some_and(|cap| spent >= granted && spent < cap)
        };
        short(budget.max_bad_responses, self.granted.bad_responses, spent.bad_responses)
            || short(budget.max_exposed_keys, self.granted.exposed_keys, spent.exposed_keys)
    }

    fn wanted(&self, budget: &Budget, spent: Spent) -> Option<Spent> {
        // Few bad responses, for a kill must not make a good canary look as if it had failed. More sessions: they come all
        // the time, and those that are known come back and count again after a restart anyway.
        let bad = raised(
            budget.max_bad_responses,
            self.granted.bad_responses,
            spent.bad_responses,
            |cap| (cap / 50).max(1),
        );
        let keys =
            raised(budget.max_exposed_keys, self.granted.exposed_keys, spent.exposed_keys, |cap| {
                (cap / 10).max(8)
            });
        let wanted = Spent { bad_responses: bad, exposed_keys: keys };
        (wanted != self.granted).then_some(wanted)
    }
}

/// The bound after `granted`: higher when less than half of what is reserved ahead is left.
fn raised(cap: Limit<u64>, granted: u64, spent: u64, ahead: impl Fn(u64) -> u64) -> u64 {
    let Limit::At(cap) = cap else { return granted };
    let ahead = ahead(cap);
    let left = granted.saturating_sub(spent);
    if left > ahead / 2 { granted } else { granted.max(cap.min(spent.saturating_add(ahead))) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(bad: u64, keys: u64) -> Budget {
        Budget { max_bad_responses: Limit::At(bad), max_exposed_keys: Limit::At(keys) }
    }

    fn spent(bad_responses: u64, exposed_keys: u64) -> Spent {
        Spent { bad_responses, exposed_keys }
    }

    #[test]
    fn little_is_reserved_and_more_before_that_is_used_up() {
        let budget = budget(1_000, 200);
        let mut lease = Lease::of_a_new_run(&budget);
        assert_eq!(lease.granted(), spent(20, 20));
        assert_eq!(lease.ask(&budget, spent(9, 9)), None);
        assert_eq!(lease.ask(&budget, spent(10, 9)), Some(spent(30, 20)));
        assert_eq!(lease.ask(&budget, spent(20, 20)), None, "one question at a time");
        assert_eq!(lease.allowed(&budget).max_bad_responses, Limit::At(20));
        assert!(lease.is_short(&budget, spent(20, 0)));
        lease.answered(false);
        assert_eq!(lease.granted(), spent(20, 20));
        assert_eq!(
            lease.ask(&budget, spent(999, 199)),
            Some(spent(1_000, 200)),
            "the cap is a cap"
        );
        lease.answered(true);
        assert!(!lease.is_short(&budget, spent(1_000, 200)));
        let free = Budget::default();
        assert_eq!(Lease::default().ask(&free, spent(5, 5)), None, "no cap, nothing to reserve");
    }

    proptest! {
        /// Spending, writes that fail, and kills in any order.
        #[test]
        fn no_kill_brings_more_than_the_cap(
            cap in 1..60u64,
            moves in prop::collection::vec((0..5u8, 1..6u64), 1..200),
        ) {
            let budget = budget(cap, cap);
            let mut lease = Lease::of_a_new_run(&budget);
            // Truly spent, what this process knows of it, and the bound in the file.
            let (mut truly, mut known, mut file) = (0u64, 0u64, lease.granted());
            let mut asked = None;
            for (what, times) in moves {
                match what {
                    0 | 1 => for _ in 0..times {
                        let Limit::At(most) = lease.allowed(&budget).max_exposed_keys else { panic!() };
                        if known < most {
                            (truly, known) = (truly + 1, known + 1);
                        }
                    },
                    2 => asked = lease.ask(&budget, spent(known, known)).or(asked),
                    3 => {
                        let durable = times > 2;
                        if let Some(bound) = asked.take().filter(|_| durable) {
                            file = bound;
                        }
                        lease.answered(durable);
                    }
                    _ => {
                        (known, asked) = (file.exposed_keys, None);
                        lease = Lease::of_nothing_beyond(file);
                    }
                }
                prop_assert!(truly <= cap && known <= file.exposed_keys, "{truly} {known} {file:?}");
            }
        }
    }
}
