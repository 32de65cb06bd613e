//! What the control plane has to do with the world outside: who asks, who is told, and with which client.

use std::sync::Arc;

use super::{ExternalMetrics, Notifier, Outbound};
use crate::{
    config::Config,
    lifecycle::Tasks,
    telemetry::{EventSink, Recorder},
};

/// Metrics, notifications, and the client of checks and hooks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Numbers of Prometheus servers.
    pub metrics: ExternalMetrics,
    /// Ways to people.
    pub notifier: Notifier,
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
            notifier: Notifier::new(tasks.clone(), outbound.clone(), events, recorder),
            outbound,
            tasks,
        }
    }

    /// Asks and tells as `config` has it, from now on. Needs a runtime.
    pub(super) fn configure(&self, config: &Config) {
        self.metrics.configure(&config.metrics);
        self.notifier.configure(&config.sinks);
    }
}
