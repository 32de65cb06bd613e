//! What an operator can do with a rollout.

use serde::{Deserialize, Serialize};

/// A verb of the API and the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Begin with the checks and the first step.
    Start,
    /// Let nothing move by itself but a rollback.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Pass a gate, or skip what is left of the step.
    Advance,
    /// All requests to the canary.
    Promote,
    /// All requests to the baseline.
    Rollback,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Pause, Self::Resume, Self::Advance, Self::Promote, Self::Rollback];

    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance => "advance",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
        }
    }
}
