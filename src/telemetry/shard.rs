//! One worker's counters: written by that worker alone, read by anyone at any time.
//!
//! With a single writer, adding is a relaxed load and a relaxed store: no locked instruction, and no cache line that two
//! workers write to. A reader may see one counter of an outcome before another; each by itself never goes back.
//!
//! Counters are laid out in pages that come into being with the first thing they count, so that a large configuration of
//! mostly idle routes costs little: a series unused costs 16 bytes a worker, a used one some kilobytes.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    decision::stats::{OCTAVE_BUCKETS, OCTAVES, Totals, bucket_index, rounded_micros},
    domain::{
        Class, ErrorReason, Handshake, MirrorOutcome, MirrorResult, Outcome, Queue, SeriesId,
    },
};

/// Most series there may ever be; further ones are refused where they are named.
pub const MAX_SERIES: usize = 65_536;

const CHUNK: usize = 64;
/// Counters of a page: one octave of latencies, or 32 neighbouring status codes.
const PAGE: usize = OCTAVE_BUCKETS;
const CODES: std::ops::RangeInclusive<u16> = 100..=599;
/// Begin of the page that holds code 100.
const FIRST_CODE: usize = 96;
const CODE_PAGES: usize = 16;

/// The counters of one data-plane worker.
///
/// Its counting methods are for one thread only: calls at the same time may lose a count.
#[derive(Debug)]
pub struct Shard {
    chunks: Box<[OnceLock<Box<Chunk>>]>,
    errors: [AtomicU64; ErrorReason::ALL.len()],
    overflows: [AtomicU64; Queue::ALL.len()],
    handshakes: [AtomicU64; Handshake::ALL.len()],
    https_redirects: AtomicU64,
}

type Chunk = [OnceLock<Box<Series>>; CHUNK];

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            chunks: (0..MAX_SERIES / CHUNK).map(|_| OnceLock::new()).collect(),
            errors: [const { AtomicU64::new(0) }; _],
            overflows: [const { AtomicU64::new(0) }; _],
            handshakes: [const { AtomicU64::new(0) }; _],
            https_redirects: AtomicU64::new(0),
        }
    }

    /// Counts one attempt; one whose series is out of range is not counted.
    pub fn record(&self, series: SeriesId, outcome: &Outcome) {
        if let Some(series) = self.series(series) {
            series.record(outcome);
        }
    }

    /// Counts one attempt whose client left before the answer began.
    pub fn abandoned(&self, series: SeriesId) {
        if let Some(series) = self.series(series) {
            add(&series.abandoned, 1);
        }
    }

    /// Counts one request that is sent again, since its connection had died.
    pub fn retry(&self, series: SeriesId) {
        if let Some(series) = self.series(series) {
            add(&series.retries, 1);
        }
    }

    /// Counts one attempt whose request goes to another backend.
    pub fn fallback(&self, series: SeriesId) {
        if let Some(series) = self.series(series) {
            add(&series.fallbacks, 1);
        }
    }

    /// Counts one answer that says whether it came from a cache.
    pub fn cache_answer(&self, series: SeriesId, hit: bool) {
        if let Some(series) = self.series(series) {
            add(&series.cache_answers, 1);
            add(&series.cache_hits, u64::from(hit));
        }
    }

    /// Counts one request that was to be mirrored.
    pub fn mirrored(&self, series: SeriesId, outcome: MirrorOutcome) {
        if let Some(series) = self.series(series) {
            add(&series.mirrored[outcome.index()], 1);
        }
    }

    /// Counts one answer of a mirror.
    pub fn compared(&self, series: SeriesId, result: MirrorResult) {
        if let Some(series) = self.series(series) {
            add(&series.comparisons[result.index()], 1);
        }
    }

    fn series(&self, series: SeriesId) -> Option<&Series> {
        let at = series.0 as usize;
        let chunk = self.chunks.get(at / CHUNK)?;
        let chunk = chunk.get_or_init(|| Box::new([const { OnceLock::new() }; CHUNK]));
        Some(chunk[at % CHUNK].get_or_init(Box::default))
    }

    /// Counts one answer that Tidegate gave itself.
    pub fn error(&self, reason: ErrorReason) {
        add(&self.errors[reason.index()], 1);
    }

    /// Counts one thing that a full queue did not take.
    pub fn overflow(&self, queue: Queue) {
        add(&self.overflows[queue.index()], 1);
    }

    /// Counts one handshake with a client.
    pub fn handshake(&self, end: Handshake) {
        add(&self.handshakes[end.index()], 1);
    }

    /// Counts one client that was sent to https.
    pub fn https_redirect(&self) {
        add(&self.https_redirects, 1);
    }

    /// Adds what was counted of `series` to `totals`.
    pub(super) fn add_to(&self, series: SeriesId, totals: &mut Totals) {
        let at = series.0 as usize;
        let chunk = self.chunks.get(at / CHUNK).and_then(OnceLock::get);
        if let Some(series) = chunk.and_then(|chunk| chunk[at % CHUNK].get()) {
            series.add_to(totals);
        }
    }

    pub(super) fn errors(&self, reason: ErrorReason) -> u64 {
        self.errors[reason.index()].load(Relaxed)
    }

    pub(super) fn overflows(&self, queue: Queue) -> u64 {
        self.overflows[queue.index()].load(Relaxed)
    }

    pub(super) fn handshakes(&self, end: Handshake) -> u64 {
        self.handshakes[end.index()].load(Relaxed)
    }

    pub(super) fn https_redirects(&self) -> u64 {
        self.https_redirects.load(Relaxed)
    }
}

/// The counters of one series on one worker.
#[derive(Debug, Default)]
struct Series {
    classes: [AtomicU64; Class::ALL.len()],
    abandoned: AtomicU64,
    retries: AtomicU64,
    fallbacks: AtomicU64,
    cache_answers: AtomicU64,
    cache_hits: AtomicU64,
    mirrored: [AtomicU64; MirrorOutcome::ALL.len()],
    comparisons: [AtomicU64; MirrorResult::ALL.len()],
    codes: Pages<CODE_PAGES>,
    first_byte: Latencies,
    total: Latencies,
}

impl Series {
    fn record(&self, outcome: &Outcome) {
        add(&self.classes[outcome.class as usize], 1);
        if let Some(code) = outcome.status.filter(|code| CODES.contains(code)) {
            self.codes.add(usize::from(code) - FIRST_CODE);
        }
        if outcome.class == Class::Excluded {
            return;
        }
        self.total.record(outcome.total);
        if let Some(latency) = outcome.first_byte {
            self.first_byte.record(latency);
        }
    }

    fn add_to(&self, totals: &mut Totals) {
        for class in Class::ALL {
            *totals.class_mut(class) += self.classes[class as usize].load(Relaxed);
        }
        totals.abandoned += self.abandoned.load(Relaxed);
        totals.retries += self.retries.load(Relaxed);
        totals.fallbacks += self.fallbacks.load(Relaxed);
        totals.cache_answers += self.cache_answers.load(Relaxed);
        totals.cache_hits += self.cache_hits.load(Relaxed);
        let add = |to: &mut [u64], counters: &[AtomicU64]| {
            to.iter_mut().zip(counters).for_each(|(sum, counter)| *sum += counter.load(Relaxed));
        };
        add(&mut totals.mirrored, &self.mirrored);
        add(&mut totals.comparisons, &self.comparisons);
        self.codes.visit(|page, counts| {
            for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                // Pages hold codes up to 607, so the cast is exact.
                let code = (FIRST_CODE + page * PAGE + at) as u16;
                *totals.codes.entry(code).or_default() += count;
            }
        });
        self.first_byte.add_to(&mut totals.first_byte);
        self.total.add_to(&mut totals.total);
    }
}

#[derive(Debug, Default)]
struct Latencies {
    buckets: Pages<OCTAVES>,
    sum_us: AtomicU64,
}

impl Latencies {
    fn record(&self, latency: std::time::Duration) {
        self.buckets.add(bucket_index(latency));
        add(&self.sum_us, rounded_micros(latency));
    }

    fn add_to(&self, latencies: &mut crate::decision::stats::Latencies) {
        self.buckets.visit(|octave, counts| latencies.histogram.add_octave(octave, counts));
        latencies.sum_us = latencies.sum_us.saturating_add(self.sum_us.load(Relaxed));
    }
}

/// Counters that come into being by the page.
#[derive(Debug)]
struct Pages<const N: usize>([OnceLock<Box<[AtomicU64; PAGE]>>; N]);

impl<const N: usize> Default for Pages<N> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; N])
    }
}

impl<const N: usize> Pages<N> {
    fn add(&self, index: usize) {
        let page = self.0[index / PAGE].get_or_init(Box::default);
        add(&page[index % PAGE], 1);
    }

    /// Shows every page in use with its number.
    fn visit(&self, mut show: impl FnMut(usize, &[u64; PAGE])) {
        for (number, page) in self.0.iter().enumerate() {
            if let Some(page) = page.get() {
                show(number, &page.each_ref().map(|counter| counter.load(Relaxed)));
            }
        }
    }
}

/// Adds without a locked instruction: right for a single writer only.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decision::stats::tests::outcomes;

    #[test]
    fn a_series_out_of_range_is_not_counted_and_does_no_harm() {
        let shard = Shard::new();
        let outcome = Outcome {
            class: Class::Success,
            blame: None,
            status: Some(999),
            first_byte: None,
            total: std::time::Duration::ZERO,
        };
        shard.record(SeriesId(MAX_SERIES as u32), &outcome);
        shard.record(SeriesId(MAX_SERIES as u32 - 1), &outcome);
        let mut totals = Totals::default();
        shard.add_to(SeriesId(MAX_SERIES as u32), &mut totals);
        assert_eq!(totals, Totals::default());
        shard.add_to(SeriesId(MAX_SERIES as u32 - 1), &mut totals);
        assert_eq!(totals.success, 1);
        assert!(totals.codes.is_empty(), "a status code that is none was counted");
    }

    #[test]
    fn nothing_is_allocated_for_what_is_not_used() {
        let shard = Shard::new();
        assert!(shard.chunks.iter().all(|chunk| chunk.get().is_none()));
        shard.add_to(SeriesId(3), &mut Totals::default());
        assert!(shard.chunks.iter().all(|chunk| chunk.get().is_none()), "reading allocated");
    }

    proptest! {
        #[test]
        fn a_shard_counts_as_plain_totals_do(
            outcomes in prop::collection::vec(outcomes(), 0..100),
        ) {
            let (shard, mut plain) = (Shard::new(), Totals::default());
            for outcome in &outcomes {
                shard.record(SeriesId(70), outcome);
                plain.record(outcome);
            }
            let mut read = Totals::default();
            shard.add_to(SeriesId(70), &mut read);
            prop_assert_eq!(read, plain);
            let mut other = Totals::default();
            shard.add_to(SeriesId(71), &mut other);
            prop_assert_eq!(other, Totals::default());
        }
    }
}
