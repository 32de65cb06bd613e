//! Programs and addresses of an operator's that a rollout calls on its way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where in a rollout hooks are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// When a rollout begins.
    Start,
    /// Before a step's weight is set.
    BeforeStep,
    /// When a step is done.
    AfterStep,
    /// When the canary is promoted.
    Promote,
    /// After the traffic is back on the baseline.
    Rollback,
}

impl HookPoint {
    /// The word for it in the configuration and in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::BeforeStep => "before_step",
            Self::AfterStep => "after_step",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
        }
    }

    /// Whether a failure of a required hook holds the rollout. Nothing stands before a rollback, and nothing comes after
    /// a promotion.
    pub const fn can_hold(self) -> bool {
        match self {
            Self::Start | Self::BeforeStep | Self::AfterStep => true,
            Self::Promote | Self::Rollback => false,
        }
    }
}

/// How one call of a hook ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookResult {
    /// The hook's name.
    pub name: String,
    /// Where it was called.
    pub point: HookPoint,
    /// Its rung of the rollback ladder; `None` at the other points.
    pub level: Option<u8>,
    /// How long it took.
    pub took: Duration,
    /// How long it was given.
    pub budget: Duration,
    /// Whether it did what it should.
    pub ok: bool,
    /// Whether the rollout may not go on without it.
    pub required: bool,
    /// How it ended, in one line.
    pub detail: String,
    /// The end of what it wrote, without control characters other than line ends.
    pub output: String,
}

impl HookResult {
    /// Whether the rollout has to hold for this result.
    pub const fn holds(&self) -> bool {
        self.required && !self.ok && self.point.can_hold()
    }
}
