//! The values of the moment that `/metrics` shows beside the counters.

use std::net::SocketAddr;

use crate::domain::{BackendName, EndpointAddress, RolloutName, RouteName, SinkName, Weight};

/// State of the whole process at the moment of a scrape.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Shares in force, for each route and each backend of its split.
    pub weights: Vec<SplitWeight>,
    /// Each endpoint of each backend.
    pub endpoints: Vec<EndpointGauge>,
    /// Each listener.
    pub connections: Vec<ListenerGauge>,
    /// Each rollout of the configuration.
    pub rollouts: Vec<RolloutGauge>,
    /// Whether the last reading of the configuration succeeded.
    pub reload_successful: bool,
    /// When the configuration was last read with success, in milliseconds since 1970 UTC.
    pub reload_success_at_ms: u64,
    /// What became of notifications, by sink.
    pub notifications: Vec<NotificationCount>,
    /// Each certificate that is shown to somebody.
    pub certificates: Vec<CertificateGauge>,
}

/// Validity of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateGauge {
    /// Who shows it, as `listener 0.0.0.0:443`.
    pub owner: String,
    /// Its file as configured.
    pub file: String,
    /// Its last second, since 1970 UTC.
    pub not_after_s: i64,
}

/// How many notifications of a sink came to the same end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationCount {
    /// The sink.
    pub sink: SinkName,
    /// The end: `sent`, `failed` or `dropped`.
    pub result: &'static str,
    /// How many.
    pub count: u64,
}

/// Share of a backend in a route's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitWeight {
    /// The route.
    pub route: RouteName,
    /// The backend.
    pub backend: BackendName,
    /// Its share.
    pub weight: Weight,
}

/// State of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutGauge {
    /// The rollout.
    pub rollout: RolloutName,
    /// Every phase, and whether it is in it.
    pub phases: Vec<(&'static str, bool)>,
    /// Its step, counted from 1; 0 outside the steps.
    pub step: u64,
    /// The canary's share.
    pub weight: Weight,
    /// What the evidence says: 1 good, 0 not known, -1 bad.
    pub verdict: i8,
    /// Rollbacks since the process began, by cause.
    pub rollbacks: Vec<(&'static str, u64)>,
}

/// State of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointGauge {
    /// Its backend.
    pub backend: BackendName,
    /// Its address as configured.
    pub address: EndpointAddress,
    /// Whether it takes requests.
    pub healthy: bool,
    /// Times that it was ejected.
    pub ejections: u64,
    /// Times that a limit kept it from being ejected.
    pub ejections_withheld: u64,
    /// Requests under way, over all workers.
    pub in_flight: u64,
}

/// State of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerGauge {
    /// Its address.
    pub bind: SocketAddr,
    /// Connections open, over all workers.
    pub open: u64,
}
