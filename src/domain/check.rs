//! Synthetic transactions that say whether a backend works.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When a check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStage {
    /// Before a rollout begins.
    Pre,
    /// Again and again while it runs.
    During,
    /// Once all traffic is on the canary, before it is promoted.
    Post,
}

impl CheckStage {
    /// The word for it in the configuration and in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::During => "during",
            Self::Post => "post",
        }
    }
}

/// What part of a system a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckCategory {
    /// The endpoints answer as they should.
    Api,
    /// State is kept, and can be.
    Database,
    /// Fast enough, with room.
    Performance,
    /// The new version is there and does what is new.
    Feature,
    /// What stands around: hooks, names, clocks.
    Integration,
    /// What watches: metrics, notifications.
    Monitoring,
}

impl CheckCategory {
    /// Every category, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::Api,
        Self::Database,
        Self::Performance,
        Self::Feature,
        Self::Integration,
        Self::Monitoring,
    ];

    /// The word for it in the configuration and in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Database => "database",
            Self::Performance => "performance",
            Self::Feature => "feature",
            Self::Integration => "integration",
            Self::Monitoring => "monitoring",
        }
    }
}

/// How one run of a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// The check's name.
    pub name: String,
    /// Part of the system.
    pub category: CheckCategory,
    /// When it ran.
    pub stage: CheckStage,
    /// Whether everything was as expected.
    pub passed: bool,
    /// Whether the rollout may not go on without it.
    pub required: bool,
    /// How long it took.
    pub took: Duration,
    /// What was found, in one line.
    pub detail: String,
}

impl CheckResult {
    /// Whether the rollout has to act on this result.
    pub const fn counts_as_failed(&self) -> bool {
        self.required && !self.passed
    }
}
