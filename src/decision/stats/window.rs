//! What was counted over the last while, by difference of two states of counters that only grow.
//!
//! Marks are kept close together for the recent past and ever wider apart for what lies further back: neighbours are a
//! 32nd of their age apart at most, so that a window's begin is off by about 3 % of its length, and a day needs some
//! hundred marks, for any three of them span more than that.

use std::{collections::VecDeque, time::Duration};

use super::Totals;
use crate::domain::Moment;

/// Marks may stand apart by this part of their age.
const FINENESS: u32 = 32;

/// Marks are thinned out each time so many have come.
const THIN_EVERY: usize = 64;

/// The recent past of one side's counters.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    longest: Duration,
    /// The first mark, from which everything since the begin is counted.
    begin: Option<Mark>,
    /// Ascending in time; the first is not older than the longest window needs.
    marks: VecDeque<Mark>,
    since_thinned: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Mark {
    at: Moment,
    totals: Totals,
}

/// Counts without latencies over some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Attempts that succeeded.
    pub success: u64,
    /// Attempts that failed.
    pub failure: u64,
    /// Attempts that say nothing.
    pub excluded: u64,
    /// Of these, those whose client left before the answer began.
    pub abandoned: u64,
    /// Attempts that another backend then answered.
    pub fallbacks: u64,
    /// Answers that said whether they came from a cache.
    pub cache_answers: u64,
    /// Those that did.
    pub cache_hits: u64,
    /// Answers of a mirror that were compared with the client's.
    pub compared: u64,
    /// Those that differed.
    pub differing: u64,
    /// Over how long.
    pub lasted: Duration,
}

impl Counts {
    /// Attempts that the backend is judged by.
    pub const fn judged(&self) -> u64 {
        self.success + self.failure
    }

    /// Attempts whose client got to know the backend, or gave up on it.
    pub const fn awaited(&self) -> u64 {
        self.judged() + self.abandoned
    }
}

impl Window {
    /// An empty window that can look back as far as `longest`.
    pub const fn new(longest: Duration) -> Self {
        Self { longest, begin: None, marks: VecDeque::new(), since_thinned: 0 }
    }

    /// Forgets everything: the next mark is the begin.
    pub fn restart(&mut self, longest: Duration) {
        *self = Self::new(longest);
    }

    /// Looks back as far as `longest` from now on; what was let go is not there.
    pub const fn look_back(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// Whether there is anything to count from.
    pub const fn has_begun(&self) -> bool {
        self.begin.is_some()
    }

    /// The counters as they stand at `at`, which is not before the last mark.
    pub fn mark(&mut self, at: Moment, totals: &Totals) {
        let mark = Mark { at, totals: looked_at(totals) };
        if self.begin.is_none() {
            self.begin = Some(mark.clone());
        }
        self.marks.push_back(mark);
        self.since_thinned += 1;
        if self.since_thinned >= THIN_EVERY {
            self.thin(at);
        }
    }

    /// What was counted over the last `span`, or since the begin, but for codes and first bytes, which nothing looks at here;
    /// `None` before the second mark.
    pub fn totals(&self, span: Option<Duration>) -> Option<Totals> {
        let (first, last) = self.ends(span)?;
        Some(last.totals.difference(&first.totals))
    }

    /// The same without codes and latencies, at next to no cost.
    pub fn counts(&self, span: Option<Duration>) -> Option<Counts> {
        let (first, last) = self.ends(span)?;
        let since =
            |read: fn(&Totals) -> u64| read(&last.totals).saturating_sub(read(&first.totals));
        Some(Counts {
            success: since(|totals| totals.success),
            failure: since(|totals| totals.failure),
            excluded: since(|totals| totals.excluded),
            abandoned: since(|totals| totals.abandoned),
            fallbacks: since(|totals| totals.fallbacks),
            cache_answers: since(|totals| totals.cache_answers),
            cache_hits: since(|totals| totals.cache_hits),
            compared: since(Totals::compared),
            differing: since(Totals::differing),
            lasted: last.at.since(first.at),
        })
    }

    /// Number of marks kept.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether nothing was marked yet.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    fn ends(&self, span: Option<Duration>) -> Option<(&Mark, &Mark)> {
        let (begin, last) = (self.begin.as_ref()?, self.marks.back()?);
        let first = match span {
            None => begin,
            Some(span) => {
                let after = self.marks.partition_point(|mark| last.at.since(mark.at) >= span);
                after.checked_sub(1).and_then(|at| self.marks.get(at)).unwrap_or(begin)
            }
        };
        (first.at < last.at).then_some((first, last))
    }

    fn thin(&mut self, now: Moment) {
        self.since_thinned = 0;
        let needed = self.marks.partition_point(|mark| now.since(mark.at) >= self.longest);
        self.marks.drain(..needed.saturating_sub(1));
        let mut kept: VecDeque<Mark> = VecDeque::with_capacity(self.marks.len());
        while let Some(mark) = self.marks.pop_front() {
            // A mark goes where its neighbours are near enough to each other without it.
            let gap = match (kept.back(), self.marks.front()) {
                (Some(before), Some(after)) => after.at.since(before.at),
                (None, _) | (_, None) => Duration::MAX,
            };
            if gap > now.since(mark.at) / FINENESS {
                kept.push_back(mark);
            }
        }
        self.marks = kept;
    }
}

/// The part of `totals` that marks keep: there may be hundreds of them.
fn looked_at(totals: &Totals) -> Totals {
    Totals {
        success: totals.success,
        failure: totals.failure,
        excluded: totals.excluded,
        abandoned: totals.abandoned,
        fallbacks: totals.fallbacks,
        cache_answers: totals.cache_answers,
        cache_hits: totals.cache_hits,
        comparisons: totals.comparisons,
        total: totals.total.clone(),
        ..Totals::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn counted(success: u64) -> Totals {
        Totals { success, ..Totals::default() }
    }

    #[test]
    fn it_counts_from_its_begin_and_over_its_last_part() {
        let mut window = Window::new(Duration::from_mins(1));
        assert_eq!(window.counts(None), None);
        window.mark(at(0), &counted(1_000));
        assert_eq!(window.counts(None), None);
        for tick in 1..=100 {
            window.mark(at(tick * 100), &counted(1_000 + tick));
        }
        assert_eq!(window.counts(None).unwrap().success, 100);
        let last = window.counts(Some(Duration::from_secs(1))).unwrap();
        assert_eq!((last.success, last.lasted), (10, Duration::from_secs(1)));
        assert_eq!(window.totals(Some(Duration::from_secs(1))).unwrap().success, 10);
        let more_than_there_is = window.counts(Some(Duration::from_hours(1))).unwrap();
        assert_eq!(more_than_there_is.lasted, Duration::from_secs(10));
        window.restart(Duration::from_mins(1));
        assert!(!window.has_begun() && window.is_empty());
    }

    #[test]
    fn all_that_is_counted_is_kept_in_marks() {
        let totals = Totals {
            success: 1,
            failure: 2,
            excluded: 3,
            abandoned: 4,
            fallbacks: 5,
            cache_answers: 6,
            cache_hits: 7,
            comparisons: [1; 5],
            ..Totals::default()
        };
        let mut window = Window::new(Duration::from_mins(1));
        window.mark(at(0), &Totals::default());
        window.mark(at(100), &totals);
        let Counts { success, failure, excluded, abandoned, .. } = window.counts(None).unwrap();
        assert_eq!((success, failure, excluded, abandoned), (1, 2, 3, 4));
        let Counts { fallbacks, cache_answers, cache_hits, compared, differing, .. } =
            window.counts(None).unwrap();
        assert_eq!((fallbacks, cache_answers, cache_hits), (5, 6, 7));
        assert_eq!((compared, differing), (totals.compared(), totals.differing()));
        assert!(differing > 0);
    }

    #[test]
    fn a_day_of_ticks_needs_some_hundred_marks_and_stays_exact_to_three_percent() {
        let day = Duration::from_hours(24);
        let mut window = Window::new(day);
        let ticks = 2 * 864_000;
        for tick in 0..=ticks {
            window.mark(at(tick * 100), &counted(tick));
        }
        assert!(window.len() < 800, "{} marks", window.len());
        assert_eq!(window.counts(None).unwrap().success, ticks);
        for span_s in [1, 5, 60, 300, 3_600, 86_400] {
            let span = Duration::from_secs(span_s);
            let counts = window.counts(Some(span)).unwrap();
            assert_eq!(counts.success * 100, counts.lasted.as_millis() as u64);
            assert!(counts.lasted >= span, "{span:?}: {:?}", counts.lasted);
            let off = (counts.lasted - span).as_secs_f64() / span.as_secs_f64();
            assert!(off < 0.04, "{span:?}: {:?}", counts.lasted);
        }
    }

    proptest! {
        #[test]
        fn what_is_counted_is_what_came_between(
            steps in prop::collection::vec((1..5_000u64, 0..50u64), 2..300),
            span in 1..100u64,
        ) {
            let mut window = Window::new(Duration::from_secs(100));
            let (mut now, mut sum, mut history) = (0, 0, Vec::new());
            for (wait, more) in steps {
                (now, sum) = (now + wait, sum + more);
                window.mark(at(now), &counted(sum));
                history.push((at(now), sum));
            }
            let counts = window.counts(Some(Duration::from_secs(span))).unwrap();
            let begun = history.iter().find(|(at, _)| history.last().unwrap().0.since(*at) == counts.lasted);
            prop_assert_eq!(counts.success, sum - begun.unwrap().1);
        }
    }
}
