//! How both sides of a rollout did at one moment; the report's charts are made of these.

use serde::{Deserialize, Serialize};

use crate::domain::Weight;

/// Both sides over the seconds before a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// The canary's share at the end of these seconds.
    pub weight: Weight,
    /// The known good side.
    pub baseline: SideSample,
    /// The side under trial.
    pub canary: SideSample,
}

/// One side over the seconds before a moment. What needs at least one attempt is absent without any.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct SideSample {
    /// Judged attempts per second.
    pub rps: f64,
    /// Failures among them, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Median latency in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// Latency that 95 % stay below, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_us: Option<u64>,
    /// Latency that 99 % stay below, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
}
