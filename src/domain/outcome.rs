//! What became of one attempt against one endpoint.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How an attempt counts for the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The backend did its work.
    Success,
    /// The backend failed.
    Failure,
    /// Says nothing about the backend: the client left, or the fault was not the backend's.
    Excluded,
}

impl Class {
    /// Every class, in the order of their metric labels.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::Excluded];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Excluded => "excluded",
        }
    }
}

/// Whose doing a failure was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The client's side.
    Downstream,
    /// The application's side.
    Upstream,
    /// Tidegate's own: a limit, a drain, a bug.
    Internal,
}

/// One attempt, recorded exactly once: at the end of its response body, or when it was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How it counts.
    pub class: Class,
    /// Whose doing it was; `None` when nothing went wrong.
    pub blame: Option<Blame>,
    /// Status code of the upstream's answer (100–599), if there was one.
    pub status: Option<u16>,
    /// From the attempt's begin to the first byte of the answer's head, if there was one.
    pub first_byte: Option<Duration>,
    /// From the attempt's begin to its end.
    pub total: Duration,
}
