//! What becomes of endpoints between two requests: the ends of ejections, and backends of which none is left, are told here.
//! The data plane needs nobody for either.

use std::collections::HashSet;

use super::Audit;
use crate::{
    domain::{BackendName, Moment},
    lifecycle::clock,
    routing::{Backend, Table},
    telemetry::{Event, EventKind},
};

/// What has been told so far.
#[derive(Debug, Default)]
pub(super) struct EndpointNews {
    /// Backends of which no endpoint takes requests.
    unusable: HashSet<BackendName>,
}

impl EndpointNews {
    /// Tells what has changed since it was last asked.
    pub(super) fn tell(&mut self, table: &Table, now: Moment, audit: &Audit) {
        let mut known = HashSet::new();
        for backend in table.backends() {
            readmit(backend, now, audit);
            let usable = backend.usable(now) > 0;
            let was_usable = !self.unusable.contains(&backend.name);
            if usable != was_usable {
                tell(backend, usable, audit);
            }
            if !usable {
                known.insert(backend.name.clone());
            }
        }
        self.unusable = known;
    }
}

fn readmit(backend: &Backend, now: Moment, audit: &Audit) {
    for endpoint in &backend.endpoints {
        if backend.ejection.rules.is_none() {
            // A reload has done away with ejections.
            endpoint.availability().lift();
        }
        if endpoint.availability().readmit(now) {
            let subject = format!("{}/{}", backend.name, endpoint.address());
            let message = "its ejection is over";
            let kind = EventKind::EndpointReadmitted;
            audit.keep(Event::new(kind, clock::wall_millis(), subject, message));
        }
    }
}

fn tell(backend: &Backend, usable: bool, audit: &Audit) {
    let drained = backend.endpoints.iter().filter(|endpoint| endpoint.is_drained()).count();
    let (all, name) = (backend.endpoints.len(), backend.name.as_str());
    let (kind, message) = match usable {
        true => (EventKind::BackendUsable, "an endpoint takes requests again".to_owned()),
        false if drained == all => {
            (EventKind::BackendUnusable, format!("all {all} endpoints are drained"))
        }
        false => {
            let message = format!(
                "of {all} endpoints {drained} are drained and none is well: \
                 requests without a fallback try those that are not drained"
            );
            (EventKind::BackendUnusable, message)
        }
    };
    audit.keep(Event::new(kind, clock::wall_millis(), name, message));
}
