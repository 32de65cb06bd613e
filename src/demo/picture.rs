//! How the demo stands at a moment: counters made into shares, rates and latencies of the last seconds.

use std::{collections::VecDeque, time::Duration};

use super::{
    operator::Standing,
    side::{Side, Sides},
    tally::Tally,
};
use crate::{
    admin::wire::{RolloutStatus, RouteStatus},
    domain::Moment,
};

/// Span over which rates and latencies are taken.
const WINDOW: Duration = Duration::from_secs(5);

/// All that is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    /// Since the demo began.
    pub(super) elapsed: Duration,
    /// Share that the split gives each side, 0 to 1; `None` when the route is gone.
    pub(super) wanted: Option<Sides<f64>>,
    /// Who set the split, where it is neither the file nor the rollout.
    pub(super) set_by: Option<String>,
    /// The rollout; `None` when it is gone.
    pub(super) rollout: Option<RolloutStatus>,
    /// Each side over the last seconds.
    pub(super) sides: Sides<SidePicture>,
    /// Requests since the demo began, failed ones included.
    pub(super) requests: u64,
    /// Failed ones among them.
    pub(super) failures: u64,
    /// What went wrong first.
    pub(super) first_failure: Option<String>,
    /// Sessions that changed sides, by where they went.
    pub(super) moves: Sides<u64>,
}

/// One side over the last seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct SidePicture {
    /// Share of the requests that its server has seen, 0 to 1; `None` when there were none.
    pub(super) seen: Option<f64>,
    /// Requests that its server has seen, per second.
    pub(super) requests_per_s: f64,
    /// Median time to the end of the answer.
    pub(super) p50: Option<Duration>,
    /// Time that 95 of 100 answers did not exceed.
    pub(super) p95: Option<Duration>,
    /// Sessions that it answered last.
    pub(super) sessions: usize,
}

/// Counters at a moment.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    /// When.
    pub(super) at: Moment,
    /// Requests that each server has seen.
    pub(super) seen: Sides<u64>,
    /// What the sessions got.
    pub(super) tally: Tally,
}

/// Makes pictures of readings.
#[derive(Debug)]
pub(super) struct Camera {
    begin: Moment,
    readings: VecDeque<Reading>,
}

impl Camera {
    /// Of a demo that begins with `first`.
    pub(super) fn new(first: Reading) -> Self {
        Self { begin: first.at, readings: VecDeque::from([first]) }
    }

    /// The picture of `now`, measured against the newest reading that is a window old, or the first.
    pub(super) fn picture(&mut self, now: Reading, standing: Standing) -> Picture {
        let Standing { route, rollout } = standing;
        let route = route.as_ref();
        while self.readings.get(1).is_some_and(|next| now.at.since(next.at) >= WINDOW) {
            self.readings.pop_front();
        }
        let then = self.readings.front().unwrap_or(&now);
        let span = now.at.since(then.at).as_secs_f64();
        let fresh = Sides::of(|side| now.seen[side].saturating_sub(then.seen[side]));
        let all = fresh[Side::Blue] + fresh[Side::Green];
        let side = |side| {
            let latencies = now.tally.latencies[side].difference(&then.tally.latencies[side]);
            SidePicture {
                seen: (all > 0).then(|| fresh[side] as f64 / all as f64),
                requests_per_s: if span > 0.0 { fresh[side] as f64 / span } else { 0.0 },
                p50: latencies.histogram.quantile(0.50),
                p95: latencies.histogram.quantile(0.95),
                sessions: now.tally.sessions_at(side),
            }
        };
        let share = |route: &RouteStatus, side: Side| {
            route.split.get(side.name()).map_or(0.0, |weight| weight.share())
        };
        let picture = Picture {
            elapsed: now.at.since(self.begin),
            wanted: route.map(|route| Sides::of(|side| share(route, side))),
            set_by: route.and_then(|route| route.set.as_ref()).map(|set| set.actor.clone()),
            rollout,
            sides: Sides::of(side),
            requests: now.tally.requests(),
            failures: now.tally.failures,
            first_failure: now.tally.first_failure.clone(),
            moves: now.tally.moves,
        };
        self.readings.push_back(now);
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(second: u64, blue: u64, green: u64) -> Reading {
        let mut tally = Tally::new(1);
        for _ in 0..blue {
            tally.answered(0, Side::Blue, Duration::from_millis(1));
        }
        let seen = Sides::of(|side| if side == Side::Blue { blue } else { green });
        Reading { at: Moment::default() + Duration::from_secs(second), seen, tally }
    }

    #[test]
    fn rates_are_of_the_last_seconds_alone() {
        let mut camera = Camera::new(reading(0, 0, 0));
        let first = camera.picture(reading(1, 80, 20), Standing::default());
        assert_eq!(first.sides[Side::Blue].requests_per_s, 80.0);
        assert_eq!(first.sides[Side::Green].seen, Some(0.2));
        for second in 2..=20 {
            camera.picture(reading(second, 80, 20), Standing::default());
        }
        let later = camera.picture(reading(21, 80, 30), Standing::default());
        assert_eq!(later.sides[Side::Green].requests_per_s, 2.0);
        assert_eq!(later.sides[Side::Green].seen, Some(1.0));
        assert_eq!(later.sides[Side::Blue].p50, None);
        assert_eq!(later.elapsed, Duration::from_secs(21));
        assert!(camera.readings.len() < 10, "old readings are let go");
    }
}
