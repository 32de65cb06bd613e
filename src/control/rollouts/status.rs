//! What an operator sees of a rollout: where it is, what it waits for, and how its criteria stand.
//!
//! Made by the controller on every tick and read by anybody; times are seconds, shares are percents.

use serde::{Deserialize, Serialize};

use crate::domain::{BackendName, RolloutName, RouteName, Weight};

/// A rollout at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// Its name.
    pub name: RolloutName,
    /// Whose split it moves.
    pub route: RouteName,
    /// The side known to be good.
    pub baseline: BackendName,
    /// The side under trial.
    pub canary: BackendName,
    /// In one word, as in `baking`.
    pub phase: String,
    /// Name of the step that it is at; absent outside the steps.
    pub step: Option<String>,
    /// The canary's share in force, in percent.
    pub weight: Weight,
    /// When it came into its phase, in RFC 3339.
    pub since: String,
    /// When this run began, in RFC 3339; absent before the first.
    pub started: Option<String>,
    /// Counts the runs of this rollout from 1; 0 before the first.
    pub run: u64,
    /// Place of the step in `steps`, counted from 1; 0 outside the steps.
    pub step_number: usize,
    /// The plan's steps.
    pub steps: Vec<StepStatus>,
    /// Time served at this step.
    pub served_s: f64,
    /// Time to be served at this step before it may go on.
    pub left_s: f64,
    /// Why it is where it is: the last thing that was decided.
    pub because: String,
    /// What keeps it from going on.
    pub missing: Vec<String>,
    /// What the evidence says.
    pub verdict: VerdictStatus,
    /// Every condition that matters now, with its present values.
    pub conditions: Vec<ConditionStatus>,
    /// Verbs that fit.
    pub fits: Vec<String>,
    /// What the canary has cost so far.
    pub exposure: Exposure,
    /// Thresholds that were changed by hand since it began.
    pub changed: Vec<String>,
    /// Whether the configuration's plan is another than the one that runs.
    pub plan_differs: bool,
    /// Whether the state file holds this state; otherwise nothing goes forward.
    pub durable: bool,
}

/// A step of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// The canary's share.
    pub weight: Weight,
    /// Time to be served there.
    pub hold_s: f64,
    /// Whether a person must let it pass.
    pub gate: bool,
    /// What it takes to go on.
    pub require: Vec<String>,
}

/// What the evidence says, and why.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VerdictStatus {
    /// `pass`, `fail` or `inconclusive`.
    pub outcome: String,
    /// One text for each source that has something to say.
    pub reasons: Vec<String>,
}

/// One condition and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionStatus {
    /// What it is for: `require`, `rollback` or `alert`.
    pub role: String,
    /// As the plan writes it.
    pub condition: String,
    /// `true`, `false` or `inconclusive`.
    pub truth: String,
    /// The present value of its left side.
    pub left: Option<String>,
    /// The present value of its right side.
    pub right: Option<String>,
    /// What is missing for it to be true or false.
    pub missing: Option<String>,
    /// How long it must be true to count.
    pub for_s: f64,
    /// How long it has been true.
    pub true_for_s: f64,
}

/// What the canary has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Exposure {
    /// Attempts that the canary answered or failed, in this run.
    pub requests: u64,
    /// Those that it failed.
    pub bad_responses: u64,
    /// How many it may fail.
    pub max_bad_responses: Option<u64>,
    /// Sessions that have seen it, known by their split keys; a close estimate where there is no limit.
    pub keys: Option<u64>,
    /// How many may see it.
    pub max_keys: Option<u64>,
}
