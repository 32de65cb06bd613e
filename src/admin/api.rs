//! The API's routes and what each does.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::{Body, to_bytes},
    extract::{FromRequestParts, Path, Query, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, patch, post, put},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    auth::{self, Admission, Peer},
    fault::Fault,
    rollouts,
    stream::{self, Streams},
    wire::{
        EndpointStatus, EndpointVerb, Events, Reloaded, RouteStatus, Signature, SplitSet,
        SplitWish, Status,
    },
};
use crate::{
    control::{ControlHandle, SetEndpoint, SetSplit},
    domain::Queue,
    telemetry::{Exporter, METRICS_CONTENT_TYPE},
};

const MAX_BODY: usize = 64 << 10;
const EVENTS_AT_ONCE: usize = 100;
const MAX_EVENTS_AT_ONCE: usize = 1_000;
/// How long an answer waits for the disk: longer than a healthy one takes.
const DISK_PATIENCE: Duration = Duration::from_millis(250);
const OPENAPI: &str = include_str!("openapi.json");

/// What handlers work with.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) control: ControlHandle,
    pub(super) exporter: Arc<Exporter>,
    pub(super) streams: Streams,
}

/// Everything there is, as `openapi.json` describes it.
fn routes() -> [(Method, &'static str, MethodRouter<Api>); 18] {
    [
        (Method::GET, "/", get(front_page)),
        (Method::GET, "/healthz", get(|| async { "ok\n" })),
        (Method::GET, "/readyz", get(ready)),
        (Method::GET, "/metrics", get(metrics)),
        (Method::GET, "/openapi.json", get(openapi)),
        (Method::GET, "/v1/status", get(status)),
        (Method::PUT, "/v1/routes/{route}/split", put(set_split)),
        (Method::GET, "/v1/events", get(events)),
        (Method::GET, "/v1/events/stream", get(event_stream)),
        (Method::POST, "/v1/backends/{backend}/endpoints/{address}/drain", post(drain)),
        (Method::POST, "/v1/backends/{backend}/endpoints/{address}/ready", post(make_ready)),
        (Method::POST, "/v1/reload", post(reload)),
        (Method::GET, "/v1/routes/{route}", get(route)),
        (Method::GET, "/v1/rollouts/{rollout}", get(rollouts::show)),
        (Method::PATCH, "/v1/rollouts/{rollout}", patch(rollouts::set)),
        (Method::GET, "/v1/rollouts/{rollout}/report", get(rollouts::report)),
        (Method::POST, "/v1/rollouts/{rollout}/preflight", post(rollouts::preflight)),
        (Method::POST, "/v1/rollouts/{rollout}/{verb}", post(rollouts::operate)),
    ]
}

/// The service for one kind of connection.
pub(super) fn router(api: Api, admission: Admission) -> Router {
    let mut router = Router::new();
    for (_, path, handler) in routes() {
        router = router.route(path, handler);
    }
    router
        .fallback(|| async {
            let message = "there is nothing here; GET /openapi.json lists what there is";
            Fault::new(StatusCode::NOT_FOUND, "not_found", message)
        })
        .method_not_allowed_fallback(|| async {
            let message = "the method does not fit; GET /openapi.json lists those that do";
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
        })
        .layer(middleware::from_fn_with_state(admission, auth::guard))
        .with_state(api)
}

async fn front_page() -> &'static str {
    concat!(
        "Tidegate ",
        env!("CARGO_PKG_VERSION"),
        "\n\n/v1/status      how things stand\n/v1/events      what happened\n",
        "/metrics        numbers for Prometheus\n/openapi.json   everything there is\n",
    )
}

async fn ready(State(api): State<Api>) -> Result<&'static str, Fault> {
    if api.control.is_draining() {
        let message = "draining: no new work";
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message));
    }
    Ok("ready\n")
}

async fn metrics(State(api): State<Api>) -> Result<Response, Fault> {
    let text = api.exporter.render().map_err(|error| {
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })?;
    Ok(([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response())
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.control.status())
}

async fn route(
    State(api): State<Api>,
    InPath(name): InPath<String>,
) -> Result<Json<RouteStatus>, Fault> {
    let known = api.control.status().routes.into_iter().find(|route| route.name.as_str() == name);
    let missing = || Fault::new(StatusCode::NOT_FOUND, "not_found", "there is no such route");
    known.map(Json).ok_or_else(missing)
}

async fn set_split(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    InPath(route): InPath<String>,
    body: Body,
) -> Result<Json<SplitSet>, Fault> {
    let SplitWish { shares, signature } = from_json(body, None).await?;
    let actor = auth::actor(peer, &signature)?;
    let wish = SetSplit { route, shares, actor, reason: signature.reason };
    let route = api.control.set_split(wish).await?;
    let written = tokio::time::timeout(DISK_PATIENCE, api.control.audit().flush()).await;
    Ok(Json(SplitSet { route, durable: written.unwrap_or(false) }))
}

async fn drain(
    api: State<Api>,
    peer: Extension<Peer>,
    place: InPath<(String, String)>,
    body: Body,
) -> Result<Json<EndpointStatus>, Fault> {
    set_endpoint(api, peer, place, body, EndpointVerb::Drain).await
}

async fn make_ready(
    api: State<Api>,
    peer: Extension<Peer>,
    place: InPath<(String, String)>,
    body: Body,
) -> Result<Json<EndpointStatus>, Fault> {
    set_endpoint(api, peer, place, body, EndpointVerb::Ready).await
}

async fn set_endpoint(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    InPath((backend, address)): InPath<(String, String)>,
    body: Body,
    verb: EndpointVerb,
) -> Result<Json<EndpointStatus>, Fault> {
    let signature = from_json(body, Some(Signature::default())).await?;
    let actor = auth::actor(peer, &signature)?;
    let wish = SetEndpoint { backend, address, verb, actor, reason: signature.reason };
    Ok(Json(api.control.set_endpoint(wish).await?))
}

async fn reload(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Json<Reloaded>, Fault> {
    let signature = from_json(body, Some(Signature::default())).await?;
    let actor = auth::actor(peer, &signature)?;
    Ok(Json(api.control.reload(actor).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    after: Option<u64>,
    limit: Option<usize>,
}

async fn events(
    State(api): State<Api>,
    InQuery(Page { after, limit }): InQuery<Page>,
) -> Result<Json<Events>, Fault> {
    let limit = limit.unwrap_or(EVENTS_AT_ONCE);
    if !(1..=MAX_EVENTS_AT_ONCE).contains(&limit) {
        let fault = format!("limit must be between 1 and {MAX_EVENTS_AT_ONCE}");
        return Err(Fault::invalid(fault.clone(), vec![fault]));
    }
    Ok(Json(Events { events: api.control.audit().read(after, limit).await }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    after: Option<u64>,
}

async fn event_stream(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    InQuery(Start { after }): InQuery<Start>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Fault> {
    let Some(seat) = api.streams.seat(peer) else {
        api.control.recorder().overflow(Queue::EventStream);
        let message = "too many streams of events are open; close one, or ask /v1/events";
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message));
    };
    // A browser that lost the stream says where it was.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    Ok(stream::follow(api.control.audit().clone(), last.or(after), seat))
}

/// Parameters in the path.
pub(super) struct InPath<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(read)| Self(read)).map_err(|fault| Fault::bad_request(fault.body_text()))
    }
}

/// Parameters in the query.
pub(super) struct InQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for InQuery<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let read = Query::from_request_parts(parts, state).await;
        read.map(|Query(read)| Self(read)).map_err(|fault| Fault::bad_request(fault.body_text()))
    }
}

/// Reads a body; `absent` stands for an empty one.
pub(super) async fn from_json<T: DeserializeOwned>(
    body: Body,
    absent: Option<T>,
) -> Result<T, Fault> {
    let bytes = to_bytes(body, MAX_BODY).await.map_err(|_| {
        let message = format!("the body is broken off, or longer than {MAX_BODY} bytes");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    })?;
    match absent {
        Some(absent) if bytes.is_empty() => Ok(absent),
        // A list would be taken for the fields in their order.
        Some(_) | None if bytes.trim_ascii_start().first() == Some(&b'[') => {
            Err(Fault::bad_request("the body is not what it should be: a list, not an object"))
        }
        Some(_) | None => serde_json::from_slice(&bytes).map_err(|error| {
            Fault::bad_request(format!("the body is not what it should be: {error}"))
        }),
    }
}

#[cfg(test)]
mod tests;
