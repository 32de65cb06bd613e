//! A route's rate limit, over all workers.
//!
//! Of each client a hash and one moment are kept, and nothing once the moment has passed. Their number is bounded: a client
//! that finds no room is let through and counted, for to refuse it would let whoever fills the room shut out everybody.

use std::{
    hash::RandomState,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry};

use crate::{
    config::model::{LimitKey, RateLimit},
    decision::quota::Quota,
    domain::Moment,
};

use super::BuildXxh3;

/// Clients that one limit tells apart at once: some megabytes.
const MOST: usize = 100_000;
/// Between two looks for clients that can be forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Why a request is not simply taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// It is refused; so long the client has to wait.
    Refused(Duration),
    /// There was no room to look after the client, and it is taken.
    Unknown,
}

/// The limit of one route.
#[derive(Debug)]
pub struct Limiter {
    quota: Quota,
    per: LimitKey,
    clients: Arc<Clients>,
}

/// What is remembered, also over a reload.
#[derive(Debug, Default)]
struct Clients {
    /// When a client's next request is due, by its hash.
    due: DashMap<u64, Moment, BuildXxh3>,
    /// Their number, so that nobody has to ask all parts of the map.
    known: AtomicUsize,
    refused: AtomicU64,
    swept: AtomicU64,
    /// Keys the hashes, so that nobody can make two clients one.
    hasher: RandomState,
}

impl Limiter {
    /// What `limit` asks for; goes on with what `before` remembers.
    pub(super) fn new(limit: &RateLimit, before: Option<&Self>) -> Self {
        let quota = Quota::new(limit.count, limit.period, limit.burst);
        let clients = before.map(|before| before.clients.clone()).unwrap_or_default();
        Self { quota, per: limit.per.clone(), clients }
    }

    /// Who shares a limit.
    pub const fn per(&self) -> &LimitKey {
        &self.per
    }

    /// Takes a request at `now` of the client that `key` stands for.
    ///
    /// # Errors
    /// [`Limited`] where it is not simply taken.
    pub fn take(&self, key: &[u8], now: Moment) -> Result<(), Limited> {
        use std::hash::BuildHasher as _;
        let clients = &self.clients;
        let hash = clients.hasher.hash_one(key);
        if let Some(mut due) = clients.due.get_mut(&hash) {
            return self.decide(&mut due, now);
        }
        if clients.known.load(Relaxed) >= MOST && !clients.sweep(now) {
            return Err(Limited::Unknown);
        }
        match clients.due.entry(hash) {
            Entry::Occupied(mut due) => self.decide(due.get_mut(), now),
            Entry::Vacant(place) => {
                clients.known.fetch_add(1, Relaxed);
                self.decide(&mut place.insert(Moment::default()), now)
            }
        }
    }

    /// Requests refused so far.
    pub fn refused(&self) -> u64 {
        self.clients.refused.load(Relaxed)
    }

    /// Forgets clients whose moment has passed.
    pub fn sweep(&self, now: Moment) {
        self.clients.sweep(now);
    }

    fn decide(&self, due: &mut Moment, now: Moment) -> Result<(), Limited> {
        match self.quota.take(*due, now) {
            Ok(next) => {
                *due = next;
                Ok(())
            }
            Err(wait) => {
                self.clients.refused.fetch_add(1, Relaxed);
                Err(Limited::Refused(wait))
            }
        }
    }
}

impl Clients {
    /// Looks for clients that can be forgotten, not too often; whether there is room now.
    fn sweep(&self, now: Moment) -> bool {
        let swept = self.swept.load(Relaxed);
        let due = now.as_nanos().saturating_sub(swept) >= SWEEP.as_nanos() as u64;
        if due && self.swept.compare_exchange(swept, now.as_nanos(), Relaxed, Relaxed).is_ok() {
            let mut gone = 0;
            self.due.retain(|_, due| {
                let stays = *due > now;
                gone += usize::from(!stays);
                stays
            });
            self.known.fetch_sub(gone, Relaxed);
        }
        self.known.load(Relaxed) < MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(count: u32, burst: u32, before: Option<&Limiter>) -> Limiter {
        let period = Duration::from_secs(1);
        Limiter::new(&RateLimit { per: LimitKey::Client, count, period, burst }, before)
    }

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(5_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn each_client_has_a_limit_of_its_own() {
        let limiter = limiter(10, 2, None);
        for key in [b"a", b"b"] {
            assert_eq!(limiter.take(key, at(0)), Ok(()));
            assert_eq!(limiter.take(key, at(0)), Ok(()));
            let wait = Duration::from_millis(100);
            assert_eq!(limiter.take(key, at(0)), Err(Limited::Refused(wait)));
            assert_eq!(limiter.take(key, at(100)), Ok(()));
        }
        assert_eq!(limiter.refused(), 2);
    }

    #[test]
    fn a_reload_forgets_nothing_and_counts_on() {
        let first = limiter(1, 1, None);
        first.take(b"a", at(0)).unwrap();
        first.take(b"a", at(0)).unwrap_err();
        let second = limiter(2, 1, Some(&first));
        assert!(second.take(b"a", at(0)).is_err());
        assert_eq!(second.refused(), 2);
    }

    #[test]
    fn the_number_of_clients_is_bounded_and_room_comes_back() {
        let limiter = limiter(1, 1, None);
        for key in 0..MOST as u64 {
            limiter.take(&key.to_be_bytes(), at(0)).unwrap();
        }
        assert_eq!(limiter.take(b"one more", at(0)), Err(Limited::Unknown));
        assert!(limiter.take(&0u64.to_be_bytes(), at(0)).is_err(), "a known one is still limited");
        // Their moments have passed, and a look is due.
        assert_eq!(limiter.take(b"one more", at(2_000)), Ok(()));
        assert_eq!(limiter.clients.due.len(), 1);
        assert_eq!(limiter.clients.known.load(Relaxed), 1);
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let limiter = limiter(1, 100, None);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        taken.fetch_add(u64::from(limiter.take(b"a", at(0)).is_ok()), Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 100);
    }
}
