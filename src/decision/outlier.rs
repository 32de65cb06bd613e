//! Whether an endpoint that fails again and again is taken out, and for how long.
//!
//! A share of the endpoints alone would protect nobody in a small backend: 10 % of one to nine endpoints is none. So one
//! endpoint may always be ejected where another is left, and the last one that takes requests never is. What a limit keeps
//! from being ejected is told all the same: see [`Ruling::Spare`].

use std::time::Duration;

use crate::domain::{EjectionRules, Moment, Weight};

/// Ejections of one endpoint that follow one another: each is twice as long as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Row {
    /// How many there have been.
    pub count: u32,
    /// From then on the next one begins a new row.
    pub ends: Moment,
}

impl Row {
    /// The row with one more ejection, which begins at `now`, and that one's length.
    ///
    /// The row goes on if the endpoint was back for less long than its last ejection had lasted.
    pub fn extended(self, rules: &EjectionRules, now: Moment) -> (Self, Duration) {
        let before = if now < self.ends { self.count } else { 0 };
        let doubled =
            1_u32.checked_shl(before).and_then(|times| rules.base_time.checked_mul(times));
        let length = doubled.map_or(rules.max_time, |length| length.min(rules.max_time));
        (Self { count: before.saturating_add(1), ends: now + length + length }, length)
    }
}

/// A backend's endpoints at the moment of a ruling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// All of them.
    pub all: usize,
    /// Ejected now.
    pub ejected: usize,
    /// Those beside the one in question that take requests.
    pub others: usize,
}

/// What becomes of an endpoint that has failed so often in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It is taken out.
    Eject,
    /// It would be, were it not for this limit.
    Spare(Limit),
}

/// Why an endpoint stays in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// No other one takes requests.
    LastOne,
    /// As many are ejected as may be.
    MaxShare,
}

impl Limit {
    /// In words, after "it stays:".
    pub const fn text(self) -> &'static str {
        match self {
            Self::LastOne => "no other endpoint of the backend takes requests",
            Self::MaxShare => "as many are ejected as ejection.max_share allows",
        }
    }
}

/// Rules on an endpoint in `fleet`.
pub fn rule(fleet: Fleet, max_share: Weight) -> Ruling {
    let share = fleet.all * usize::from(max_share.basis_points()) / 10_000;
    if fleet.others == 0 {
        Ruling::Spare(Limit::LastOne)
    } else if fleet.ejected >= share.max(1) {
        Ruling::Spare(Limit::MaxShare)
    } else {
        Ruling::Eject
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: EjectionRules = EjectionRules {
        consecutive_failures: 5,
        base_time: Duration::from_secs(10),
        max_time: Duration::from_secs(60),
        max_share: Weight::HALF,
    };

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    /// How many of `all` healthy endpoints that fail one after the other are ejected.
    fn ejected_of(all: usize, share: Weight) -> usize {
        let eject = |ejected| rule(Fleet { all, ejected, others: all - ejected - 1 }, share);
        (0..all).take_while(|ejected| eject(*ejected) == Ruling::Eject).count()
    }

    #[test]
    fn one_two_and_ten_endpoints_are_protected_alike() {
        let tenth = Weight::from_basis_points(1_000).unwrap();
        let cases = [(1, 0, 0, 0), (2, 1, 1, 1), (3, 1, 1, 2), (10, 1, 5, 9)];
        for (all, few, half, full) in cases {
            let got = [tenth, Weight::HALF, Weight::FULL].map(|share| ejected_of(all, share));
            assert_eq!(got, [few, half, full], "{all} endpoints");
        }
        assert_eq!(ejected_of(10, Weight::ZERO), 1, "one always may, where another is left");
    }

    #[test]
    fn the_limit_is_named() {
        let alone = Fleet { all: 3, ejected: 0, others: 0 };
        assert_eq!(rule(alone, Weight::FULL), Ruling::Spare(Limit::LastOne));
        let enough = Fleet { all: 3, ejected: 1, others: 1 };
        assert_eq!(rule(enough, Weight::HALF), Ruling::Spare(Limit::MaxShare));
    }

    #[test]
    fn ejections_in_a_row_double_up_to_the_longest() {
        let (mut row, mut now, mut lengths) = (Row::default(), at(0), Vec::new());
        for _ in 0..5 {
            let (next, length) = row.extended(&RULES, now);
            lengths.push(length.as_secs());
            // It fails again as soon as it is back.
            (row, now) = (next, now + length + Duration::from_secs(1));
        }
        assert_eq!(lengths, [10, 20, 40, 60, 60]);
    }

    #[test]
    fn a_row_ends_when_the_endpoint_was_well_for_as_long_as_it_was_out() {
        let (row, _) = Row::default().extended(&RULES, at(0));
        assert_eq!(row.extended(&RULES, at(19)).1, Duration::from_secs(20));
        assert_eq!(row.extended(&RULES, at(20)).1, Duration::from_secs(10));
    }

    proptest! {
        #[test]
        fn the_last_one_stays_and_no_length_leaves_its_bounds(
            all in 1..50_usize, ejected in 0..50_usize, share in 0..=10_000_u16, count: u32,
        ) {
            let share = Weight::from_basis_points(share).unwrap();
            let ruling = rule(Fleet { all, ejected, others: 0 }, share);
            prop_assert_eq!(ruling, Ruling::Spare(Limit::LastOne));
            let row = Row { count, ends: at(1) };
            let (next, length) = row.extended(&RULES, at(0));
            prop_assert!(length >= RULES.base_time && length <= RULES.max_time);
            prop_assert!(next.count > 0);
        }
    }
}
