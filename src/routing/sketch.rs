//! How many different split keys there were, within a few percent, in four kilobytes: HyperLogLog.
//!
//! Source: Flajolet, Fusy, Gandouet and Meunier, "HyperLogLog: the analysis of a near-optimal cardinality estimation
//! algorithm" (2007), with its linear counting for small numbers. 4 096 registers have a standard error of 1.6 %.
//!
//! All workers write to it. A key that has been seen, and later nearly every other one, only reads.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use xxhash_rust::xxh3::xxh3_64;

use crate::decision::split::SplitKey;

/// Bits of a hash that name its register.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;

/// An estimate of how many keys were added.
#[derive(Debug)]
pub(super) struct Sketch(Box<[AtomicU8; REGISTERS]>);

impl Default for Sketch {
    fn default() -> Self {
        Self(Box::new([const { AtomicU8::new(0) }; _]))
    }
}

impl Sketch {
    /// Counts `key`, if it was not counted before.
    pub(super) fn add(&self, key: SplitKey) {
        let hash = xxh3_64(&key.0.to_le_bytes());
        let register = &self.0[(hash >> (u64::BITS - INDEX_BITS)) as usize];
        // The bit after the last one that counts, so that a rank is 53 at most.
        let rest = hash << INDEX_BITS | 1 << (INDEX_BITS - 1);
        let rank = rest.leading_zeros() as u8 + 1;
        if register.load(Relaxed) < rank {
            register.fetch_max(rank, Relaxed);
        }
    }

    /// How many different keys were added, give or take some percent; exact to a few for small numbers.
    pub(super) fn estimate(&self) -> u64 {
        let registers = REGISTERS as f64;
        let (mut sum, mut empty) = (0.0, 0u32);
        for register in &*self.0 {
            let rank = register.load(Relaxed);
            sum += (-f64::from(rank)).exp2();
            empty += u32::from(rank == 0);
        }
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let few = raw <= 2.5 * registers && empty > 0;
        let estimate = if few { registers * (registers / f64::from(empty)).ln() } else { raw };
        estimate.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_near_at_every_size() {
        let sketch = Sketch::default();
        assert_eq!(sketch.estimate(), 0);
        let mut next = 0;
        for size in [1u64, 10, 100, 1_000, 10_000, 30_000, 300_000] {
            (next..size).for_each(|key| sketch.add(SplitKey(key)));
            next = size;
            // Five standard errors, and one key for rounding.
            let (estimate, spread) = (sketch.estimate() as f64, 5.0 * 0.0163 * size as f64 + 1.0);
            assert!((estimate - size as f64).abs() <= spread, "{estimate} of {size}");
        }
    }

    #[test]
    fn a_key_counts_once() {
        let sketch = Sketch::default();
        (0..10_000).for_each(|n| sketch.add(SplitKey(n % 7)));
        assert_eq!(sketch.estimate(), 7);
    }
}
