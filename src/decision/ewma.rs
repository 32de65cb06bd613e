//! How busy an endpoint is by the time it takes to answer: a moving average that follows a rise at once and a fall slowly.
//!
//! "Peak EWMA" of Finagle (`com.twitter.finagle.loadbalancer.PeakEwma`): the cost of an endpoint is its average latency times
//! the requests that would wait there. An average that is not renewed falls, so that an endpoint that was slow is tried again.

use std::time::Duration;

use crate::domain::Moment;

/// After this an average weighs 1/e of what is new.
const DECAY_S: f64 = 10.0;

/// Cost of a request that waits at an endpoint of which nothing is known yet, in microseconds: it does not get them all
/// before its first answer.
const UNKNOWN_US: f64 = 1e6;

/// What a failure counts at least: failing fast must not draw traffic.
const FAILURE: Duration = Duration::from_secs(1);

/// An average latency.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ewma {
    /// Microseconds; 0 when nothing is known.
    pub average_us: f64,
    /// When it was last renewed.
    pub at: Moment,
}

impl Ewma {
    /// The average with one more `latency`, seen at `now`.
    #[must_use]
    pub fn with(self, latency: Duration, failed: bool, now: Moment) -> Self {
        let latency = if failed { latency.max(FAILURE) } else { latency };
        let new_us = latency.as_secs_f64() * 1e6;
        let kept = self.kept(now);
        let average_us = match new_us > self.average_us {
            true => new_us,
            false => self.average_us * kept + new_us * (1.0 - kept),
        };
        Self { average_us, at: now }
    }

    /// What one more request costs beside `in_flight` others, in microseconds.
    pub fn cost(self, in_flight: u32, now: Moment) -> f64 {
        let waiting = f64::from(in_flight);
        if self.average_us == 0.0 {
            return UNKNOWN_US * waiting;
        }
        self.average_us * self.kept(now) * (waiting + 1.0)
    }

    fn kept(self, now: Moment) -> f64 {
        (-now.since(self.at).as_secs_f64() / DECAY_S).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_rise_counts_at_once_and_a_fall_slowly() {
        let fast = Ewma::default().with(ms(10), false, at(1));
        let slow = fast.with(ms(500), false, at(1));
        assert_eq!((fast.average_us, slow.average_us), (10_000.0, 500_000.0));
        let better = slow.with(ms(10), false, at(11)).average_us;
        assert!((190_000.0..191_000.0).contains(&better), "{better}");
    }

    #[test]
    fn waiting_requests_and_latency_both_cost() {
        let fast = Ewma::default().with(ms(10), false, at(1));
        let slow = Ewma::default().with(ms(40), false, at(1));
        assert!(fast.cost(2, at(1)) < slow.cost(0, at(1)));
        assert!(fast.cost(4, at(1)) > slow.cost(0, at(1)));
        assert!(slow.cost(0, at(60)) < fast.cost(0, at(1)), "it is tried again one day");
    }

    #[test]
    fn failing_fast_draws_no_traffic_and_what_is_new_does_not_get_all() {
        let broken = Ewma::default().with(ms(1), true, at(1));
        let slow = Ewma::default().with(ms(300), false, at(1));
        assert!(broken.cost(0, at(1)) > slow.cost(0, at(1)));
        let new = Ewma::default();
        assert!(new.cost(0, at(1)) < slow.cost(0, at(1)));
        assert!(new.cost(1, at(1)) > slow.cost(0, at(1)));
    }
}
