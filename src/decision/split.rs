//! Which backend a split key goes to.
//!
//! A key falls into one of 10 000 buckets, and each backend owns a range of them as wide as its weight. The *last* share
//! of a split owns the lowest buckets, so that growing it only takes keys from the others: nothing is remembered per
//! session, and every worker, every proxy of a fleet and every restart agrees.
//!
//! Invariants: the ranges cover all buckets without gap or overlap; a weight of zero owns none, a full weight all.

use std::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::domain::{BackendName, Split, Weight};

/// Buckets of a split: one for each basis point.
pub const BUCKETS: u16 = 10_000;

/// What decides the split for a session: the same key always falls into the same bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SplitKey(pub u64);

impl SplitKey {
    /// The key of a session named by `bytes`: a cookie, a header, an address.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }

    /// The bucket of this key; another `salt` shuffles the buckets anew.
    pub fn bucket(self, salt: u64) -> Bucket {
        let hash = xxh3_64_with_seed(&self.0.to_le_bytes(), salt);
        // Below 10 000, so the cast is exact; the modulus favours no bucket by more than 1 in 10^15.
        Bucket((hash % u64::from(BUCKETS)) as u16)
    }
}

/// One of the slots that a split divides among its backends: 0 to 9 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket with this number, or `None` above 9 999.
    pub const fn new(number: u16) -> Option<Self> {
        if number < BUCKETS { Some(Self(number)) } else { None }
    }

    /// Its number, 0 to 9 999.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The bucket `steps` above the begin of `range`, which holds more than `steps`.
    pub(super) fn inside(range: &Range<u16>, steps: u16) -> Self {
        debug_assert!(steps < range.end - range.start);
        Self(range.start + steps)
    }
}

/// A [`Split`] made ready for look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitTable {
    /// For each share the bucket after its last one: descending, the first is 10 000.
    ends: Box<[u16]>,
}

impl SplitTable {
    /// Lays the shares of `split` out over the buckets, in their order.
    pub fn new(split: &Split) -> Self {
        Self::lay_out(split.shares().iter().map(|(_, weight)| *weight))
    }

    /// Lays the shares out so that `canary` owns the lowest buckets, whatever its name: its indexes are those of
    /// [`canary_last`].
    pub fn with_canary(split: &Split, canary: &BackendName) -> Self {
        Self::lay_out(canary_last(split, canary).map(|(_, weight)| *weight))
    }

    fn lay_out(weights: impl DoubleEndedIterator<Item = Weight>) -> Self {
        let mut end = 0;
        let mut ends: Vec<u16> = weights
            .rev()
            .map(|weight| {
                end += weight.basis_points();
                end
            })
            .collect();
        ends.reverse();
        Self { ends: ends.into() }
    }

    /// The backend that owns `bucket`, as an index into the shares as they were laid out.
    pub fn choose(&self, bucket: Bucket) -> usize {
        // The first end is 10 000, above every bucket: at least one share lies below the partition point.
        self.ends.partition_point(|end| bucket.0 < *end).saturating_sub(1)
    }

    /// The buckets that the share at `index` owns; empty for a weight of zero and for an index out of range.
    pub fn buckets(&self, index: usize) -> Range<u16> {
        match self.ends.get(index) {
            Some(end) => self.ends.get(index + 1).copied().unwrap_or(0)..*end,
            None => 0..0,
        }
    }

    /// Number of shares, those of weight zero included; at least one.
    pub fn shares(&self) -> usize {
        self.ends.len()
    }

    /// Where each share ends: equal for two tables that send every bucket the same way.
    pub(super) fn ends(&self) -> &[u16] {
        &self.ends
    }
}

/// The shares of `split` in their order, but for that of `canary`, which comes last.
pub fn canary_last<'a>(
    split: &'a Split,
    canary: &'a BackendName,
) -> impl DoubleEndedIterator<Item = &'a (BackendName, Weight)> {
    let others = split.shares().iter().filter(move |(name, _)| name != canary);
    others.chain(split.shares().iter().filter(move |(name, _)| name == canary))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{BackendName, Weight};

    pub(in crate::decision) fn table(weights: &[u16]) -> SplitTable {
        let shares = weights.iter().enumerate().map(|(at, points)| {
            let name = BackendName::new(&format!("b{at:03}")).unwrap();
            (name, Weight::from_basis_points(*points).unwrap())
        });
        SplitTable::new(&Split::new(shares.collect()).unwrap())
    }

    fn all_buckets() -> impl Iterator<Item = Bucket> {
        (0..BUCKETS).map(|number| Bucket::new(number).unwrap())
    }

    /// Weights that sum to 10 000: differences of sorted cuts.
    pub(in crate::decision) fn weights(most: usize) -> impl Strategy<Value = Vec<u16>> {
        prop::collection::vec(0..=BUCKETS, 0..most).prop_map(|mut cuts| {
            cuts.extend([0, BUCKETS]);
            cuts.sort_unstable();
            cuts.windows(2).map(|pair| pair[1] - pair[0]).collect()
        })
    }

    #[test]
    fn the_last_share_owns_the_lowest_buckets() {
        let table = table(&[9_000, 1_000]);
        assert_eq!(table.choose(Bucket(0)), 1);
        assert_eq!(table.choose(Bucket(999)), 1);
        assert_eq!(table.choose(Bucket(1_000)), 0);
        assert_eq!(table.choose(Bucket(9_999)), 0);
    }

    #[test]
    fn a_canary_owns_the_lowest_buckets_whatever_its_name() {
        let name = |text| BackendName::new(text).unwrap();
        let weight = |points| Weight::from_basis_points(points).unwrap();
        let shares = [("blue", 1_000), ("green", 9_000)];
        let split = Split::new(shares.map(|(at, points)| (name(at), weight(points))).into());
        let split = split.unwrap();
        let canary = name("blue");
        let blue = SplitTable::with_canary(&split, &canary);
        assert_eq!((blue.choose(Bucket(0)), blue.choose(Bucket(999))), (1, 1));
        assert_eq!(blue.choose(Bucket(1_000)), 0);
        let order: Vec<_> = canary_last(&split, &canary).map(|(at, _)| at.as_str()).collect();
        assert_eq!(order, ["green", "blue"]);
        assert_eq!(SplitTable::with_canary(&split, &name("green")), SplitTable::new(&split));
    }

    #[test]
    fn nothing_and_everything_are_exact() {
        assert!(all_buckets().all(|bucket| table(&[10_000, 0]).choose(bucket) == 0));
        assert!(all_buckets().all(|bucket| table(&[0, 10_000]).choose(bucket) == 1));
        assert!(all_buckets().all(|bucket| table(&[0, 10_000, 0]).choose(bucket) == 1));
        assert!(all_buckets().all(|bucket| table(&[10_000]).choose(bucket) == 0));
    }

    #[test]
    fn growing_green_never_moves_a_key_back() {
        let steps = [0, 1_000, 2_500, 5_000, 10_000].map(|green| table(&[10_000 - green, green]));
        for key in (0..20_000u64).map(SplitKey) {
            let sides = steps.each_ref().map(|table| table.choose(key.bucket(7)));
            assert!(sides.is_sorted(), "{key:?} went from green to blue: {sides:?}");
        }
    }

    #[test]
    fn keys_spread_over_the_buckets_as_chance_would() {
        let keys = 100_000u32;
        let green = table(&[9_000, 1_000]);
        let hits = (0..keys)
            .filter(|n| green.choose(SplitKey::of(&n.to_le_bytes()).bucket(1)) == 1)
            .count();
        let (mean, sigma) = (10_000.0, (100_000.0f64 * 0.1 * 0.9).sqrt());
        assert!((hits as f64 - mean).abs() < 3.0 * sigma, "{hits} of {keys} at 10 %");
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // A second tier in another language must agree: XXH3 of the text, then of its eight bytes with the salt.
        assert_eq!(SplitKey::of(b""), SplitKey(0x2d06_8005_38d3_94c2));
        let same = (0..100u64).map(SplitKey).filter(|key| key.bucket(1) == key.bucket(2)).count();
        assert!(same < 5, "the salt does not shuffle: {same} of 100 stayed");
    }

    proptest! {
        #[test]
        fn ranges_are_exact_and_cover_every_bucket(weights in weights(12)) {
            let table = table(&weights);
            let mut counts = vec![0u16; weights.len()];
            for bucket in all_buckets() {
                let share = table.choose(bucket);
                prop_assert!(table.buckets(share).contains(&bucket.number()));
                counts[share] += 1;
            }
            prop_assert_eq!(counts, weights);
        }

        #[test]
        fn growing_the_last_share_only_takes(before in 0..=BUCKETS, after in 0..=BUCKETS) {
            let (low, high) = (before.min(after), before.max(after));
            let (small, large) = (table(&[BUCKETS - low, low]), table(&[BUCKETS - high, high]));
            for bucket in all_buckets() {
                prop_assert!(small.choose(bucket) <= large.choose(bucket));
            }
        }
    }
}
