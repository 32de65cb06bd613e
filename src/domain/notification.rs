//! What operators are told about a rollout, whichever way it reaches them.

use serde::{Deserialize, Serialize};

use super::{RolloutName, Weight};

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A rollout has begun.
    Started,
    /// The next step has begun.
    Advanced,
    /// The step does not go on: its criteria are not met yet.
    Held,
    /// An alert's condition has come true.
    Alert,
    /// An alert's condition is true no longer.
    Resolved,
    /// Nothing moves by itself but a rollback.
    Paused,
    /// A pause is over.
    Resumed,
    /// All traffic is back on the baseline.
    RolledBack,
    /// All traffic is on the canary for good.
    Promoted,
    /// The rollout has ended without a result.
    Failed,
}

impl NotificationKind {
    /// Every kind, in the order of a rollout's life.
    pub const ALL: [Self; 10] = [
        Self::Started,
        Self::Advanced,
        Self::Held,
        Self::Alert,
        Self::Resolved,
        Self::Paused,
        Self::Resumed,
        Self::RolledBack,
        Self::Promoted,
        Self::Failed,
    ];

    /// The word for it in the configuration and in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Advanced => "advanced",
            Self::Held => "held",
            Self::Alert => "alert",
            Self::Resolved => "resolved",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::RolledBack => "rolled_back",
            Self::Promoted => "promoted",
            Self::Failed => "failed",
        }
    }
}

/// How much a notification matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Critical,
}

impl Severity {
    /// The word for it in the configuration and in messages.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One thing that operators are told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Notification {
    /// What it is about.
    pub kind: NotificationKind,
    /// How much it matters.
    pub severity: Severity,
    /// The rollout.
    pub rollout: RolloutName,
    /// The step's name, where there is one.
    pub step: Option<String>,
    /// The canary's weight at that moment.
    pub weight: Weight,
    /// It in one line.
    pub message: String,
    /// The condition of an alert, the same text when it is resolved; empty for the other kinds.
    pub rule: String,
    /// Why: a line for each reason.
    pub reasons: Vec<String>,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_what_json_says() {
        for kind in NotificationKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
        }
        for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.label());
        }
        assert!(Severity::Info < Severity::Warning && Severity::Warning < Severity::Critical);
    }
}
