//! What the control plane has to do with the world outside: who asks, who is told, and with which client.

use std::sync::Arc;

use super::{ExternalMetrics, HealthChecks, Notifier, Outbound, Resolver};
use crate::{
    config::Config,
    lifecycle::Tasks,
    routing::Table,
    telemetry::{EventSink, Recorder},
};

/// Metrics, notifications, and the client of checks and hooks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Numbers of Prometheus servers.
    pub metrics: ExternalMetrics,
    /// Ways to people.
    pub notifier: Notifier,
    /// Whether endpoints are well.
    pub health: HealthChecks,
    /// Where endpoints are.
    pub resolver: Resolver,
    /// For checks and hooks.
    pub outbound: Outbound,
    /// Where their tasks run.
    pub tasks: Tasks,
}

impl Outside {
    /// Nothing is asked and nobody told yet.
    pub fn new(tasks: Tasks, events: EventSink, recorder: Arc<Recorder>) -> Self {
        let outbound = Outbound::default();
        Self {
            metrics: ExternalMetrics::new(tasks.clone(), outbound.clone()),
            health: HealthChecks::new(tasks.clone(), outbound.clone(), events.clone()),
            resolver: Resolver::new(tasks.clone(), events.clone()),
            notifier: Notifier::new(tasks.clone(), outbound.clone(), events, recorder),
            outbound,
            tasks,
        }
    }

    /// Asks and tells as `config` has it, from now on, about the endpoints of its `table`. Needs a runtime.
    pub(super) fn configure(&self, config: &Config, table: &Table) {
        self.resolver.configure(config, table);
        self.health.configure(config, table);
        self.metrics.configure(&config.metrics);
        self.notifier.configure(&config.sinks);
    }
}
