//! One attempt, counted once: when its answer has ended, when it failed, or when it was dropped.

use std::rc::Rc;

use super::{error::ProxyError, worker::Worker};
use crate::{
    decision::classify,
    domain::{Class, ErrorReason, Moment, Outcome, SeriesId},
    lifecycle::clock,
    routing::LocalTable,
};

/// An attempt that is under way; dropped without a word, it counts as left by the client.
pub(super) struct Attempt {
    worker: Rc<Worker>,
    series: SeriesId,
    begun: Moment,
    /// Status code and time of the answer's head.
    answered: Option<(u16, Moment)>,
    counted: bool,
    /// Held until the attempt ends.
    _in_flight: InFlight,
}

impl Attempt {
    pub(super) const fn begin(
        worker: Rc<Worker>,
        series: SeriesId,
        begun: Moment,
        in_flight: InFlight,
    ) -> Self {
        Self { worker, series, begun, answered: None, counted: false, _in_flight: in_flight }
    }

    /// The answer's head is here.
    pub(super) const fn answered(&mut self, status: u16, now: Moment) {
        self.answered = Some((status, now));
    }

    /// The answer is complete.
    pub(super) fn complete(&mut self, now: Moment) {
        let (class, blame) = classify::of_status(self.answered.map_or(0, |(status, _)| status));
        self.count(Outcome { class, blame, ..self.outcome(now) });
    }

    /// The attempt has failed.
    pub(super) fn fail(&mut self, error: ProxyError) {
        let (class, blame) = classify::of_error(error.reason());
        self.count(Outcome { class, blame, ..self.outcome(clock::now()) });
    }

    fn outcome(&self, now: Moment) -> Outcome {
        Outcome {
            class: Class::Excluded,
            blame: None,
            status: self.answered.map(|(status, _)| status),
            first_byte: self.answered.map(|(_, at)| at.since(self.begun)),
            total: now.since(self.begun),
        }
    }

    fn count(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.counted, true) {
            self.worker.shard().record(self.series, &outcome);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.counted {
            return;
        }
        let ours = std::thread::panicking() || self.worker.is_cutting();
        let reason = if ours { ErrorReason::Internal } else { ErrorReason::ClientGone };
        self.worker.shard().error(reason);
        self.fail(ProxyError::new(reason, "the attempt was dropped"));
    }
}

/// Counts a request at its backend and endpoint for as long as it lives.
pub(super) struct InFlight {
    table: LocalTable,
    backend: usize,
    endpoint: usize,
    worker: usize,
}

impl InFlight {
    pub(super) fn enter(table: LocalTable, backend: usize, endpoint: usize, worker: usize) -> Self {
        table.backends()[backend].in_flight.enter(worker);
        table.backends()[backend].endpoints[endpoint].in_flight().enter(worker);
        Self { table, backend, endpoint, worker }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let backend = &self.table.backends()[self.backend];
        backend.in_flight.leave(self.worker);
        backend.endpoints[self.endpoint].in_flight().leave(self.worker);
    }
}
