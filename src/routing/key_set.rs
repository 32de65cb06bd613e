//! A bounded set of split keys that all workers add to without a lock: whoever is in it stays, whoever comes too late
//! stays out.
//!
//! Open addressing over atomic words, in segments that double and come into being when they are needed, so that a large
//! limit costs nothing before it is used. A slot once taken never changes, and a key's search ends at the first empty
//! slot: so of two workers that add the same key one finds the other's.
//!
//! Invariant: never more different keys than the limit at the time of their admission. Two workers that add the same key
//! while a segment fills up may count it twice: then one key fewer is admitted, never one more.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::decision::split::SplitKey;

/// Segments, each twice as large as the one before it.
const SEGMENTS: usize = 15;
/// Slots of the first segment.
const FIRST: usize = 1024;
/// Keys of the first segment: three quarters, so that a search always ends soon.
const FIRST_KEYS: u64 = 768;
/// Most keys there can be, whatever the limit: 25 million.
const CAPACITY: u64 = FIRST_KEYS * ((1 << SEGMENTS) - 1);

/// The word of an empty slot.
const EMPTY: u64 = 0;

/// Split keys, counted.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    segments: [OnceLock<Box<[AtomicU64]>>; SEGMENTS],
    count: AtomicU64,
}

impl KeySet {
    /// Whether `key` is in the set, or is now since there was room under `limit`.
    pub(super) fn admits(&self, key: SplitKey, limit: u64) -> bool {
        // The one key in 2^64 that looks like an empty slot shares its place with another.
        let word = key.0.max(1);
        if self.segments.iter().filter_map(OnceLock::get).any(|slots| contains(slots, word)) {
            return true;
        }
        let Some(number) = self.reserve(limit) else { return false };
        let segment = segment_of(number);
        let size = FIRST << segment;
        let slots = self.segments[segment]
            .get_or_init(|| (0..size).map(|_| AtomicU64::new(EMPTY)).collect());
        if !insert(slots, word) {
            self.count.fetch_sub(1, Relaxed);
        }
        true
    }

    /// Takes room for one without a key, which is told from no other and so counts each time.
    pub(super) fn admits_unknown(&self, limit: u64) -> bool {
        self.reserve(limit).is_some()
    }

    /// How many have been admitted.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Counts `known` keys whose names were lost.
    pub(super) fn restore(&self, known: u64) {
        self.count.fetch_add(known, Relaxed);
    }

    /// The number of one more, if there is room for it.
    fn reserve(&self, limit: u64) -> Option<u64> {
        let limit = limit.min(CAPACITY);
        let more = |count: u64| (count < limit).then_some(count + 1);
        self.count.fetch_update(Relaxed, Relaxed, more).ok()
    }
}

/// The segment of the key with this number: those before it are full.
fn segment_of(number: u64) -> usize {
    (number / FIRST_KEYS + 1).ilog2() as usize
}

fn contains(slots: &[AtomicU64], word: u64) -> bool {
    search(slots, word)
        .map(|slot| slot.load(Relaxed))
        .take_while(|held| *held != EMPTY)
        .any(|held| held == word)
}

/// Puts `word` into the first empty slot of its way; false when somebody else has put it there meanwhile.
fn insert(slots: &[AtomicU64], word: u64) -> bool {
    for slot in search(slots, word) {
        match slot.compare_exchange(EMPTY, word, Relaxed, Relaxed) {
            Ok(_) => return true,
            Err(held) if held == word => return false,
            Err(_) => {}
        }
    }
    // Not reached: a quarter of the slots stays empty. The key is admitted without being known, and counts again.
    true
}

/// The slots in the order in which `word` looks for its place.
fn search(slots: &[AtomicU64], word: u64) -> impl Iterator<Item = &AtomicU64> {
    // Fibonacci hashing (Knuth, TAOCP 6.4): the product's upper bits depend on all bits of the key.
    let hash = word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    // A power of two.
    let mask = slots.len() - 1;
    (0..slots.len()).map(move |step| &slots[(hash as usize + step) & mask])
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn who_is_in_stays_and_who_comes_too_late_stays_out() {
        let set = KeySet::default();
        for key in (1..5_000).chain(1..5_000) {
            assert_eq!(set.admits(SplitKey(key), 3_000), key <= 3_000, "{key}");
        }
        assert_eq!(set.count(), 3_000);
        assert!(set.admits(SplitKey(4_000), 3_001), "a limit that grows makes room");
        assert!(set.admits(SplitKey(7), 0), "a limit that falls sends nobody away");
    }

    #[test]
    fn the_limit_holds_among_many_threads() {
        let set = KeySet::default();
        let admitted: Vec<HashSet<u64>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..4u64)
                .map(|worker| {
                    let set = &set;
                    scope.spawn(move || {
                        let keys = (0..4_000).map(|n| 1 + (n * 7 + worker * 1_000) % 4_000);
                        keys.filter(|key| set.admits(SplitKey(*key), 1_500)).collect()
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let all: HashSet<u64> = admitted.into_iter().flatten().collect();
        assert!(all.len() <= 1_500, "{} keys were admitted", all.len());
        assert_eq!(set.count(), 1_500);
        assert!(all.iter().all(|key| set.admits(SplitKey(*key), 1_500)), "an admitted key stays");
    }

    #[test]
    fn segments_follow_one_another_without_a_gap() {
        assert_eq!((segment_of(0), segment_of(767)), (0, 0));
        assert_eq!((segment_of(768), segment_of(3 * 768 - 1)), (1, 1));
        assert_eq!(segment_of(3 * 768), 2);
        assert_eq!(segment_of(CAPACITY - 1), SEGMENTS - 1);
    }

    #[test]
    fn what_has_no_key_counts_each_time_and_what_was_lost_still_counts() {
        let set = KeySet::default();
        set.restore(2);
        assert!(set.admits_unknown(4) && set.admits_unknown(4));
        assert!(!set.admits_unknown(4) && !set.admits(SplitKey(1), 4));
    }
}
