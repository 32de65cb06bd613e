//! What keeps requests away from endpoints that fail: `[backend.NAME.health_check]` and `[backend.NAME.ejection]`.

use std::time::Duration;

use super::StatusSet;
use crate::domain::EjectionRules;

/// `[backend.NAME.health_check]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From the begin of one check to the begin of the next, give or take a tenth.
    pub interval: Duration,
    /// A check without a result after this has failed; at most the interval.
    pub timeout: Duration,
    /// Good results in a row that make an endpoint healthy again.
    pub healthy_after: u32,
    /// Bad results in a row that make it unhealthy.
    pub unhealthy_after: u32,
}

/// What a health check asks of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It takes a connection.
    Tcp,
    /// It answers a GET.
    Http {
        /// What is asked for, with its query.
        path: Box<str>,
        /// The `Host` of the request; `None`: the endpoint's address.
        host: Option<Box<str>>,
        /// Status codes of a healthy endpoint.
        expect_status: StatusSet,
    },
}

/// `[backend.NAME.ejection]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// When and for how long an endpoint is ejected; `None`: never.
    pub rules: Option<EjectionRules>,
    /// An endpoint that comes back gets its full share only after this; `None`: at once.
    pub slow_start: Option<Duration>,
}
