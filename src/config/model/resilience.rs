//! What keeps clients away from endpoints that fail: `[backend.NAME.health_check]`, `[backend.NAME.ejection]`, `[route.retry]`.

use std::time::Duration;

use super::StatusSet;
use crate::domain::{EjectionRules, Weight};

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
        /// The `Host` of the request; `None`: the endpoint's address, `localhost` at a unix socket.
        host: Option<Box<str>>,
        /// Status codes of a healthy endpoint.
        expect_status: StatusSet,
    },
    /// It says by grpc.health.v1 that it serves.
    Grpc {
        /// The service that is asked about; empty: the whole server.
        service: Box<str>,
        /// The `:authority` of the request; `None`: the endpoint's address.
        host: Option<Box<str>>,
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

/// `[route.retry]` that asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How often one request may be sent to yet another endpoint; at least once.
    pub attempts: u32,
    /// Failures that lead there; at least one, each once.
    pub on: Vec<RetryCause>,
    /// Largest share of the route's requests.
    pub budget: Weight,
}

/// How an attempt fails that may be made again, as `retry.on` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryCause {
    /// `"connect"`: no connection, or not in time.
    Connect,
    /// `"refused"`: the connection ended before a byte of the request was sent.
    Refused,
    /// `"reset_before_response"`: it ended before a byte of the answer came.
    ResetBeforeResponse,
}

impl RetryCause {
    /// The file's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refused => "refused",
            Self::ResetBeforeResponse => "reset_before_response",
        }
    }
}
