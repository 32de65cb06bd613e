//! Which backend the next request without affinity goes to.
//!
//! Chance would leave short runs lopsided: at a weight of 1 % a hundred requests may well bring the canary none, or four.
//! This sequence keeps each backend's count within one request of its exact share after *every* request, by Tijdeman's
//! rule for the chairman assignment problem ("The chairman assignment problem", Discrete Mathematics 32, 1980): of those
//! that are far enough behind, the one whose deadline comes first. For k backends the deviation stays within
//! 1 - 1/(2k - 2).
//!
//! Invariants: the deficits of all arms sum to zero between requests; an arm of weight zero does not exist, so it is never
//! chosen. A change of the weights begins a new sequence: the promise holds from then on.

use std::ops::Range;

use super::split::{BUCKETS, Bucket, SplitTable};

/// The state of one route on one worker.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    /// The layout that `arms` was made for.
    ends: Vec<u16>,
    arms: Vec<Arm>,
}

/// One backend of positive weight.
#[derive(Debug, Clone)]
struct Arm {
    share: usize,
    buckets: Range<u16>,
    /// Requests owed, in units of 1/10 000 request: positive when the backend had fewer than its share.
    deficit: i64,
    /// Place of the next bucket inside the range, and the way to the one after it.
    place: u16,
    stride: u16,
}

impl Sequence {
    /// The backend of the next request as an index into the split's shares, and a bucket that this backend owns.
    ///
    /// Allocates only when the weights of `table` differ from those of the call before.
    pub fn next(&mut self, table: &SplitTable) -> (usize, Bucket) {
        if self.ends != table.ends() {
            self.restart(table);
        }
        let arm = match self.arms.as_mut_slice() {
            [only] => only,
            arms => appoint(arms),
        };
        (arm.share, arm.walk())
    }

    fn restart(&mut self, table: &SplitTable) {
        self.ends.clear();
        self.ends.extend_from_slice(table.ends());
        self.arms.clear();
        let shares = (0..table.shares()).map(|share| (share, table.buckets(share)));
        self.arms.extend(
            shares
                .filter(|(_, buckets)| !buckets.is_empty())
                .map(|(share, buckets)| Arm::new(share, buckets)),
        );
    }
}

impl Arm {
    fn new(share: usize, buckets: Range<u16>) -> Self {
        let stride = even_stride(buckets.end - buckets.start);
        Self { share, buckets, deficit: 0, place: 0, stride }
    }

    fn weight(&self) -> i64 {
        i64::from(self.buckets.end - self.buckets.start)
    }

    /// The next bucket of the range; each comes once in as many calls as the range is wide.
    fn walk(&mut self) -> Bucket {
        let bucket = Bucket::inside(&self.buckets, self.place);
        let width = self.buckets.end - self.buckets.start;
        self.place = (self.place + self.stride) % width;
        bucket
    }
}

/// Credits every arm with its weight and charges one of them, by Tijdeman's rule, with a whole request.
fn appoint(arms: &mut [Arm]) -> &mut Arm {
    let whole = i64::from(BUCKETS);
    // 2k - 2; at least two arms, for a single one needs no rule.
    let scale = 2 * arms.len() as i64 - 2;
    let mut chosen = 0;
    // Slack of the chosen one until its deadline and its weight: compared as fractions, by cross multiplication.
    let mut first: Option<(i64, i64)> = None;
    for (at, arm) in arms.iter_mut().enumerate() {
        let weight = arm.weight();
        arm.deficit += weight;
        let owed = scale * arm.deficit;
        if owed < whole {
            continue;
        }
        let slack = (scale - 1) * whole - owed;
        if first.is_none_or(|(least, of)| slack * of < least * weight) {
            first = Some((slack, weight));
            chosen = at;
        }
    }
    // The deficits sum to one whole request here, so at least one arm was far enough behind.
    debug_assert!(first.is_some());
    let arm = &mut arms[chosen];
    arm.deficit -= whole;
    arm
}

/// A step that visits all of `width` places before it repeats and leaves no part of them out for long: the number next to
/// the golden section of the width that shares no divisor with it.
fn even_stride(width: u16) -> u16 {
    let golden = (u32::from(width) * 618 / 1_000) as u16;
    (golden..width).chain(1..golden).find(|step| coprime(*step, width)).unwrap_or(1)
}

fn coprime(mut a: u16, mut b: u16) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::split::tests::{table, weights};
    use super::*;

    /// Largest deviation of any count from its exact share, in 1/10 000 request, over `requests` requests.
    fn worst_deviation(sequence: &mut Sequence, weights: &[u16], requests: i64) -> i64 {
        let table = table(weights);
        let mut counts = vec![0i64; weights.len()];
        let mut worst = 0;
        for sent in 1..=requests {
            let (share, bucket) = sequence.next(&table);
            assert!(table.buckets(share).contains(&bucket.number()), "a bucket of another backend");
            counts[share] += 1;
            for (count, weight) in counts.iter().zip(weights) {
                worst = worst.max((count * 10_000 - sent * i64::from(*weight)).abs());
            }
        }
        worst
    }

    #[test]
    fn two_backends_deviate_by_half_a_request_at_any_weight_and_time() {
        for green in (0..=10_000).step_by(37).chain([1, 9_999, 10_000]) {
            let worst = worst_deviation(&mut Sequence::default(), &[10_000 - green, green], 3_000);
            assert!(worst <= 5_000, "{worst} at a weight of {green}");
        }
    }

    #[test]
    fn a_whole_period_is_exact() {
        for green in [1, 100, 333, 5_000, 9_999] {
            let table = table(&[10_000 - green, green]);
            let mut sequence = Sequence::default();
            let hits = (0..10_000).filter(|_| sequence.next(&table).0 == 1).count();
            assert_eq!(hits, usize::from(green));
        }
    }

    #[test]
    fn nothing_means_never_even_after_other_weights() {
        let mut sequence = Sequence::default();
        let before = table(&[5_000, 5_000]);
        sequence.next(&before);
        let off = table(&[10_000, 0]);
        assert!((0..1_000).all(|_| sequence.next(&off).0 == 0));
    }

    #[test]
    fn buckets_of_a_backend_are_walked_evenly() {
        let table = table(&[0, 9_000, 1_000]);
        let mut sequence = Sequence::default();
        let mut hits = vec![0u32; 10_000];
        (0..100_000).for_each(|_| hits[usize::from(sequence.next(&table).1.number())] += 1);
        assert!(hits.iter().all(|count| *count == 10), "some bucket was not hit ten times");
    }

    #[test]
    fn a_short_walk_leaves_no_part_of_the_range_out() {
        let table = table(&[10_000]);
        let mut sequence = Sequence::default();
        let mut tenths = [0u32; 10];
        (0..100).for_each(|_| tenths[usize::from(sequence.next(&table).1.number() / 1_000)] += 1);
        assert!(tenths.iter().all(|count| (8..=12).contains(count)), "{tenths:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn many_backends_stay_within_one_request(weights in weights(10)) {
            let worst = worst_deviation(&mut Sequence::default(), &weights, 2_000);
            prop_assert!(worst < 10_000, "{} in 1/10 000 request", worst);
        }

        #[test]
        fn the_promise_holds_anew_after_each_change(changes in prop::collection::vec(weights(4), 2..6)) {
            let mut sequence = Sequence::default();
            for weights in changes {
                let worst = worst_deviation(&mut sequence, &weights, 200);
                prop_assert!(worst < 10_000, "{} in 1/10 000 request", worst);
            }
        }
    }
}
