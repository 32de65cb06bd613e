//! Whether one more request fits a rate: the generic cell rate algorithm (ITU-T I.371, "virtual scheduling").
//!
//! All that is kept of a client is one moment: when its next request would be due, if it spread them evenly. A request may
//! come early by as much as the burst allows. A moment that has passed says nothing, and can be forgotten.

use std::time::Duration;

use crate::domain::Moment;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Between two requests of an even stream, in nanoseconds; at least one.
    interval: u64,
    /// How much too early a request may come.
    tolerance: u64,
}

impl Quota {
    /// `count` requests each `period`, and `burst` of them at once; zeros are taken for ones.
    pub fn new(count: u32, period: Duration, burst: u32) -> Self {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        let interval = (period / u64::from(count.max(1))).max(1);
        Self { interval, tolerance: interval.saturating_mul(u64::from(burst.max(1) - 1)) }
    }

    /// Takes a request at `now` of a client whose next one is due at `due`, and gives when the one after it is; or how long
    /// the client has to wait.
    ///
    /// # Errors
    /// The shortest wait after which a request is taken.
    pub fn take(self, due: Moment, now: Moment) -> Result<Moment, Duration> {
        let (due, now) = (due.as_nanos().max(now.as_nanos()), now.as_nanos());
        let early = due - now;
        if early > self.tolerance {
            return Err(Duration::from_nanos(early - self.tolerance));
        }
        Ok(Moment::from_nanos(due.saturating_add(self.interval)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Moments at which requests that come after `gaps` are taken.
    fn taken(quota: Quota, gaps: &[u64]) -> Vec<u64> {
        let (mut due, mut now, mut taken) = (Moment::default(), 1_000_000, Vec::new());
        for gap in gaps {
            now += gap;
            if let Ok(next) = quota.take(due, Moment::from_nanos(now)) {
                due = next;
                taken.push(now);
            }
        }
        taken
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let quota = Quota::new(10, Duration::from_secs(1), 3);
        // Five at once, then one each 50 ms: every other one is taken.
        let gaps: Vec<_> = [0; 5].into_iter().chain([50_000_000; 8]).collect();
        assert_eq!(taken(quota, &gaps).len(), 3 + 4);
    }

    proptest! {
        #[test]
        fn no_span_holds_more_than_the_burst_and_the_rate(
            count in 1u32..1_000,
            burst in 1u32..50,
            gaps in prop::collection::vec(0u64..50_000_000, 1..200),
        ) {
            let quota = Quota::new(count, Duration::from_secs(1), burst);
            let taken = taken(quota, &gaps);
            for (at, first) in taken.iter().enumerate() {
                for (more, last) in taken[at..].iter().enumerate() {
                    let allowed = u64::from(burst) + (last - first) / quota.interval;
                    prop_assert!((more as u64) < allowed);
                }
            }
        }

        #[test]
        fn an_even_stream_at_the_rate_is_taken_whole(count in 1u32..1_000, burst in 1u32..50) {
            let quota = Quota::new(count, Duration::from_secs(1), burst);
            prop_assert_eq!(taken(quota, &vec![quota.interval; 100]).len(), 100);
        }

        #[test]
        fn the_wait_is_exact(
            count in 1u32..1_000,
            burst in 1u32..50,
            due in 0u64..10_000_000_000,
            now in 0u64..10_000_000_000,
        ) {
            let quota = Quota::new(count, Duration::from_secs(1), burst);
            let due = Moment::from_nanos(due);
            if let Err(wait) = quota.take(due, Moment::from_nanos(now)) {
                let then = Moment::from_nanos(now) + wait;
                prop_assert!(quota.take(due, then).is_ok());
                let before = Moment::from_nanos(then.as_nanos() - 1);
                prop_assert!(quota.take(due, before).is_err());
            }
        }
    }
}
