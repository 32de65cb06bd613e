//! What the controller has published of its rollouts, for everybody who looks.

use std::{collections::BTreeMap, sync::Arc};

use super::RolloutStatus;
use crate::{
    control::report::{CheckRun, HookRun},
    decision::rollout::Phase,
    domain::verdict::CauseKind,
    telemetry::RolloutGauge,
};

/// The rollouts of the configuration, in its order.
pub(in crate::control) type Board = Arc<Vec<Shown>>;

/// A rollout, and what only a report tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::control) struct Shown {
    pub(in crate::control) status: RolloutStatus,
    /// Whether it decides the split of its route.
    pub(in crate::control) owns_route: bool,
    /// When the newest run began, in Unix milliseconds.
    pub(in crate::control) started_at_ms: Option<u64>,
    /// When it ended.
    pub(in crate::control) ended_at_ms: Option<u64>,
    /// Rollbacks since the process began, by cause.
    pub(in crate::control) rollbacks: BTreeMap<&'static str, u64>,
    pub(in crate::control) checks: Vec<CheckRun>,
    pub(in crate::control) hooks: Vec<HookRun>,
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
            phases: Phase::LABELS.iter().map(|label| (*label, *label == status.phase)).collect(),
            step: status.step_number as u64,
            weight: status.weight,
            verdict,
            // From the beginning and at 0: an increase from nothing to 1 is none to Prometheus.
            rollbacks: CauseKind::ALL
                .map(|kind| (kind.label(), self.rollbacks.get(kind.label()).copied().unwrap_or(0)))
                .into(),
        }
    }
}
