//! One attempt to move traffic, as the state file keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::RolloutName;

/// The newest run of every rollout that ever ran.
pub(in crate::control) type Runs = BTreeMap<RolloutName, Run>;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::control) struct Run {
    /// Counts the runs of this rollout from 1.
    pub(in crate::control) number: u64,
    /// The machine's whole state.
    pub(in crate::control) record: serde_json::Value,
}
