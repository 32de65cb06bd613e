//! Distribution of latencies in buckets of constant relative width.
//!
//! 27 octaves from 1 µs to 2^27 µs (134 s), each cut into 32 buckets of equal ratio, 2^(1/32): whatever a quantile is read
//! as, the true value is at most 2.2 % below it. The buckets are those of Prometheus' native histograms of schema 5, with
//! inclusive upper bounds; every power of two of a microsecond is an exact bound.
//!
//! Invariants: a histogram holds only octaves that something fell into, in ascending order; adding and subtracting are
//! exact, for these are counters.

use std::time::Duration;

/// Buckets of one octave.
pub const OCTAVE_BUCKETS: usize = 32;
/// Octaves from 1 µs up.
pub const OCTAVES: usize = 27;
/// All buckets; an index of a bucket is below this.
pub const LATENCY_BUCKETS: usize = OCTAVES * OCTAVE_BUCKETS;

/// 2^(j/32) for j from 0 to 32, in units of 2^-62.
const EDGES: [u64; OCTAVE_BUCKETS + 1] = edges();
/// For each 64th of an octave the bucket that its begin lies in; the narrowest bucket is wider than a 64th, so that the
/// rest of the 64th reaches into the next bucket at most.
const FIRST: [u8; 64] = first_buckets();
/// Fraction bits of a latency in microseconds while its bucket is sought.
const FRACTION: u32 = 26;
const LONGEST_NANOS: u64 = (1 << OCTAVES) * 1_000;

/// The bucket of `latency`: up to 1 µs the first, beyond 2^27 µs the last.
pub fn bucket_index(latency: Duration) -> usize {
    let nanos = match u64::try_from(latency.as_nanos()) {
        Ok(nanos) if nanos < LONGEST_NANOS => nanos,
        _ => return LATENCY_BUCKETS - 1,
    };
    // One less, so that an upper bound itself belongs to its bucket.
    let scaled = ((nanos << FRACTION) / 1_000).saturating_sub(1).max(1 << FRACTION);
    let octave = 63 - scaled.leading_zeros() - FRACTION;
    let mantissa = scaled << (62 - FRACTION - octave);
    let guess = usize::from(FIRST[((mantissa >> 56) & 63) as usize]);
    let bucket = guess + usize::from(mantissa >= EDGES[guess + 1]);
    octave as usize * OCTAVE_BUCKETS + bucket
}

/// The largest latency of the bucket at `index`; that of the last bucket for an index beyond.
pub fn upper_bound(index: usize) -> Duration {
    let place = index.min(LATENCY_BUCKETS - 1) + 1;
    let (octave, edge) = (place / OCTAVE_BUCKETS, EDGES[place % OCTAVE_BUCKETS]);
    Duration::from_nanos(((u128::from(edge) * 1_000) >> (62 - octave)) as u64)
}

const fn edges() -> [u64; OCTAVE_BUCKETS + 1] {
    let mut edges = [0; OCTAVE_BUCKETS + 1];
    edges[0] = 1 << 62;
    edges[OCTAVE_BUCKETS] = 1 << 63;
    let mut step = OCTAVE_BUCKETS;
    while step > 1 {
        let half = step / 2;
        let mut at = half;
        while at < OCTAVE_BUCKETS {
            // The geometric mean of two edges lies half-way between them.
            edges[at] = (edges[at - half] as u128 * edges[at + half] as u128).isqrt() as u64;
            at += step;
        }
        step = half;
    }
    edges
}

const fn first_buckets() -> [u8; 64] {
    let mut first = [0; 64];
    let mut part = 0;
    while part < 64 {
        let begin = (1 << 62) + ((part as u64) << 56);
        let mut bucket = 0;
        while EDGES[bucket + 1] <= begin {
            bucket += 1;
        }
        first[part] = bucket as u8;
        part += 1;
    }
    first
}

/// Counts of latencies by bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    octaves: Vec<Octave>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Octave {
    number: usize,
    counts: [u64; OCTAVE_BUCKETS],
}

impl Octave {
    fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        self.add(bucket_index(latency), 1);
    }

    /// Adds `count` to the bucket at `index`; an index beyond the last bucket counts for the last.
    pub fn add(&mut self, index: usize, count: u64) {
        if count == 0 {
            return;
        }
        let index = index.min(LATENCY_BUCKETS - 1);
        let slot = &mut self.octave(index / OCTAVE_BUCKETS).counts[index % OCTAVE_BUCKETS];
        *slot = slot.saturating_add(count);
    }

    /// Adds the counts of a whole octave; a number beyond the last octave counts for the last.
    pub fn add_octave(&mut self, number: usize, counts: &[u64; OCTAVE_BUCKETS]) {
        if counts.iter().all(|count| *count == 0) {
            return;
        }
        let octave = self.octave(number.min(OCTAVES - 1));
        for (slot, count) in octave.counts.iter_mut().zip(counts) {
            *slot = slot.saturating_add(*count);
        }
    }

    /// The octave with this number, put in its place if it was not there.
    fn octave(&mut self, number: usize) -> &mut Octave {
        let at = match self.octaves.binary_search_by_key(&number, |octave| octave.number) {
            Ok(at) => at,
            Err(at) => {
                self.octaves.insert(at, Octave { number, counts: [0; OCTAVE_BUCKETS] });
                at
            }
        };
        &mut self.octaves[at]
    }

    /// Adds every count of `other`.
    pub fn merge(&mut self, other: &Self) {
        other.octaves.iter().for_each(|octave| self.add_octave(octave.number, &octave.counts));
    }

    /// What was counted since `earlier`, an older state of the same histogram.
    pub fn difference(&self, earlier: &Self) -> Self {
        let mut octaves = self.octaves.clone();
        for octave in &mut octaves {
            let older = earlier.octaves.iter().find(|older| older.number == octave.number);
            for (count, past) in octave.counts.iter_mut().zip(older.iter().flat_map(|o| o.counts)) {
                *count = count.saturating_sub(past);
            }
        }
        octaves.retain(|octave| !octave.is_empty());
        Self { octaves }
    }

    /// The latency that a share `q` (0 to 1) of the counts does not exceed: the upper bound of its bucket. `None` when
    /// nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.count();
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        let mut reached = self.counts().skip_while(|(_, count)| {
            seen += count;
            seen < rank
        });
        reached.next().map(|(index, _)| upper_bound(index))
    }

    /// Number of latencies counted.
    pub fn count(&self) -> u64 {
        self.octaves.iter().flat_map(|octave| octave.counts).sum()
    }

    /// Number of latencies in the octaves below `octave`: those of at most 2^`octave` µs.
    pub fn count_below_octave(&self, octave: usize) -> u64 {
        let below = self.octaves.iter().take_while(|page| page.number < octave);
        below.flat_map(|page| page.counts).sum()
    }

    /// The buckets that are not empty, as (index, count), in ascending order.
    pub fn counts(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let buckets = |octave: &Octave| {
            let first = octave.number * OCTAVE_BUCKETS;
            octave.counts.into_iter().enumerate().map(move |(at, count)| (first + at, count))
        };
        self.octaves.iter().flat_map(buckets).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_bound_belongs_to_its_bucket_and_a_nanosecond_more_to_the_next() {
        for index in 0..LATENCY_BUCKETS {
            let bound = upper_bound(index);
            assert_eq!(bucket_index(bound), index, "at {bound:?}");
            let next = bucket_index(bound + Duration::from_nanos(1));
            assert_eq!(next, (index + 1).min(LATENCY_BUCKETS - 1), "after {bound:?}");
        }
    }

    #[test]
    fn bounds_grow_by_a_32nd_of_an_octave() {
        let exact = |index: usize| 2f64.powf((index + 1) as f64 / 32.0) * 1e-6;
        for index in 0..LATENCY_BUCKETS {
            let off = upper_bound(index).as_secs_f64() - exact(index);
            assert!((-1.1e-9..=1e-12).contains(&off), "bound {index} is off by {off}");
        }
    }

    #[test]
    fn powers_of_two_of_a_microsecond_are_exact() {
        for octave in 1..=OCTAVES {
            let bound = upper_bound(octave * OCTAVE_BUCKETS - 1);
            assert_eq!(bound, Duration::from_micros(1 << octave));
        }
    }

    #[test]
    fn what_is_off_the_scale_goes_to_the_ends() {
        for tiny in [0, 1, 999, 1_000] {
            assert_eq!(bucket_index(Duration::from_nanos(tiny)), 0);
        }
        for huge in [Duration::from_secs(135), Duration::from_secs(1 << 40), Duration::MAX] {
            assert_eq!(bucket_index(huge), LATENCY_BUCKETS - 1);
        }
        assert_eq!(upper_bound(usize::MAX), Duration::from_micros(1 << OCTAVES));
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().count(), 0);
    }

    #[test]
    fn the_octave_counts_are_those_at_or_below_the_bound() {
        let mut histogram = Histogram::default();
        for micros in [1_000, 1_024, 1_025, 90_000] {
            histogram.record(Duration::from_micros(micros));
        }
        assert_eq!(histogram.count_below_octave(9), 0);
        assert_eq!(histogram.count_below_octave(10), 2);
        assert_eq!(histogram.count_below_octave(11), 3);
        assert_eq!(histogram.count_below_octave(OCTAVES), 4);
    }

    fn of(micros: &[u32]) -> Histogram {
        let mut histogram = Histogram::default();
        micros.iter().for_each(|l| histogram.record(Duration::from_micros(u64::from(*l))));
        histogram
    }

    /// Micros over all scales alike.
    fn latencies(most: usize) -> impl Strategy<Value = Vec<u32>> {
        let one =
            (0..26u32, any::<u32>()).prop_map(|(bits, noise)| (noise | 1 << 31) >> (31 - bits));
        prop::collection::vec(one, 1..most)
    }

    proptest! {
        #[test]
        fn longer_never_means_a_lower_bucket(a in 0..140_000_000_000u64, b in 0..140_000_000_000u64) {
            let index = |nanos| bucket_index(Duration::from_nanos(nanos));
            prop_assert!(index(a.min(b)) <= index(a.max(b)));
        }

        #[test]
        fn a_quantile_is_at_most_2_2_percent_above_the_true_one(
            mut micros in latencies(300),
            q in 0.0..=1.0f64,
        ) {
            let read = of(&micros).quantile(q).unwrap().as_secs_f64() * 1e6;
            micros.sort_unstable();
            let rank = ((q * micros.len() as f64).ceil() as usize).clamp(1, micros.len());
            let truth = f64::from(micros[rank - 1]);
            prop_assert!(read >= truth - 0.001 && read <= truth * 1.022, "{read} for {truth}");
        }

        #[test]
        fn merging_then_subtracting_gives_back_the_other(a in latencies(60), b in latencies(60)) {
            let mut both = of(&a);
            both.merge(&of(&b));
            prop_assert_eq!(both.count(), (a.len() + b.len()) as u64);
            prop_assert_eq!(both.difference(&of(&a)), of(&b));
            prop_assert_eq!(of(&[a, b].concat()), both);
        }
    }
}
