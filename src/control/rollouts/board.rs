//! What the controller has published of its rollouts, for everybody who looks.

use std::sync::Arc;

use super::RolloutStatus;
use crate::{
    control::report::{CheckRun, HookRun},
    domain::RouteName,
};

/// The rollouts of the configuration, in its order.
pub(in crate::control) type Board = Arc<Vec<Shown>>;

/// A rollout, and what only a report tells of it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::control) struct Shown {
    pub(in crate::control) status: RolloutStatus,
    /// When the newest run began, in Unix milliseconds.
    pub(in crate::control) started_at_ms: Option<u64>,
    /// When it ended.
    pub(in crate::control) ended_at_ms: Option<u64>,
    pub(in crate::control) checks: Arc<Vec<CheckRun>>,
    pub(in crate::control) hooks: Arc<Vec<HookRun>>,
}

impl Shown {
    /// Whether the rollout decides the split of `route`.
    pub(in crate::control) fn owns(&self, route: &RouteName) -> bool {
        self.status.route == *route && self.status.phase != "idle"
    }
}
