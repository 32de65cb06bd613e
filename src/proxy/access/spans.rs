//! The spans of a recorded request: its own, as a server, and one for each attempt, as a client. What they say follows
//! OpenTelemetry's semantic conventions for HTTP, and what the conventions have no word for is called `tidegate.*`.
//!
//! Names and methods are of few different values, whatever clients send; what is a client's own word is bounded. Queries
//! and other headers than the user agent are not told: they may hold secrets.

use http::{Method, Version, header};

use super::Entry;
use crate::{
    config::model::BackendProtocol,
    decision::classify,
    domain::{Blame, Class, ErrorReason, Location, Moment},
    proxy::{
        headers::Host,
        trace::{Ended, Trace},
    },
    routing::Backend,
    telemetry::spans::otlp::{Attributes, Span, SpanKind},
};

/// Methods that the conventions know.
const KNOWN: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::CONNECT,
    Method::TRACE,
];

/// Appends the span of the request, which ended at `ended`.
pub(super) fn server(entry: &Entry, trace: &Trace, ended: Moment, out: &mut Vec<u8>) {
    let (status, error) = (entry.status.get(), entry.error());
    let span = Span {
        trace: trace.id(),
        id: trace.span,
        parent: trace.parent(),
        is_remote: trace.parent().is_some(),
        kind: SpanKind::Server,
        name: format_args!("{}{}", word(entry), Behind(entry.route())),
        start_ns: trace.wall_ns(entry.begun),
        end_ns: trace.wall_ns(ended),
        is_error: status.is_some_and(|status| status >= 500) || error.is_some_and(is_ours),
    };
    span.write(out, |say| {
        ask(entry, say);
        client(entry, say);
        answer(status, 500, error, say);
        if let Some(route) = entry.route() {
            say.text("tidegate.route", route);
        }
        if let Some(backend) = entry.backend() {
            say.text("tidegate.backend", backend);
        }
        if let Some(bucket) = trace.bucket.get() {
            say.number("tidegate.bucket", bucket.number().into());
        }
        say.text("tidegate.request_id", entry.request_id.as_str());
        if entry.falls_back.get() {
            say.truth("tidegate.fallback", true);
        }
    });
}

/// Appends the span of an attempt, which ended at `until`.
pub(super) fn attempt(
    entry: &Entry,
    trace: &Trace,
    ended: &Ended,
    until: Moment,
    out: &mut Vec<u8>,
) {
    let Ended { begun, outcome, reason, call } = *ended;
    let (id, before) = trace.attempt();
    let failed = outcome.class == Class::Failure || reason.is_some_and(is_ours);
    let span = Span {
        trace: trace.id(),
        id,
        parent: Some(trace.span),
        is_remote: false,
        kind: SpanKind::Client,
        name: format_args!("{}{}", word(entry), Behind(entry.backend())),
        start_ns: trace.wall_ns(begun),
        end_ns: trace.wall_ns(until),
        is_error: failed || outcome.status.is_some_and(|status| status >= 400),
    };
    span.write(out, |say| {
        method(entry, say);
        if let Some((backend, endpoint)) = entry.tried() {
            asked(backend, endpoint, trace, say);
        }
        answer(outcome.status, 400, reason, say);
        if let Some(call) = call {
            say.number("rpc.grpc.status_code", call.into());
        }
        // A call of gRPC fails by its own status, or by having none, under a status of HTTP that is good.
        if failed && reason.is_none() && outcome.status.is_some_and(|status| status < 400) {
            match call {
                Some(call) => say.shown("error.type", format_args!("{call}")),
                None => say.text("error.type", "grpc_status_missing"),
            }
        }
        if before > 0 {
            say.number("http.request.resend_count", before.into());
        }
        if let Some(backend) = entry.backend() {
            say.text("tidegate.backend", backend);
        }
        say.text("tidegate.class", outcome.class.label());
    });
}

/// What is put behind a method.
struct Behind<'n>(Option<&'n str>);

impl std::fmt::Display for Behind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, " {name}"))
    }
}

/// The method, where the conventions know it; else a request like any other.
fn word(entry: &Entry) -> &str {
    let method = entry.noted.as_ref().map(|noted| &noted.method);
    method.filter(|method| KNOWN.contains(method)).map_or("HTTP", Method::as_str)
}

fn method(entry: &Entry, say: &mut Attributes<'_, '_>) {
    let Some(noted) = &entry.noted else { return };
    if KNOWN.contains(&noted.method) {
        say.text("http.request.method", noted.method.as_str());
    } else {
        say.text("http.request.method", "_OTHER");
        say.text("http.request.method_original", noted.method.as_str());
    }
}

/// What the client asked for.
fn ask(entry: &Entry, say: &mut Attributes<'_, '_>) {
    method(entry, say);
    say.text("url.scheme", if entry.is_https.get() { "https" } else { "http" });
    let Some(noted) = &entry.noted else { return };
    say.text("url.path", noted.uri.path());
    say.text("network.protocol.version", version(noted.version));
    if let Some(value) = &noted.host {
        let host = Host { value: value.clone() };
        say.text("server.address", &host.name());
        if let Some(port) = host.port() {
            say.number("server.port", port.into());
        }
    }
    if let Some(agent) = noted.header(&header::USER_AGENT) {
        say.lossy("user_agent.original", agent.as_bytes());
    }
}

/// Who asked.
fn client(entry: &Entry, say: &mut Attributes<'_, '_>) {
    let (client, peer) = (entry.client(), entry.downstream.peer);
    say.shown("client.address", format_args!("{}", client.to_canonical()));
    say.text("network.peer.address", entry.downstream.address_text());
    say.number("network.peer.port", peer.port().into());
}

/// What an endpoint was asked for.
fn asked(backend: &Backend, endpoint: usize, trace: &Trace, say: &mut Attributes<'_, '_>) {
    let address = backend.endpoints[endpoint].address();
    let scheme = if backend.tls.is_some() { "https" } else { "http" };
    say.text("url.scheme", scheme);
    match address.location() {
        Location::Network { host, port } => {
            say.text("server.address", host);
            say.number("server.port", port.into());
        }
        Location::Unix(path) => say.lossy("server.address", path.as_os_str().as_encoded_bytes()),
    }
    if let Some(target) = trace.target() {
        say.text("url.full", &format!("{scheme}://{}{}", address.authority(), target.path()));
    }
    match backend.protocol {
        BackendProtocol::Http1 => say.text("network.protocol.version", "1.1"),
        BackendProtocol::Http2 => say.text("network.protocol.version", "2"),
        // Known to the connection alone.
        BackendProtocol::Auto => {}
    }
}

/// What came of it: the status, and what kind of error it was, where it was one from `least` on.
fn answer(
    status: Option<u16>,
    least: u16,
    reason: Option<ErrorReason>,
    say: &mut Attributes<'_, '_>,
) {
    if let Some(status) = status {
        say.number("http.response.status_code", status.into());
    }
    match (reason, status) {
        (Some(reason), _) => say.text("error.type", reason.label()),
        (None, Some(status)) if status >= least => {
            say.shown("error.type", format_args!("{status}"));
        }
        (None, Some(_) | None) => {}
    }
}

const fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// Whether `reason` is a fault of this side's, and not of who asked.
fn is_ours(reason: ErrorReason) -> bool {
    classify::of_error(reason).1 != Some(Blame::Downstream)
}
