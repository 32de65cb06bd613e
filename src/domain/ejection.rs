//! When an endpoint is ejected.

use std::time::Duration;

use super::Weight;

/// When and for how long an endpoint is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EjectionRules {
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// Length of the first ejection; doubles with each that follows soon.
    pub base_time: Duration,
    /// Length of the longest; at least `base_time`.
    pub max_time: Duration,
    /// Largest share of a backend's endpoints that may be ejected at once, if that is more than one.
    pub max_share: Weight,
}
