//! The way of a request, as its list of chapters.

use std::rc::Rc;

use http::{HeaderMap, Response, request};
use hyper::body::{Body, Incoming};

use super::{
    access::{self, Entry},
    affinity,
    body::ResponseBody,
    context::{Choice, RequestContext},
    downstream::Downstream,
    edge,
    error::ProxyError,
    fallback::Fallback,
    forward::{Attempted, Exchange, Sending},
    headers::{self, Host, Origin, RequestId, Survey},
    measure::{self, Attempt, InFlight},
    mirror::{self, Copying},
    respond,
    trace::Trace,
    upstream::NO_WEBSOCKET,
};
use crate::{
    domain::{Balance, ErrorReason, Moment, Queue},
    lifecycle::clock,
    routing::{Asking, LocalTable},
};

/// Answers one request; whatever goes wrong is an answer too.
///
/// `parts` are lent: what an `async fn` takes it holds twice, and moves from here to there.
pub(super) async fn serve(
    downstream: &Rc<Downstream>,
    parts: &mut request::Parts,
    body: Incoming,
) -> Response<ResponseBody> {
    downstream.begin_serving(None);
    let begun = clock::now();
    let worker = &downstream.worker;
    let table = worker.table();
    let seen = Survey::of(&parts.headers);
    downstream.set_call(seen.has(Survey::CONTENT_TYPE) && headers::is_call(&parts.headers));
    let request_id = RequestId::of(&parts.headers, seen, || worker.random());
    let trace = Trace::begin(downstream, &table, &parts.headers, seen, begun);
    let entry = Entry::begin(downstream, &table, parts, &request_id, begun, trace);
    let start = Start { begun, table, seen, entry: entry.clone() };
    let mut response = match run(downstream, parts, body, start, &request_id).await {
        Ok(response) => response,
        Err(error) => {
            worker.shard().error(error.reason());
            entry.iter().for_each(|entry| entry.fails(error.reason()));
            respond::refused(downstream, error, &request_id)
        }
    };
    if let Some(entry) = entry {
        entry.answers(response.status().as_u16(), response.headers());
        response.body_mut().entry = Some(entry);
    }
    response
}

/// What a request begins with.
struct Start {
    begun: Moment,
    table: LocalTable,
    seen: Survey,
    entry: Option<Rc<Entry>>,
}

/// The answer to a request in whose head nothing can be relied on; it has its line in the access log.
pub(super) fn refuse_head(
    downstream: &Rc<Downstream>,
    error: ProxyError,
    fields: &HeaderMap,
) -> Response<ResponseBody> {
    let id = RequestId::of(fields, Survey::of(fields), || downstream.worker.random());
    downstream.worker.shard().error(error.reason());
    downstream.set_call(headers::is_call(fields));
    let mut response = respond::refused(downstream, error, &id);
    response.body_mut().entry = access::refused(downstream, error.reason(), response.status(), &id);
    response
}

async fn run(
    downstream: &Rc<Downstream>,
    parts: &mut request::Parts,
    body: Incoming,
    start: Start,
    request_id: &RequestId,
) -> Result<Response<ResponseBody>, ProxyError> {
    let host = Host::of(parts)?;
    let mut context = begin(downstream, parts, start, request_id)?;
    if let Some(port) = downstream.listener.redirect_to_https
        && !context.is_https
    {
        return respond::to_https(&context, &host, &parts.uri, port);
    }
    if headers::ends_here(parts, context.seen)? {
        return Ok(respond::last_hop(&context));
    }
    let route = find_route(&context, &host, parts)?;
    if let Some(answer) = edge::meet(&mut context, route, parts)? {
        return Ok(answer);
    }
    let mut choice = affinity::choose(&context, route, &parts.uri, &parts.headers);
    choice.bucket.into_iter().for_each(|bucket| context.tell(|entry| entry.falls_into(bucket)));
    admit_body(&context, &choice, &body)?;
    let mut fallback = Fallback::of(&context, &choice, &body);
    let mut sending = Sending::Streamed(body);
    let mut begun = context.begun;
    // Once, or twice where there is a fallback: the second attempt has none.
    loop {
        let left = match pick_endpoint(&context, &choice, begun, fallback.as_deref()) {
            Ok(Some((endpoint, mut attempt))) => {
                context.tell(|entry| entry.tries(choice.target, endpoint));
                let (context, choice, host) = (&context, &choice, &host);
                headers::forward(parts, context, choice, host, &mut downstream.added_mut())
                    .inspect_err(|error| attempt.fail(*error))?;
                mirror::begin(context, choice, parts, &sending);
                let retried = 0;
                let mut exchange = Exchange {
                    context,
                    choice,
                    host,
                    endpoint,
                    begun,
                    retried,
                    fallback,
                    attempt,
                    parts,
                };
                let answer = exchange.ask(sending).await;
                match exchange.settle(answer)? {
                    Attempted::Answered(parts, body) => {
                        return Ok(respond::proxied(parts, body, context, choice));
                    }
                    Attempted::Left(left) => left,
                }
            }
            Ok(None) => Box::pin(unpicked(&context, &choice, fallback, sending)).await?,
            Err(error) => {
                measure::unserved(&context, &choice, error);
                return Err(error);
            }
        };
        (choice, *parts, sending) = left.follow(&context)?;
        context.tell(Entry::falls_back);
        (fallback, begun) = (None, clock::now());
    }
}

/// Without an endpoint there is no attempt to count, but a failure there is, which the judge learns of: the request goes on
/// by its fallback all the same.
async fn unpicked(
    context: &RequestContext,
    choice: &Choice,
    fallback: Option<Box<Fallback>>,
    sending: Sending,
) -> Result<Box<Fallback>, ProxyError> {
    let shard = context.downstream.worker.shard();
    let judged = measure::unserved(context, choice, NO_ENDPOINT);
    let mut left = fallback.ok_or(NO_ENDPOINT)?;
    left.keep(context, sending).await?;
    [Some(left.series()), judged].into_iter().flatten().for_each(|series| shard.fallback(series));
    Ok(left)
}

fn begin(
    downstream: &Rc<Downstream>,
    parts: &request::Parts,
    start: Start,
    request_id: &RequestId,
) -> Result<RequestContext, ProxyError> {
    let Start { begun, table, seen, entry } = start;
    if parts.method == http::Method::CONNECT {
        let why = "CONNECT is for forward proxies; this is none";
        return Err(ProxyError::new(ErrorReason::MalformedRequest, why));
    }
    if parts.version != http::Version::HTTP_2 {
        headers::check_target(parts)?;
    }
    let is_trusted = downstream.is_trusted(downstream.peer.ip());
    let Origin { client, is_https } = Origin::of(&parts.headers, seen, downstream, is_trusted);
    entry.iter().for_each(|entry| entry.comes_from(client, is_https));
    Ok(RequestContext {
        table,
        begun,
        request_id: request_id.clone(),
        method: parts.method.clone(),
        upgrade: headers::upgrade(parts, seen),
        expects_continue: headers::expects_continue(parts, seen)?,
        client,
        is_https,
        entry,
        version: parts.version,
        noted: None,
        accepts: None,
        has_weak: false,
        seen,
        is_trusted,
        mirror: Copying::default(),
        downstream: downstream.clone(),
    })
}

fn find_route(
    context: &RequestContext,
    host: &Host,
    parts: &request::Parts,
) -> Result<usize, ProxyError> {
    let found = context.table.find(&host.name(), parts.uri.path());
    let at = found.ok_or_else(|| {
        ProxyError::new(ErrorReason::NoRoute, "no route serves this host and path")
    })?;
    context.tell(|entry| entry.takes_route(at));
    let route = &context.table.routes()[at];
    let total = route.timeouts.total;
    context.downstream.begin_serving(total.map(|total| context.begun + total));
    if let Some(rules) = &route.retry {
        context.table.retries(at).earn(rules.budget);
    }
    if let Some(rules) = &route.fallback {
        context.table.allowance(at).earn(rules.budget);
    }
    Ok(at)
}

fn admit_body(
    context: &RequestContext,
    choice: &Choice,
    body: &Incoming,
) -> Result<(), ProxyError> {
    match context.route(choice).max_body {
        Some(max) if body.size_hint().lower() > max => {
            Err(ProxyError::new(ErrorReason::BodyTooLarge, "the body is too large"))
        }
        _ => Ok(()),
    }
}

/// What the backend's balance picks an endpoint by.
pub(super) fn number(context: &RequestContext, choice: &Choice) -> u64 {
    let place = context.target(choice).backend;
    match (context.table.backends()[place].balance, choice.key) {
        (Balance::RoundRobin, _) => context.table.next_turn(place),
        (Balance::Hash, Some(key)) => key.0,
        (Balance::LeastInFlight | Balance::Ewma | Balance::Hash, _) => {
            context.downstream.worker.random()
        }
    }
}

const TOO_MANY: ProxyError = ProxyError::new(
    ErrorReason::TooManyInFlight,
    "the backend has as many requests under way as it may have",
);

const NO_ENDPOINT: ProxyError =
    ProxyError::new(ErrorReason::NoEndpoint, "no endpoint of the backend takes requests");

/// Picks an endpoint of the chosen backend and begins the attempt against it.
///
/// Where none takes requests, the request goes on by its `fallback` if that follows (`None`), else to whichever is not
/// drained: an unhealthy one may answer yet, and nobody else would.
fn pick_endpoint(
    context: &RequestContext,
    choice: &Choice,
    begun: Moment,
    fallback: Option<&Fallback>,
) -> Result<Option<(usize, Attempt)>, ProxyError> {
    let worker = &context.downstream.worker;
    let target = context.target(choice);
    let backend = &context.table.backends()[target.backend];
    if context.wants_websocket() && !backend.takes_websockets() {
        return Err(NO_WEBSOCKET);
    }
    if !context.table.has_room(target.backend, worker.index(), begun) {
        worker.shard().overflow(Queue::InFlight);
        return Err(TOO_MANY);
    }
    let number = number(context, choice);
    let asking = Asking { worker: worker.index(), now: begun, number, tried: None };
    let endpoint = match backend.pick(asking) {
        Some(endpoint) => endpoint,
        // Every one that takes requests has all that it may have.
        None if backend.usable(begun) > 0 => {
            worker.shard().overflow(Queue::InFlight);
            return Err(TOO_MANY);
        }
        None if fallback.is_some_and(|way| way.follows_error(context, NO_ENDPOINT)) => {
            return Ok(None);
        }
        None => backend.pick_any(asking).ok_or(NO_ENDPOINT)?,
    };
    let table = context.table.clone();
    let in_flight = InFlight::enter(table, choice, endpoint, worker.index());
    let entry = context.entry.as_ref().filter(|entry| entry.trace().is_some());
    Ok(Some((endpoint, Attempt::begin(worker.clone(), begun, in_flight, entry.cloned()))))
}
