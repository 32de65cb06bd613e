//! What is told of one request, collected on its way and written when it has ended, however it ends: its line of the access
//! log, and its spans where it is traced.
//!
//! An [`Entry`] is shared by all who learn something about the request. The last one to let it go writes line and span: so
//! there is exactly one, also where a task is dropped half-way.

mod escape;
mod json;
mod spans;
mod text;

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request};
use smallvec::SmallVec;

#[cfg(fuzzing)]
pub(super) use self::escape::{json as escape_json, text as escape_text};
pub(super) use self::text::Calendar;
use super::{
    downstream::Downstream,
    headers::{RequestId, joined},
    trace::{Ended, Trace},
    variables::{Noted, View},
};
use crate::{
    config::model::{AccessFormat, AccessLog, Variable},
    decision::split::Bucket,
    domain::{ErrorReason, Moment},
    lifecycle::clock,
    routing::{Backend, LocalTable},
};

/// What Nginx writes where a client has left before it had an answer.
const CLIENT_LEFT: u16 = 499;

/// What is written where the end of the process came before an answer.
const CUT_OFF: u16 = 503;

/// The status of an answer that leads into a tunnel.
const SWITCHES: u16 = 101;

/// Request headers that a JSON line shows.
static SHOWN: [HeaderName; 2] = [header::USER_AGENT, header::REFERER];

/// What is known of one request.
pub(super) struct Entry {
    downstream: Rc<Downstream>,
    table: LocalTable,
    /// It gets a line.
    log: Option<Arc<AccessLog>>,
    /// It gets spans.
    trace: Option<Box<Trace>>,
    begun: Moment,
    request_id: RequestId,
    /// `None`: its head was refused, and nothing in it is worth a word.
    noted: Option<Noted>,
    client: Cell<Option<IpAddr>>,
    is_https: Cell<bool>,
    route: Cell<Option<usize>>,
    /// Places of the target and of its endpoint, at the last attempt.
    tried: Cell<Option<(usize, usize)>>,
    first_byte: Cell<Option<Duration>>,
    retries: Cell<u16>,
    falls_back: Cell<bool>,
    status: Cell<Option<u16>>,
    error: Cell<Option<ErrorReason>>,
    body_bytes: Cell<u64>,
    ended: Cell<Option<Moment>>,
    /// What follows the answer's head is a tunnel, and the request ends with it.
    tunnels: Cell<bool>,
    answer: RefCell<SmallVec<[(HeaderName, HeaderValue); 1]>>,
}

impl Entry {
    /// Begins the entry of a request; `None` where it gets neither line nor span.
    pub(super) fn begin(
        downstream: &Rc<Downstream>,
        table: &LocalTable,
        parts: &request::Parts,
        request_id: &RequestId,
        begun: Moment,
        trace: Option<Box<Trace>>,
    ) -> Option<Rc<Self>> {
        let log = wanted(downstream, table);
        if log.is_none() && trace.is_none() {
            return None;
        }
        // A WebSocket over a stream goes its way as HTTP/1.1 has it; its client speaks HTTP/2.
        let version = if downstream.is_stream() { Version::HTTP_2 } else { parts.version };
        let head = (&parts.method, version, &parts.uri);
        let noted = noted(log, trace.is_some(), head, &parts.headers);
        let wanted = (log, trace);
        Some(Rc::new(Self::new(downstream, table, wanted, request_id, begun, Some(noted))))
    }

    fn new(
        downstream: &Rc<Downstream>,
        table: &LocalTable,
        (log, trace): (Option<&Arc<AccessLog>>, Option<Box<Trace>>),
        request_id: &RequestId,
        begun: Moment,
        noted: Option<Noted>,
    ) -> Self {
        Self {
            downstream: downstream.clone(),
            table: table.clone(),
            log: log.cloned(),
            trace,
            begun,
            request_id: request_id.clone(),
            noted,
            client: Cell::new(None),
            is_https: Cell::new(false),
            route: Cell::new(None),
            tried: Cell::new(None),
            first_byte: Cell::new(None),
            retries: Cell::new(0),
            falls_back: Cell::new(false),
            status: Cell::new(None),
            error: Cell::new(None),
            body_bytes: Cell::new(0),
            ended: Cell::new(None),
            tunnels: Cell::new(false),
            answer: RefCell::default(),
        }
    }

    /// Where it comes from, behind trusted proxies.
    pub(super) fn comes_from(&self, client: IpAddr, is_https: bool) {
        self.client.set(Some(client));
        self.is_https.set(is_https);
    }

    pub(super) fn takes_route(&self, route: usize) {
        self.route.set(Some(route));
    }

    /// An attempt begins; places of the route's target and of its endpoint.
    pub(super) fn tries(&self, target: usize, endpoint: usize) {
        self.tried.set(Some((target, endpoint)));
    }

    /// The first byte of an endpoint's answer has come.
    pub(super) fn hears(&self, now: Moment) {
        self.first_byte.set(Some(now.since(self.begun)));
    }

    pub(super) fn retries(&self) {
        self.retries.set(self.retries.get().saturating_add(1));
    }

    /// The baseline answers for the canary.
    pub(super) fn falls_back(&self) {
        self.falls_back.set(true);
        self.first_byte.set(None);
    }

    /// The client gets this head; the last word counts.
    pub(super) fn answers(&self, status: u16, headers: &HeaderMap) {
        self.status.set(Some(status));
        let format = self.log.as_ref().map(|log| &log.format);
        let Some(AccessFormat::Template(template)) = format else { return };
        let mut answer = self.answer.borrow_mut();
        answer.clear();
        for variable in template.variables() {
            if let Variable::AnswerHeader(name) = variable
                && let Some(value) = joined(headers, name)
            {
                answer.push((name.clone(), value));
            }
        }
    }

    /// Something went wrong; the first word counts.
    pub(super) fn fails(&self, reason: ErrorReason) {
        if self.error.get().is_none() {
            self.error.set(Some(reason));
        }
    }

    /// The answer's body has ended.
    pub(super) fn ends(&self, body_bytes: u64, now: Moment) {
        self.body_bytes.set(body_bytes);
        self.ended.set((!self.tunnels.get()).then_some(now));
    }

    /// The answer leads into a tunnel.
    pub(super) fn tunnels(&self) {
        self.tunnels.set(true);
    }

    /// The trace that is recorded of it.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    /// The split decided by `bucket`.
    pub(super) fn falls_into(&self, bucket: Bucket) {
        self.trace.iter().for_each(|trace| trace.bucket.set(Some(bucket)));
    }

    /// An attempt begins, of which there is to be a span.
    pub(super) fn begin_attempt(&self) {
        self.trace.iter().for_each(|trace| trace.begin_attempt(&self.downstream));
    }

    /// The present attempt is counted, and over: unless its answer leads into a tunnel, which it lasts as long as.
    pub(super) fn end_attempt(&self, ended: Ended) {
        match &self.trace {
            Some(trace) if ended.outcome.status == Some(SWITCHES) => trace.keep_open(ended),
            Some(trace) => self.write_attempt(trace, &ended, ended.begun + ended.outcome.total),
            None => {}
        }
    }

    /// What the present attempt led into is over.
    pub(super) fn close_attempt(&self) {
        if let Some(trace) = &self.trace
            && let Some(ended) = trace.take_open()
        {
            self.write_attempt(trace, &ended, clock::now());
        }
    }

    fn write_attempt(&self, trace: &Trace, ended: &Ended, until: Moment) {
        if let Some(mut spans) = self.downstream.worker.spans() {
            spans.span(|out| spans::attempt(self, trace, ended, until, out));
        }
    }

    fn status(&self) -> u16 {
        let cut_off = || self.error() == Some(ErrorReason::Shutdown);
        let none = || if cut_off() { CUT_OFF } else { CLIENT_LEFT };
        self.status.get().unwrap_or_else(none)
    }

    fn error(&self) -> Option<ErrorReason> {
        let worker = &self.downstream.worker;
        let is_open = || self.status.get().is_none() || self.tunnels.get() && worker.is_cutting();
        self.error.get().or_else(|| is_open().then(|| worker.reason_of_drop()))
    }

    fn client(&self) -> IpAddr {
        self.client.get().unwrap_or_else(|| self.downstream.peer.ip().to_canonical())
    }

    /// The backend of the last attempt, and the place of its endpoint there.
    fn tried(&self) -> Option<(&Backend, usize)> {
        let route = &self.table.routes()[self.route.get()?];
        let (target, endpoint) = self.tried.get()?;
        Some((&self.table.backends()[route.targets[target].backend], endpoint))
    }

    fn backend(&self) -> Option<&str> {
        Some(self.tried()?.0.name.as_str())
    }

    fn endpoint(&self) -> Option<&str> {
        let (backend, endpoint) = self.tried()?;
        Some(backend.endpoints[endpoint].address().as_str())
    }

    fn route(&self) -> Option<&str> {
        Some(self.table.routes()[self.route.get()?].name.as_str())
    }

    fn view<'a>(&'a self, noted: &'a Noted) -> View<'a> {
        View {
            downstream: &self.downstream,
            request_id: self.request_id.as_str(),
            client: self.client(),
            is_https: self.is_https.get(),
            noted,
            route: self.route(),
            backend: self.backend().map(str::as_bytes),
            status: Some(self.status()),
            groups: &[],
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let worker = &self.downstream.worker;
        let ended = self.ended.get().unwrap_or_else(clock::now);
        if let Some(trace) = &self.trace
            && let Some(mut spans) = worker.spans()
        {
            spans.span(|out| spans::server(self, trace, ended, out));
        }
        let (Some(log), Some(mut access)) = (&self.log, worker.access()) else { return };
        let (buffer, calendar) = &mut *access;
        buffer.line(|out| match &log.format {
            AccessFormat::Json => json::write(self, ended, calendar, out),
            AccessFormat::Template(template) => {
                text::write(self, template, ended, calendar, out);
            }
        });
    }
}

/// What the access log wants to know, if it wants a line of this request.
fn wanted<'t>(downstream: &Downstream, table: &'t LocalTable) -> Option<&'t Arc<AccessLog>> {
    let log = table.access_log()?;
    let points = u64::from(log.sample.basis_points());
    (points == 10_000 || downstream.worker.random() % 10_000 < points).then_some(log)
}

fn noted(
    log: Option<&Arc<AccessLog>>,
    is_traced: bool,
    head: (&Method, Version, &Uri),
    headers: &HeaderMap,
) -> Noted {
    match log.map(|log| &log.format) {
        Some(AccessFormat::Json) => Noted::of(head, headers, &SHOWN),
        Some(AccessFormat::Template(template)) => {
            let mut names: SmallVec<[HeaderName; 4]> = template.request_headers().collect();
            if is_traced {
                names.push(header::USER_AGENT);
            }
            Noted::of(head, headers, &names)
        }
        None => Noted::of(head, headers, &SHOWN[..1]),
    }
}

/// The entry of a request that was refused with `status` before anything in it could be relied on.
pub(super) fn refused(
    downstream: &Rc<Downstream>,
    reason: ErrorReason,
    status: StatusCode,
    request_id: &RequestId,
) -> Option<Rc<Entry>> {
    let table = downstream.worker.table();
    let log = wanted(downstream, &table)?;
    let wanted = (Some(log), None);
    let entry = Entry::new(downstream, &table, wanted, request_id, clock::now(), None);
    entry.status.set(Some(status.as_u16()));
    entry.fails(reason);
    Some(Rc::new(entry))
}
