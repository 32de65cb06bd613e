//! One attempt, counted once: when its answer has ended, when it failed, or when it was dropped.
//!
//! On a route that a rollout owns it is counted once more, for the judge: if the split decided it, and if the weights by
//! which it did are still those in force.

use std::rc::Rc;

use http::HeaderMap;

use super::{
    access::Entry,
    context::{Choice, RequestContext},
    error::ProxyError,
    trace::Ended,
    worker::Worker,
};
use crate::{
    decision::{classify, outlier::Ruling},
    domain::{Class, ErrorReason, Moment, Outcome, SeriesId, format_duration},
    lifecycle::clock,
    routing::{Backend, Ejection, LocalTable, Rollout, Route, Target},
    telemetry::{Event, EventKind},
};

/// An attempt that is under way; dropped without a word, it counts as left by the client.
pub(super) struct Attempt {
    worker: Rc<Worker>,
    begun: Moment,
    /// Status code and time of the answer's head.
    answered: Option<(u16, Moment)>,
    counted: bool,
    /// What gRPC says of it.
    call: Call,
    /// Gets a span of it, where the request is traced.
    entry: Option<Rc<Entry>>,
    /// Held until the attempt ends.
    in_flight: InFlight,
}

/// Whether an attempt is a call of gRPC, and how that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Not,
    /// Without a status so far.
    Open,
    Ended(u16),
}

impl Attempt {
    pub(super) fn begin(
        worker: Rc<Worker>,
        begun: Moment,
        in_flight: InFlight,
        entry: Option<Rc<Entry>>,
    ) -> Self {
        entry.iter().for_each(|entry| entry.begin_attempt());
        let (answered, counted, call) = (None, false, Call::Not);
        Self { worker, begun, answered, counted, call, entry, in_flight }
    }

    /// The answer's head is here.
    pub(super) const fn answered(&mut self, status: u16, now: Moment) {
        self.answered = Some((status, now));
    }

    /// The answer is one of gRPC, whose status is to be found in `headers` or later.
    pub(super) fn is_call(&mut self, headers: &HeaderMap) {
        self.call = Call::Open;
        self.tells_call(headers);
    }

    /// What may hold the status of gRPC, for an answer that has one.
    pub(super) fn tells_call(&mut self, trailers: &HeaderMap) {
        if self.call == Call::Open
            && let Some(code) = trailers.get("grpc-status")
        {
            let code = code.to_str().ok().and_then(|code| code.parse().ok());
            // A status that is no number is as good as UNKNOWN.
            self.call = Call::Ended(code.unwrap_or(2));
        }
    }

    /// The answer says whether it came from a cache.
    pub(super) fn tells_cache(&self, hit: bool) {
        self.each_series(|series| self.worker.shard().cache_answer(series, hit));
    }

    /// The request goes on to another backend; `pair` counts those that take this way.
    pub(super) fn falls_back(&self, pair: SeriesId) {
        self.each_series(|series| self.worker.shard().fallback(series));
        self.worker.shard().fallback(pair);
    }

    /// The answer is complete.
    pub(super) fn complete(&mut self, now: Moment) {
        let (class, blame) = match self.call {
            Call::Not => classify::of_status(self.answered.map_or(0, |(status, _)| status)),
            Call::Open => classify::of_grpc(None),
            Call::Ended(code) => classify::of_grpc(Some(code)),
        };
        self.count(Outcome { class, blame, ..self.outcome(now) }, None);
    }

    /// The attempt has failed.
    pub(super) fn fail(&mut self, error: ProxyError) {
        let (class, blame) = classify::of_error(error.reason());
        self.count(Outcome { class, blame, ..self.outcome(clock::now()) }, Some(error.reason()));
    }

    /// This try has failed, and another one of the same request begins at the same endpoint: two attempts, one permit.
    pub(super) fn fail_and_begin_again(&mut self, error: ProxyError) {
        self.fail(error);
        (self.begun, self.answered, self.counted) = (clock::now(), None, false);
        self.entry.iter().for_each(|entry| entry.begin_attempt());
    }

    /// This try has failed, and another one of the same request begins at another endpoint of the backend.
    pub(super) fn fail_and_move(&mut self, error: ProxyError, endpoint: usize) {
        self.fail_and_begin_again(error);
        self.in_flight.move_to(endpoint);
    }

    /// The rollout whose canary this attempt tries.
    pub(super) fn trial(&self) -> Option<&Rollout> {
        self.in_flight.trial()
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

    fn count(&mut self, outcome: Outcome, reason: Option<ErrorReason>) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        self.each_series(|series| self.worker.shard().record(series, &outcome));
        if let Some(rollout) = self.trial() {
            rollout.guard.record(outcome.class);
        }
        let (backend, endpoint) = (self.in_flight.backend(), self.in_flight.endpoint);
        let (worker, now) = (self.worker.index(), self.begun + outcome.total);
        if let Some(ejection) = backend.note(endpoint, worker, &outcome, now) {
            self.worker.events().report(ejected(backend, endpoint, ejection));
        }
        if let Some(entry) = &self.entry {
            let call = match self.call {
                Call::Not | Call::Open => None,
                Call::Ended(code) => Some(code),
            };
            entry.end_attempt(Ended { begun: self.begun, outcome, reason, call });
        }
    }

    /// The series that the attempt counts in: that of the metrics, and that of the judge where it is the judge's business.
    fn each_series(&self, count: impl Fn(SeriesId)) {
        count(self.in_flight.series);
        if let Some(rollout) = self.in_flight.rollout()
            && let Some(judged) = self.in_flight.target().judged
            && rollout.is_current()
        {
            count(judged);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.counted {
            self.entry.iter().for_each(|entry| entry.close_attempt());
            return;
        }
        let reason = self.worker.reason_of_drop();
        if reason == ErrorReason::ClientGone && self.answered.is_none() {
            self.each_series(|series| self.worker.shard().abandoned(series));
        }
        self.worker.shard().error(reason);
        self.fail(ProxyError::new(reason, "the attempt was dropped"));
    }
}

/// Tells a rollout of a request that found no endpoint at its side: nothing was tried, and its client was failed all the
/// same. Gives the judge's series, if the judge is to know.
pub(super) fn unserved(
    context: &RequestContext,
    choice: &Choice,
    error: ProxyError,
) -> Option<SeriesId> {
    let route = context.route(choice);
    let rollout = route.rollout.as_ref().filter(|_| choice.is_sample)?;
    let (class, blame) = classify::of_error(error.reason());
    if choice.target == rollout.canary {
        rollout.guard.record(class);
    }
    let judged = context.target(choice).judged.filter(|_| rollout.is_current())?;
    let total = clock::now().since(context.begun);
    let outcome = Outcome { class, blame, status: None, first_byte: None, total };
    context.downstream.worker.shard().record(judged, &outcome);
    Some(judged)
}

/// What there is to tell of an ejection.
#[cold]
fn ejected(backend: &Backend, endpoint: usize, ejection: Ejection) -> Event {
    let Ejection { ruling, length, failures } = ejection;
    let span = format_duration(length);
    let (kind, message) = match ruling {
        Ruling::Eject => (
            EventKind::EndpointEjected,
            format!("no new requests for {span}: {failures} failures in a row"),
        ),
        Ruling::Spare(limit) => (
            EventKind::EjectionWithheld,
            format!(
                "{failures} failures in a row would eject it for {span}, but it stays: {}",
                limit.text()
            ),
        ),
    };
    let subject = format!("{}/{}", backend.name, backend.endpoints[endpoint].address());
    Event::new(kind, clock::wall_millis(), subject, message)
}

/// Counts a request at its backend and endpoint, and at the rollout that tries the backend, for as long as it lives.
pub(super) struct InFlight {
    table: LocalTable,
    route: usize,
    target: usize,
    endpoint: usize,
    worker: usize,
    series: SeriesId,
    /// A rollout owns the request. Kept here, so that one that none owns looks no further.
    is_owned: bool,
}

impl InFlight {
    pub(super) fn enter(
        table: LocalTable,
        choice: &Choice,
        endpoint: usize,
        worker: usize,
    ) -> Self {
        let Choice { route, target, is_sample, .. } = *choice;
        let rule = &table.routes()[route];
        let (series, is_owned) = (rule.targets[target].series, is_sample && rule.rollout.is_some());
        let entered = Self { table, route, target, endpoint, worker, series, is_owned };
        let backend = entered.backend();
        backend.in_flight.enter(worker);
        backend.endpoints[endpoint].in_flight().enter(worker);
        if let Some(rollout) = entered.trial() {
            rollout.guard.enter(worker);
        }
        entered
    }

    fn move_to(&mut self, endpoint: usize) {
        let endpoints = &self.backend().endpoints;
        endpoints[self.endpoint].in_flight().leave(self.worker);
        endpoints[endpoint].in_flight().enter(self.worker);
        self.endpoint = endpoint;
    }

    fn route(&self) -> &Route {
        &self.table.routes()[self.route]
    }

    fn target(&self) -> &Target {
        &self.route().targets[self.target]
    }

    fn backend(&self) -> &Backend {
        &self.table.backends()[self.target().backend]
    }

    /// The rollout that owns the request.
    fn rollout(&self) -> Option<&Rollout> {
        if self.is_owned { self.route().rollout.as_ref() } else { None }
    }

    fn trial(&self) -> Option<&Rollout> {
        self.rollout().filter(|rollout| rollout.canary == self.target)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let backend = self.backend();
        backend.in_flight.leave(self.worker);
        backend.endpoints[self.endpoint].in_flight().leave(self.worker);
        if let Some(rollout) = self.trial() {
            rollout.guard.leave(self.worker, clock::now());
        }
    }
}
