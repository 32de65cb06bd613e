//! The workers as several parts of the process ask them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    config::model::Listener,
    control::{DataPlane, ListenChange, ListenError},
    domain::Moment,
    lifecycle::PassedSockets,
    proxy::{self, Workers},
    routing::WorkerGauge,
    telemetry::ListenerGauge,
};

/// The workers, asked by the controller, the metrics and the drain alike.
#[derive(Debug, Clone)]
pub(super) struct SharedWorkers(Arc<Mutex<Workers>>);

impl SharedWorkers {
    pub(super) fn new(workers: Workers) -> Self {
        Self(Arc::new(Mutex::new(workers)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Workers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connections(&self) -> Vec<ListenerGauge> {
        let gauge = |(bind, gauge): (_, Arc<WorkerGauge>)| ListenerGauge {
            bind,
            open: gauge.total().into(),
        };
        self.lock().connections().map(gauge).collect()
    }

    /// The same, whenever it is asked.
    pub(super) fn counter(&self) -> Box<dyn Fn() -> Vec<ListenerGauge> + Send + Sync> {
        let seen = self.clone();
        Box::new(move || seen.connections())
    }

    pub(super) fn drain(&self, deadline: Moment, handed_over: bool) {
        self.lock().drain(deadline, handed_over);
    }

    /// Listens for the first time, with the sockets that were passed as far as they fit.
    pub(super) fn accept(
        &self,
        listeners: &[Listener],
        passed: &mut PassedSockets,
    ) -> Result<Vec<SocketAddr>, proxy::ListenError> {
        let mut workers = self.lock();
        workers.take_over(passed.take_listeners());
        workers.listen(listeners)?;
        let unused = workers.close_unused().into_iter().map(|address| address.to_string());
        for address in unused.chain(passed.unused()) {
            tracing::warn!(address, "no listener has this passed socket's address; it is closed");
        }
        Ok(workers.addresses().collect())
    }

    pub(super) fn have_ended(&self) -> bool {
        self.lock().have_ended()
    }
}

impl DataPlane for SharedWorkers {
    fn listen(&mut self, listeners: &[Listener]) -> Result<ListenChange, ListenError> {
        let change = self.lock().listen(listeners).map_err(|error| ListenError(error.into()))?;
        Ok(ListenChange { added: change.added, removed: change.removed })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.lock().entrance()
    }
}
