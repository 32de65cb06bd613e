//! Thousands of lives, each from its seed.

use std::{collections::BTreeMap, env};

use crate::lives::live;

/// Lives of every run, the same each time.
const LIVES: u64 = 2_400;
/// Lives that no run has seen before.
const NEW_LIVES: u64 = 200;

/// Says which seed it was, when a life panics.
struct Naming(u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0} failed; TIDEGATE_SIM_SEED={0} replays it", self.0);
        }
    }
}

#[test]
fn thousands_of_lives_break_no_promise() {
    if let Ok(seed) = env::var("TIDEGATE_SIM_SEED") {
        let seed = seed.parse().expect("TIDEGATE_SIM_SEED is a number");
        let naming = Naming(seed);
        println!("seed {seed} ended {:?}", live(naming.0));
        return;
    }
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    let mut restarted = 0;
    let first_new = fastrand::u64(LIVES..u64::MAX - NEW_LIVES);
    println!("new lives begin with seed {first_new}");
    for seed in (0..LIVES).chain(first_new..first_new + NEW_LIVES) {
        let naming = Naming(seed);
        let end = live(naming.0);
        *ends.entry(end.phase).or_default() += 1;
        restarted += u64::from(end.restarted);
    }
    println!("{} lives: {ends:?}, {restarted} with restarts", LIVES + NEW_LIVES);
    // Lives that never get anywhere would break no promise either.
    for (phase, least) in [("promoted", 50), ("rolled_back", 200), ("paused", 20), ("failed", 10)] {
        assert!(ends.get(phase).is_some_and(|count| *count >= least), "{phase}: {ends:?}");
    }
    assert!(restarted > LIVES / 4);
}
