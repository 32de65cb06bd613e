//! Which endpoint of the chosen backend takes the attempt.
//!
//! Endpoints out of use are skipped without bias: their share goes to all others alike, never to the neighbour alone.
//! Chance comes in as an argument, a fresh random number or a turn that the caller counts up.

use crate::domain::Balance;

/// The endpoints of one backend, by index. Their state may change while it is read.
pub trait Candidates {
    /// Number of endpoints.
    fn len(&self) -> usize;
    /// Whether there is no endpoint at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether the endpoint takes requests.
    fn usable(&self, index: usize) -> bool;
    /// How busy the endpoint is: requests under way, or what they cost.
    fn load(&self, index: usize) -> u64;
    /// The endpoint in a number, the same in every process.
    fn key(&self, index: usize) -> u64;
}

/// An endpoint by the backend's rule, or `None` when none but `tried` is usable.
///
/// `number` is fresh random bits for [`Balance::LeastInFlight`] and [`Balance::Ewma`], the count of earlier picks for
/// [`Balance::RoundRobin`], and the split key for [`Balance::Hash`].
pub fn pick(
    balance: Balance,
    candidates: &impl Candidates,
    number: u64,
    tried: Option<usize>,
) -> Option<usize> {
    match balance {
        Balance::LeastInFlight | Balance::Ewma => less_busy_of_two(candidates, number, tried),
        Balance::RoundRobin => round_robin(candidates, number, tried),
        Balance::Hash => by_key(candidates, number, tried),
    }
}

/// The less busy of two different endpoints drawn with the bits of `random`.
///
/// Two choices instead of the least of all: as even in practice (Mitzenmacher, "The Power of Two Choices in Randomized
/// Load Balancing", 2001), and workers that cannot see each other do not all run to the same idle endpoint.
pub fn less_busy_of_two(
    candidates: &impl Candidates,
    random: u64,
    tried: Option<usize>,
) -> Option<usize> {
    let usable = |index: usize| tried != Some(index) && candidates.usable(index);
    let count = candidates.len();
    // Almost always every endpoint is usable: then the first draw will do, however many there are.
    if let Some((one, other)) = draw_two(count, random)
        && usable(one)
        && usable(other)
    {
        return Some(less_busy(candidates, one, other));
    }
    let left = (0..count).filter(|index| usable(*index)).count();
    // An endpoint may have gone out of use since it was counted: the last one seen stands in for it.
    let nth = |rank: usize| (0..count).filter(|index| usable(*index)).take(rank + 1).last();
    match draw_two(left, remix(random)) {
        Some((one, other)) => Some(less_busy(candidates, nth(one)?, nth(other)?)),
        None => nth(0),
    }
}

/// The usable endpoints one after the other, as `turn` counts up.
pub fn round_robin(candidates: &impl Candidates, turn: u64, tried: Option<usize>) -> Option<usize> {
    let usable =
        || (0..candidates.len()).filter(|index| tried != Some(*index) && candidates.usable(*index));
    let left = usable().count() as u64;
    // Below the count, so it fits; `take` and `last` stand in for one that went out of use meanwhile.
    let rank = turn.checked_rem(left)? as usize;
    usable().take(rank + 1).last()
}

/// The endpoint that weighs most for `key`: rendezvous hashing (Thaler & Ravishankar, "Using Name-Based Mappings to Increase
/// Hit Rates", 1998). An endpoint that goes gives its keys to all others alike and moves no other key; one that comes back
/// takes back its own.
pub fn by_key(candidates: &impl Candidates, key: u64, tried: Option<usize>) -> Option<usize> {
    let usable = |index: &usize| tried != Some(*index) && candidates.usable(*index);
    (0..candidates.len()).filter(usable).max_by_key(|index| remix(key ^ candidates.key(*index)))
}

fn less_busy(candidates: &impl Candidates, one: usize, other: usize) -> usize {
    if candidates.load(other) < candidates.load(one) { other } else { one }
}

/// Two different numbers below `count`, every ordered pair alike; `None` when there are no two.
fn draw_two(count: usize, random: u64) -> Option<(usize, usize)> {
    if count < 2 {
        return None;
    }
    let one = below(count, random >> 32);
    let other = below(count - 1, random & 0xffff_ffff);
    Some((one, if other >= one { other + 1 } else { other }))
}

/// Scales 32 random bits to a number below `count` (Lemire's multiplication; its bias is below `count` / 2^32).
fn below(count: usize, bits: u64) -> usize {
    ((u128::from(bits) * count as u128) >> 32) as usize
}

/// Fresh bits from used ones: the finaliser of SplitMix64 (Steele, Lea & Flood 2014).
pub fn remix(used: u64) -> u64 {
    let mut z = used.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Balance; 4] =
        [Balance::LeastInFlight, Balance::RoundRobin, Balance::Ewma, Balance::Hash];

    struct Fleet(Vec<(bool, u32)>);

    impl Candidates for Fleet {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn usable(&self, index: usize) -> bool {
            self.0[index].0
        }
        fn load(&self, index: usize) -> u64 {
            self.0[index].1.into()
        }
        fn key(&self, index: usize) -> u64 {
            remix(index as u64)
        }
    }

    fn idle(usable: &[bool]) -> Fleet {
        Fleet(usable.iter().map(|usable| (*usable, 0)).collect())
    }

    fn tally(fleet: &Fleet, balance: Balance, rounds: u64, tried: Option<usize>) -> Vec<u64> {
        let mut hits = vec![0; fleet.len()];
        for round in 0..rounds {
            let number = match balance {
                Balance::LeastInFlight | Balance::Ewma | Balance::Hash => remix(round),
                Balance::RoundRobin => round,
            };
            hits[pick(balance, fleet, number, tried).unwrap()] += 1;
        }
        hits
    }

    /// Whether each usable endpoint was hit within five standard deviations of its even share, and no other at all.
    fn even(hits: &[u64], usable: impl Fn(usize) -> bool, rounds: u64) -> bool {
        let left = (0..hits.len()).filter(|at| usable(*at)).count() as f64;
        let mean = rounds as f64 / left;
        let spread = 5.0 * (mean * (1.0 - 1.0 / left)).sqrt();
        let fits = |(at, count): (usize, &u64)| match usable(at) {
            true => (*count as f64 - mean).abs() <= spread,
            false => *count == 0,
        };
        hits.iter().enumerate().all(fits)
    }

    #[test]
    fn two_choices_are_even_and_skip_without_bias() {
        for size in [2, 3, 10, 1_000] {
            for out in [usize::MAX, 0, size / 2] {
                let fleet = Fleet((0..size).map(|at| (at != out, 0)).collect());
                let rounds = 200 * size as u64;
                let hits = tally(&fleet, Balance::LeastInFlight, rounds, None);
                assert!(even(&hits, |at| at != out, rounds), "{size} without {out}: {hits:?}");
            }
        }
    }

    #[test]
    fn the_neighbours_of_dead_endpoints_get_no_more_than_others() {
        let usable: Vec<bool> = (0..10).map(|at| at == 4 || at > 6).collect();
        let hits = tally(&idle(&usable), Balance::LeastInFlight, 40_000, None);
        assert!(even(&hits, |at| usable[at], 40_000), "{hits:?}");
        let hits = tally(&idle(&usable), Balance::RoundRobin, 40_000, None);
        assert!(hits.iter().zip(&usable).all(|(n, up)| *n == if *up { 10_000 } else { 0 }));
    }

    #[test]
    fn the_tried_endpoint_is_left_out() {
        for balance in ALL {
            let fleet = idle(&[true; 10]);
            let hits = tally(&fleet, balance, 9_000, Some(3));
            assert!(even(&hits, |at| at != 3, 9_000), "{balance:?}: {hits:?}");
            assert_eq!(pick(balance, &idle(&[true]), 5, Some(0)), None);
            assert_eq!(pick(balance, &idle(&[true]), 5, None), Some(0));
        }
    }

    #[test]
    fn the_busy_one_of_two_is_never_taken() {
        let fleet = Fleet(vec![(true, 9), (true, 2)]);
        assert_eq!(tally(&fleet, Balance::LeastInFlight, 1_000, None), [0, 1_000]);
    }

    #[test]
    fn load_stays_level_over_a_thousand_endpoints() {
        let mut fleet = idle(&[true; 1_000]);
        for round in 0..100_000 {
            let index = pick(Balance::LeastInFlight, &fleet, remix(round), None).unwrap();
            fleet.0[index].1 += 1;
        }
        let most = fleet.0.iter().map(|(_, load)| *load).max();
        // The mean is 100; one random choice would reach about 135.
        assert!(most < Some(106), "{most:?}");
    }

    #[test]
    fn a_key_keeps_its_endpoint_whatever_becomes_of_others() {
        let whole = idle(&[true; 10]);
        let mut hurt = idle(&[true; 10]);
        hurt.0[3].0 = false;
        let mut moved = vec![0_u32; 10];
        for key in (0..10_000).map(remix) {
            let (before, after) = (by_key(&whole, key, None), by_key(&hurt, key, None));
            if before == Some(3) {
                moved[after.unwrap()] += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        let total: u32 = moved.iter().sum();
        assert!((850..1_150).contains(&total), "{moved:?}");
        assert!(moved.iter().enumerate().all(|(at, n)| at == 3 || (60..170).contains(n)));
    }

    #[test]
    fn turns_go_round_in_order() {
        let fleet = idle(&[true, false, true, true]);
        let order: Vec<_> = (0..6).map(|turn| round_robin(&fleet, turn, None)).collect();
        assert_eq!(order, [0, 2, 3, 0, 2, 3].map(Some));
    }

    proptest! {
        #[test]
        fn only_a_usable_untried_one_and_none_only_without(
            fleet in prop::collection::vec((any::<bool>(), 0..5u32), 0..20),
            number: u64,
            tried in prop::option::of(0..20usize),
        ) {
            let fleet = Fleet(fleet);
            let fits = |at: &usize| fleet.usable(*at) && tried != Some(*at);
            for balance in ALL {
                let picked = pick(balance, &fleet, number, tried);
                prop_assert_eq!(picked.is_some(), (0..fleet.len()).any(|at| fits(&at)));
                prop_assert!(picked.is_none_or(|at| fits(&at)));
            }
        }
    }
}
