//! All that was counted of one (route, backend) pair, at a moment or over a span of time.

use std::{collections::BTreeMap, time::Duration};

use super::Histogram;
use crate::domain::{Class, MirrorOutcome, MirrorResult, Outcome};

/// Counts of attempts, answers and latencies. Latencies are those of successes and failures only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Attempts that succeeded.
    pub success: u64,
    /// Attempts that failed.
    pub failure: u64,
    /// Attempts that say nothing about the backend.
    pub excluded: u64,
    /// Of these, those whose client left before the answer began.
    pub abandoned: u64,
    /// Requests that were sent a second time.
    pub retries: u64,
    /// Attempts whose request was then answered by another backend.
    pub fallbacks: u64,
    /// Answers that said whether they came from a cache.
    pub cache_answers: u64,
    /// Those that did.
    pub cache_hits: u64,
    /// Requests to be mirrored, by [`MirrorOutcome::index`]; no attempts.
    pub mirrored: [u64; MirrorOutcome::ALL.len()],
    /// Answers of mirrors, by [`MirrorResult::index`].
    pub comparisons: [u64; MirrorResult::ALL.len()],
    /// Answers by status code; codes never seen are absent.
    pub codes: BTreeMap<u16, u64>,
    /// Time to the first byte of the answer.
    pub first_byte: Latencies,
    /// Time to the end of the attempt.
    pub total: Latencies,
}

/// A distribution of latencies and their sum.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latencies {
    /// Counts by bucket.
    pub histogram: Histogram,
    /// Sum in microseconds, each latency rounded to the nearest one.
    pub sum_us: u64,
}

impl Latencies {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        self.histogram.record(latency);
        self.sum_us = self.sum_us.saturating_add(rounded_micros(latency));
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.merge(&other.histogram);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// What was counted since `earlier`.
    pub fn difference(&self, earlier: &Self) -> Self {
        Self {
            histogram: self.histogram.difference(&earlier.histogram),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// Mean latency; `None` when nothing was counted.
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us.checked_div(self.histogram.count()).map(Duration::from_micros)
    }
}

/// Microseconds of `latency`, rounded to the nearest so that a sum of many is not biased.
pub fn rounded_micros(latency: Duration) -> u64 {
    u64::try_from((latency.as_nanos() + 500) / 1_000).unwrap_or(u64::MAX)
}

impl Totals {
    /// Counts one attempt.
    pub fn record(&mut self, outcome: &Outcome) {
        *self.class_mut(outcome.class) += 1;
        if let Some(code) = outcome.status {
            *self.codes.entry(code).or_default() += 1;
        }
        if outcome.class == Class::Excluded {
            return;
        }
        self.total.record(outcome.total);
        if let Some(latency) = outcome.first_byte {
            self.first_byte.record(latency);
        }
    }

    /// Attempts of `class`.
    pub const fn class(&self, class: Class) -> u64 {
        match class {
            Class::Success => self.success,
            Class::Failure => self.failure,
            Class::Excluded => self.excluded,
        }
    }

    /// The counter of `class`.
    pub const fn class_mut(&mut self, class: Class) -> &mut u64 {
        match class {
            Class::Success => &mut self.success,
            Class::Failure => &mut self.failure,
            Class::Excluded => &mut self.excluded,
        }
    }

    /// Attempts that the backend is judged by: successes and failures.
    pub const fn judged(&self) -> u64 {
        self.success + self.failure
    }

    /// Attempts of every class.
    pub const fn attempts(&self) -> u64 {
        self.judged() + self.excluded
    }

    /// Answers of mirrors that were held against the client's.
    pub const fn compared(&self) -> u64 {
        self.comparisons[MirrorResult::Same.index()] + self.differing()
    }

    /// Those that differed.
    pub const fn differing(&self) -> u64 {
        self.comparisons[MirrorResult::Different.index()]
    }

    /// Failures among the judged attempts, 0 to 1; `None` when there are none.
    pub fn error_rate(&self) -> Option<f64> {
        (self.judged() > 0).then(|| self.failure as f64 / self.judged() as f64)
    }

    /// Fallbacks among all attempts, 0 to 1; `None` when there are none.
    pub fn fallback_rate(&self) -> Option<f64> {
        (self.attempts() > 0).then(|| self.fallbacks as f64 / self.attempts() as f64)
    }

    /// Cache hits among the answers that speak of a cache, 0 to 1; `None` when there are none.
    pub fn cache_hit_rate(&self) -> Option<f64> {
        (self.cache_answers > 0).then(|| self.cache_hits as f64 / self.cache_answers as f64)
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        for class in Class::ALL {
            *self.class_mut(class) += other.class(class);
        }
        self.abandoned += other.abandoned;
        self.retries += other.retries;
        self.fallbacks += other.fallbacks;
        self.cache_answers += other.cache_answers;
        self.cache_hits += other.cache_hits;
        add(&mut self.mirrored, &other.mirrored);
        add(&mut self.comparisons, &other.comparisons);
        for (code, count) in &other.codes {
            *self.codes.entry(*code).or_default() += count;
        }
        self.first_byte.merge(&other.first_byte);
        self.total.merge(&other.total);
    }

    /// What was counted since `earlier`, an older state of the same counters.
    pub fn difference(&self, earlier: &Self) -> Self {
        let code = |(code, count): (&u16, &u64)| {
            let past = earlier.codes.get(code).copied().unwrap_or(0);
            (*count > past).then_some((*code, count - past))
        };
        Self {
            success: self.success.saturating_sub(earlier.success),
            failure: self.failure.saturating_sub(earlier.failure),
            excluded: self.excluded.saturating_sub(earlier.excluded),
            abandoned: self.abandoned.saturating_sub(earlier.abandoned),
            retries: self.retries.saturating_sub(earlier.retries),
            fallbacks: self.fallbacks.saturating_sub(earlier.fallbacks),
            cache_answers: self.cache_answers.saturating_sub(earlier.cache_answers),
            cache_hits: self.cache_hits.saturating_sub(earlier.cache_hits),
            mirrored: subtract(&self.mirrored, &earlier.mirrored),
            comparisons: subtract(&self.comparisons, &earlier.comparisons),
            codes: self.codes.iter().filter_map(code).collect(),
            first_byte: self.first_byte.difference(&earlier.first_byte),
            total: self.total.difference(&earlier.total),
        }
    }
}

fn add<const N: usize>(to: &mut [u64; N], counts: &[u64; N]) {
    to.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

fn subtract<const N: usize>(now: &[u64; N], then: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|at| now[at].saturating_sub(then[at]))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any outcome, with latencies up to ten seconds.
    pub(crate) fn outcomes() -> impl Strategy<Value = Outcome> {
        let class = prop::sample::select(&Class::ALL[..]);
        let latency = || (0..10_000_000_000u64).prop_map(Duration::from_nanos);
        (class, prop::option::of(100..600u16), prop::option::of(latency()), latency()).prop_map(
            |(class, status, first_byte, total)| Outcome {
                class,
                blame: None,
                status,
                first_byte,
                total,
            },
        )
    }

    fn of(outcomes: &[Outcome]) -> Totals {
        let mut totals = Totals::default();
        outcomes.iter().for_each(|outcome| totals.record(outcome));
        totals
    }

    #[test]
    fn excluded_attempts_count_but_leave_rate_and_latency_alone() {
        let outcome = |class| Outcome {
            class,
            blame: None,
            status: Some(200),
            first_byte: Some(Duration::from_millis(1)),
            total: Duration::from_millis(2),
        };
        let totals = of(&[Class::Success, Class::Failure, Class::Excluded].map(outcome));
        assert_eq!((totals.attempts(), totals.judged()), (3, 2));
        assert_eq!(totals.error_rate(), Some(0.5));
        assert_eq!(totals.codes[&200], 3);
        assert_eq!(totals.total.histogram.count(), 2);
        assert_eq!(totals.total.mean(), Some(Duration::from_millis(2)));
        assert_eq!(Totals::default().error_rate(), None);
    }

    #[test]
    fn fallbacks_are_of_attempts_and_hits_of_answers_that_tell() {
        let mut earlier =
            Totals { success: 1, cache_answers: 4, cache_hits: 1, ..Totals::default() };
        earlier.comparisons = [2, 1, 7, 7, 7];
        let mut now = Totals { success: 5, failure: 1, fallbacks: 1, ..Totals::default() };
        now.abandoned = 2;
        (now.cache_answers, now.cache_hits) = (8, 4);
        (now.comparisons, now.mirrored) = ([5, 2, 9, 9, 9], [1; 7]);
        let between = now.difference(&earlier);
        assert_eq!((between.compared(), between.differing()), (4, 1));
        assert_eq!((between.fallback_rate(), between.cache_hit_rate()), (Some(0.2), Some(0.75)));
        let nothing = now.difference(&now);
        assert_eq!((nothing.fallback_rate(), nothing.cache_hit_rate()), (None, None));
        let mut sum = between;
        sum.merge(&earlier);
        assert_eq!(sum, now);
    }

    proptest! {
        #[test]
        fn a_window_is_what_came_after_its_begin(
            before in prop::collection::vec(outcomes(), 0..30),
            after in prop::collection::vec(outcomes(), 0..30),
        ) {
            let all = of(&[before.clone(), after.clone()].concat());
            prop_assert_eq!(all.difference(&of(&before)), of(&after));
            let mut merged = of(&before);
            merged.merge(&of(&after));
            prop_assert_eq!(merged, all);
        }
    }
}
