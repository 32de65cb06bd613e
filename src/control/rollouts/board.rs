//! What the controller has published of its rollouts, for everybody who looks.

use std::{collections::BTreeMap, sync::Arc};

use super::RolloutStatus;
use crate::{
    control::report::{CheckRun, HookRun},
    domain::RouteName,
    telemetry::RolloutGauge,
};

/// The rollouts of the configuration, in its order.
pub(in crate::control) type Board = Arc<Vec<Shown>>;

const PHASES: [&str; 9] = [
    "idle",
    "checking",
    "baking",
    "holding",
    "awaiting_gate",
    "paused",
    "promoted",
    "rolled_back",
    "failed",
];

/// A rollout, and what only a report tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::control) struct Shown {
    pub(in crate::control) status: RolloutStatus,
    /// When the newest run began, in Unix milliseconds.
    pub(in crate::control) started_at_ms: Option<u64>,
    /// When it ended.
    pub(in crate::control) ended_at_ms: Option<u64>,
    /// Rollbacks since the process began, by cause.
    pub(in crate::control) rollbacks: BTreeMap<&'static str, u64>,
    pub(in crate::control) checks: Arc<Vec<CheckRun>>,
    pub(in crate::control) hooks: Arc<Vec<HookRun>>,
}

impl Shown {
    /// The same as metrics show it.
    pub(in crate::control) fn gauge(&self) -> RolloutGauge {
        let status = &self.status;
        let verdict = match status.verdict.outcome.as_str() {
            "pass" => 1,
            "fail" => -1,
            _ => 0,
        };
        RolloutGauge {
            rollout: status.name.clone(),
            phases: PHASES.iter().map(|label| (*label, *label == status.phase)).collect(),
            step: status.step_number as u64,
            weight: status.weight,
            verdict,
            rollbacks: self.rollbacks.iter().map(|(cause, count)| (*cause, *count)).collect(),
        }
    }

    /// Whether the rollout decides the split of `route`.
    pub(in crate::control) fn owns(&self, route: &RouteName) -> bool {
        self.status.route == *route && self.status.phase != "idle"
    }
}
