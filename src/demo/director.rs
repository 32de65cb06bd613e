//! Who lets the scenario happen while somebody watches.

use std::time::Duration;

use super::{cast::Cast, load::Volume, operator::Standing, proof, scenario::Scenario};
use crate::domain::Moment;

const RATE: u32 = 200;
/// How long hardly anybody asks, once the rollout waits for somebody to.
const QUIET: Duration = Duration::from_secs(10);

/// The load while somebody watches.
pub(super) const fn volume(scenario: Scenario) -> Volume {
    let Volume { requests_per_s, .. } = proof::volume(scenario);
    // As thin as in the proof, or as much as a table can follow.
    let requests_per_s = if requests_per_s < RATE { requests_per_s } else { RATE };
    Volume { sessions: 300, requests_per_s }
}

/// Watches the rollout for its cue.
#[derive(Debug)]
pub(super) struct Director {
    scenario: Scenario,
    holding_since: Option<Moment>,
    done: bool,
}

impl Director {
    /// Of that scenario.
    pub(super) const fn new(scenario: Scenario) -> Self {
        Self { scenario, holding_since: None, done: false }
    }

    /// Does what is due, once.
    pub(super) fn direct(&mut self, cast: &Cast, standing: &Standing, now: Moment) {
        if self.done {
            return;
        }
        if let Some(fault) = self.scenario.fault()
            && standing.has_reached(2)
        {
            cast.spoil_green(fault);
            self.done = true;
        }
        if self.scenario == Scenario::Thin && standing.is("holding") {
            let since = *self.holding_since.get_or_insert(now);
            if now.since(since) >= QUIET {
                cast.load.set_rate(RATE);
                self.done = true;
            }
        }
    }
}
