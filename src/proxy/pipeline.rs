//! The way of a request, as its list of chapters.

use std::{convert::Infallible, rc::Rc};

use http::{Request, Response, request};
use hyper::body::{Body, Incoming};

use super::{
    affinity,
    body::ResponseBody,
    context::{Choice, RequestContext},
    downstream::Downstream,
    error::ProxyError,
    fallback::Fallback,
    forward::{Attempted, Exchange, Sending},
    headers::{self, Host, RequestId, Survey},
    measure::{self, Attempt, InFlight},
    mirror::{self, Copying},
    respond,
};
use crate::{
    decision::pick::pick,
    domain::{ErrorReason, Moment, Queue},
    lifecycle::clock,
    routing::SeenBy,
};

/// Answers one request; whatever goes wrong is an answer too.
pub(super) async fn serve(
    downstream: Rc<Downstream>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    downstream.begin_serving(None);
    let worker = downstream.worker.clone();
    let seen = Survey::of(request.headers());
    let request_id = RequestId::of(request.headers(), seen, || worker.random());
    match run(&downstream, request, seen, &request_id).await {
        Ok(response) => Ok(response),
        Err(error) => {
            worker.shard().error(error.reason());
            Ok(respond::refused(&downstream, error, &request_id))
        }
    }
}

async fn run(
    downstream: &Rc<Downstream>,
    request: Request<Incoming>,
    seen: Survey,
    request_id: &RequestId,
) -> Result<Response<ResponseBody>, ProxyError> {
    let (mut parts, body) = request.into_parts();
    let host = Host::of(&parts)?;
    let context = begin(downstream, &parts, seen, request_id)?;
    let route = find_route(&context, &host, &parts)?;
    let mut choice = affinity::choose(&context, route, &parts.uri, &parts.headers);
    admit_body(&context, &choice, &body)?;
    let mut fallback = Fallback::of(&context, &choice, &body);
    let mut sending = Sending::Streamed(body);
    let mut begun = context.begun;
    // Once, or twice where there is a fallback: the second attempt has none.
    loop {
        let left = match pick_endpoint(&context, &choice, begun) {
            Ok((endpoint, attempt)) => {
                let (context, choice, host) = (&context, &choice, &host);
                headers::forward(&mut parts, context, choice, host, &mut downstream.added_mut())?;
                mirror::begin(context, choice, &parts, &sending);
                let exchange = Exchange { context, choice, host, endpoint, begun, fallback };
                match exchange.run(parts, sending, attempt).await? {
                    Attempted::Answered(parts, body) => {
                        return Ok(respond::proxied(parts, body, context, choice));
                    }
                    Attempted::Left(left) => left,
                }
            }
            Err(error) => Box::pin(unpicked(&context, &choice, fallback, sending, error)).await?,
        };
        (choice, parts, sending) = left.follow(&context)?;
        (fallback, begun) = (None, clock::now());
    }
}

/// Without an endpoint there is no attempt to count, but a failure there is, which the judge learns of: the request may go
/// on all the same.
async fn unpicked(
    context: &RequestContext,
    choice: &Choice,
    mut fallback: Option<Box<Fallback>>,
    sending: Sending,
    error: ProxyError,
) -> Result<Box<Fallback>, ProxyError> {
    let shard = context.downstream.worker.shard();
    let judged = measure::unserved(context, choice, error);
    let left = fallback.take_if(|fallback| fallback.follows_error(context, error));
    let mut left = left.ok_or(error)?;
    left.keep(context, sending).await?;
    [Some(left.series()), judged].into_iter().flatten().for_each(|series| shard.fallback(series));
    Ok(left)
}

fn begin(
    downstream: &Rc<Downstream>,
    parts: &request::Parts,
    seen: Survey,
    request_id: &RequestId,
) -> Result<RequestContext, ProxyError> {
    if parts.method == http::Method::CONNECT {
        let why = "CONNECT is for forward proxies; this is none";
        return Err(ProxyError::new(ErrorReason::MalformedRequest, why));
    }
    if parts.uri.path() == "*" && parts.method != http::Method::OPTIONS {
        let why = "the target * is for OPTIONS alone";
        return Err(ProxyError::new(ErrorReason::MalformedRequest, why));
    }
    let is_trusted = downstream.is_trusted(downstream.peer.ip());
    Ok(RequestContext {
        table: downstream.worker.table(),
        begun: clock::now(),
        request_id: request_id.clone(),
        method: parts.method.clone(),
        upgrade: headers::upgrade(parts, seen),
        expects_continue: headers::expects_continue(parts, seen)?,
        client: affinity::client_address(downstream, is_trusted, &parts.headers),
        is_https: headers::is_https(&parts.headers, seen, is_trusted),
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
    let route = &context.table.routes()[at];
    let total = route.timeouts.total;
    context.downstream.begin_serving(total.map(|total| context.begun + total));
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

/// Picks an endpoint of the chosen backend and begins the attempt against it.
fn pick_endpoint(
    context: &RequestContext,
    choice: &Choice,
    begun: Moment,
) -> Result<(usize, Attempt), ProxyError> {
    let worker = &context.downstream.worker;
    let target = context.target(choice);
    let backend = &context.table.backends()[target.backend];
    if !context.table.has_room(target.backend, worker.index(), begun) {
        worker.shard().overflow(Queue::InFlight);
        let why = "the backend has as many requests under way as it may have";
        return Err(ProxyError::new(ErrorReason::TooManyInFlight, why));
    }
    let number = match backend.balance {
        crate::domain::Balance::LeastInFlight => worker.random(),
        crate::domain::Balance::RoundRobin => context.table.next_turn(target.backend),
    };
    let seen = SeenBy { backend, worker: worker.index() };
    let endpoint = pick(backend.balance, &seen, number, None).ok_or_else(|| {
        ProxyError::new(ErrorReason::NoEndpoint, "no endpoint of the backend takes requests")
    })?;
    let table = context.table.clone();
    let in_flight = InFlight::enter(table, choice, endpoint, worker.index());
    Ok((endpoint, Attempt::begin(worker.clone(), begun, in_flight)))
}
