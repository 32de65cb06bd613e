//! Active health checks: a task for each endpoint asks it again and again, and tells the data plane what it found by the
//! endpoint's own atomics. A reload keeps what is known of every endpoint that stays.

mod grpc;
mod probe;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::AbortHandle;

use super::Outbound;
use crate::{
    config::{
        Config,
        model::{BackendProtocol, HealthCheck},
    },
    decision::health::Streak,
    domain::BackendName,
    lifecycle::{Tasks, clock},
    routing::{Endpoint, EndpointId, Health, Table},
    telemetry::{Event, EventKind, EventSink},
    tls::ClientTls,
};

/// The health checks of the configuration; cheap to clone.
#[derive(Debug, Clone)]
pub struct HealthChecks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tasks: Tasks,
    outbound: Outbound,
    events: EventSink,
    running: Mutex<HashMap<EndpointId, Running>>,
}

/// An endpoint under watch, and how.
#[derive(Debug, Clone)]
struct Watched {
    backend: BackendName,
    endpoint: Arc<Endpoint>,
    check: HealthCheck,
    slow_start: Option<Duration>,
    protocol: BackendProtocol,
    tls: Option<Arc<ClientTls>>,
}

impl Watched {
    fn is(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let same_way = same_tls && self.protocol == other.protocol;
        same_way && self.check == other.check && self.slow_start == other.slow_start
    }
}

/// A watch and its task, which ends with this value.
#[derive(Debug)]
struct Running {
    watched: Watched,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HealthChecks {
    /// None yet.
    pub(super) fn new(tasks: Tasks, outbound: Outbound, events: EventSink) -> Self {
        Self(Arc::new(Shared { tasks, outbound, events, running: Mutex::default() }))
    }

    /// Checks the endpoints of `table` as `config` has it from now on, and no others. Needs a runtime.
    pub(super) fn configure(&self, config: &Config, table: &Table) {
        let mut wanted = wanted(config, table);
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|id, now| match wanted.get(id) {
            Some(watched) => watched.is(&now.watched),
            None => {
                // Without checks nothing speaks against it.
                now.watched.endpoint.availability().set_health(None);
                false
            }
        });
        wanted.retain(|id, _| !running.contains_key(id));
        running.extend(wanted.into_iter().map(|(id, watched)| (id, self.run(watched))));
    }

    fn run(&self, watched: Watched) -> Running {
        let (shared, asked) = (self.0.clone(), watched.clone());
        let make = move || watch(asked.clone(), shared.outbound.clone(), shared.events.clone());
        let task = self.0.tasks.keep("health check", make).abort_handle();
        Running { watched, task }
    }
}

fn wanted(config: &Config, table: &Table) -> HashMap<EndpointId, Watched> {
    let mut wanted = HashMap::new();
    for backend in table.backends() {
        let known = config.backends.iter().find(|known| known.name == backend.name);
        let Some(check) = known.and_then(|known| known.health_check.as_ref()) else { continue };
        for endpoint in &backend.endpoints {
            let watched = Watched {
                backend: backend.name.clone(),
                endpoint: endpoint.clone(),
                check: check.clone(),
                slow_start: backend.ejection.slow_start,
                protocol: backend.protocol,
                tls: backend.tls.clone(),
            };
            wanted.insert(endpoint.id(), watched);
        }
    }
    wanted
}

/// Checks for ever.
async fn watch(watched: Watched, outbound: Outbound, events: EventSink) {
    let HealthCheck { interval, healthy_after, unhealthy_after, .. } = watched.check;
    let availability = watched.endpoint.availability();
    let mut streak = Streak::new(availability.health().map(|health| health.healthy));
    loop {
        let begun = clock::now();
        let result = {
            let (check, endpoint) = (&watched.check, &watched.endpoint);
            let how = (watched.protocol, watched.tls.as_deref());
            probe::probe(check, endpoint, how, &outbound).await
        };
        let first = availability.health().is_none();
        match (streak.take(result.is_ok(), healthy_after, unhealthy_after), result) {
            (Some(healthy), Ok(why) | Err(why)) => take(&watched, healthy, &why, first, &events),
            // Still ill, perhaps of something else.
            (None, Err(why)) if availability.is_unhealthy() => {
                availability.set_health(Some(Health { healthy: false, why }));
            }
            (None, _) => {}
        }
        // So that the checks of many endpoints, and of many proxies, do not come all at once.
        let next = interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        clock::sleep_until(begun + next).await;
    }
}

/// Takes what is news about an endpoint.
fn take(watched: &Watched, healthy: bool, why: &str, first: bool, events: &EventSink) {
    let availability = watched.endpoint.availability();
    if healthy && !first {
        availability.start_slowly(clock::now(), watched.slow_start);
    }
    availability.set_health(Some(Health { healthy, why: why.to_owned() }));
    let (kind, message) = match healthy {
        // That it is well from the beginning is no news.
        true if first => return,
        true => (EventKind::EndpointHealthy, format!("takes requests again: {why}")),
        false => (EventKind::EndpointUnhealthy, format!("no new requests: {why}")),
    };
    let subject = format!("{}/{}", watched.backend, watched.endpoint.address());
    events.report(Event::new(kind, clock::wall_millis(), subject, message));
}

#[cfg(test)]
mod tests;
