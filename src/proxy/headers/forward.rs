//! A client's head made into the one that the endpoint gets.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{CONNECTION, EXPECT, FORWARDED, HOST, TE, UPGRADE},
    request,
};

use super::{
    Host, Survey, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID, origin,
    remove_hop_by_hop, tokens,
};
use crate::{
    domain::ErrorReason,
    proxy::{
        context::{Choice, RequestContext},
        edge,
        error::ProxyError,
        head::Framing,
        trace::{TRACEPARENT, TRACESTATE, TraceParent, not_zero},
    },
};

/// Bytes that Tidegate adds to most heads at most.
const USUAL: usize = 512;

static X_TIDEGATE_BUCKET: HeaderName = HeaderName::from_static("x-tidegate-bucket");
static X_TIDEGATE_MIRROR: HeaderName = HeaderName::from_static("x-tidegate-mirror");

/// Turns a client's request head into the one that the endpoint gets.
///
/// What Tidegate adds is written to `added` as it goes over the wire, each line with its CR LF: to put it into the map first
/// would cost a hash, an allocation and an encoding for every header of every request. No line of `added` has its name in
/// the map afterwards.
pub(in crate::proxy) fn forward(
    parts: &mut request::Parts,
    context: &RequestContext,
    choice: &Choice,
    host: &Host,
    added: &mut Vec<u8>,
) -> Result<(), ProxyError> {
    let seen = context.seen;
    let headers = &mut parts.headers;
    let wants_trailers = seen.has(Survey::TE)
        && tokens(headers, TE).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    if seen.has(Survey::HOP_BY_HOP | Survey::LENGTH) {
        remove_hop_by_hop(headers);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(protocol) = &context.upgrade {
        headers.insert(UPGRADE, protocol.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if seen.has(Survey::EXPECT) && !context.expects_continue {
        headers.remove(EXPECT);
    }
    if host.value.is_empty() {
        headers.insert(HOST, endpoint_host(context, choice)?);
    } else if seen.has(Survey::CONNECTION) || parts.uri.authority().is_some() {
        headers.insert(HOST, host.value.clone());
    }
    added.clear();
    added.reserve(USUAL);
    add_forwarded(headers, context, host, added);
    add_trace(headers, context, added);
    if seen.has(Survey::REQUEST_ID) {
        headers.remove(&X_REQUEST_ID);
    }
    add_line(added, "x-request-id", context.request_id.as_str().as_bytes());
    if seen.has(Survey::BUCKET) {
        headers.remove(&X_TIDEGATE_BUCKET);
    }
    // Whoever heeds it must not be told by just anybody that a request is none.
    if seen.has(Survey::MIRROR) && !context.is_trusted {
        headers.remove(&X_TIDEGATE_MIRROR);
    }
    match context.downstream.head().framing() {
        // Of a body that is empty nothing is said otherwise; some servers ask for the word.
        Framing::Length(0) => add_line(added, "content-length", b"0"),
        // A stream that ends with its head has no need of the word.
        Framing::Absent
            if context.downstream.is_stream() && has_body_by_nature(&context.method) =>
        {
            add_line(added, "content-length", b"0");
        }
        Framing::Length(_) | Framing::Chunked | Framing::Absent => {}
    }
    if let Some(bucket) = choice.bucket {
        let mut digits = itoa::Buffer::new();
        add_line(added, "x-tidegate-bucket", digits.format(bucket.number()).as_bytes());
    }
    parts.version = Version::HTTP_11;
    if parts.uri.authority().is_some() {
        // The endpoint gets the same path bytes in origin form.
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    if context.route(choice).edge.is_some() {
        edge::forward(parts, context, choice, added)?;
    }
    context.trace().into_iter().for_each(|trace| trace.asks_for(&parts.uri));
    Ok(())
}

/// Whether servers expect a request of this method to say how long its body is (RFC 9110 §8.6).
fn has_body_by_nature(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Writes one header line; `value` comes from a header's value or from Tidegate, so it holds no line end.
fn add_line(added: &mut Vec<u8>, name: &str, value: &[u8]) {
    added.extend_from_slice(name.as_bytes());
    added.extend_from_slice(b": ");
    added.extend_from_slice(value);
    added.extend_from_slice(b"\r\n");
}

/// An HTTP/1.0 request may come without a host; HTTP/1.1 needs one.
fn endpoint_host(context: &RequestContext, choice: &Choice) -> Result<HeaderValue, ProxyError> {
    let backend = context.target(choice).backend;
    let address = context.table.backends()[backend].endpoints.first();
    let text = address.map_or("", |endpoint| endpoint.address().authority());
    HeaderValue::from_str(text)
        .map_err(|_| ProxyError::new(ErrorReason::Internal, "the endpoint's name is no header"))
}

fn add_forwarded(
    headers: &mut HeaderMap,
    context: &RequestContext,
    host: &Host,
    added: &mut Vec<u8>,
) {
    let own = context.downstream.address_text().as_bytes();
    let (mut keeps_proto, mut keeps_host, mut told_host) = (false, false, None);
    if !context.seen.has(Survey::FORWARDED) {
        add_line(added, "x-forwarded-for", own);
    } else if context.is_trusted {
        keeps_proto = headers.contains_key(&X_FORWARDED_PROTO);
        keeps_host = headers.contains_key(&X_FORWARDED_HOST);
        if !keeps_host {
            told_host = origin::told_host(headers, &context.downstream);
        }
        add_line(added, "x-forwarded-for", &chain(headers, context, own));
        headers.remove(&X_FORWARDED_FOR);
    } else {
        for name in [&FORWARDED, &X_FORWARDED_FOR, &X_FORWARDED_HOST, &X_FORWARDED_PROTO] {
            headers.remove(name);
        }
        add_line(added, "x-forwarded-for", own);
    }
    if context.downstream.listener.forwarded {
        add_standard(headers, context, host, added);
    }
    if !keeps_proto {
        let proto: &[u8] = if context.is_https { b"https" } else { b"http" };
        add_line(added, "x-forwarded-proto", proto);
    }
    let named = told_host.as_ref().unwrap_or(&host.value);
    if !keeps_host && !named.is_empty() {
        add_line(added, "x-forwarded-host", named.as_bytes());
    }
}

/// What a trusted proxy lists in `x-forwarded-for`, and the proxy's `own` address; where `forwarded` alone told of the client,
/// that one stands for the list.
fn chain(headers: &HeaderMap, context: &RequestContext, own: &[u8]) -> Vec<u8> {
    let mut chain = Vec::new();
    let mut lines = headers.get_all(&X_FORWARDED_FOR).iter().peekable();
    if lines.peek().is_none() && context.client != context.downstream.peer.ip().to_canonical() {
        chain.extend_from_slice(format!("{}, ", context.client).as_bytes());
    }
    for line in lines {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(own);
    chain
}

/// `forwarded` (RFC 7239), continued where `x-forwarded-for` is.
fn add_standard(
    headers: &mut HeaderMap,
    context: &RequestContext,
    host: &Host,
    added: &mut Vec<u8>,
) {
    let mut chain = Vec::new();
    if context.is_trusted {
        for line in headers.get_all(FORWARDED) {
            chain.extend_from_slice(line.as_bytes());
            chain.extend_from_slice(b", ");
        }
    }
    headers.remove(FORWARDED);
    let own = context.downstream.address_text();
    // An IPv6 address stands in brackets, and so in quotes; a host may have a port, which needs them too.
    let (open, close) = if own.contains(':') { ("\"[", "]\"") } else { ("", "") };
    let scheme = if context.is_https { "https" } else { "http" };
    chain.extend_from_slice(format!("for={open}{own}{close};proto={scheme}").as_bytes());
    if !host.value.is_empty() {
        chain.extend_from_slice(b";host=\"");
        chain.extend_from_slice(host.value.as_bytes());
        chain.push(b'"');
    }
    add_line(added, "forwarded", &chain);
}

/// W3C Trace Context. Where no traces are recorded a valid parent goes on as it is, and else a trace begins here. Where some
/// are, the endpoint is told of the attempt's own span, or that nobody records this request.
fn add_trace(headers: &mut HeaderMap, context: &RequestContext, added: &mut Vec<u8>) {
    let mut given = None;
    if context.seen.has(Survey::TRACE) {
        given = TraceParent::of(headers);
        if given.is_none() {
            headers.remove(&TRACEPARENT);
            headers.remove(&TRACESTATE);
        }
    }
    let random = || context.downstream.worker.random();
    let onwards = match (context.trace(), given) {
        (Some(trace), _) => trace.onwards(),
        (None, None) => TraceParent::begun(random),
        // A client that is not believed would have all that stand behind record what nobody does here.
        (None, Some(parent)) if parent.is_sampled() && context.table.traces().is_some() => {
            parent.next(not_zero(random), false)
        }
        (None, Some(_)) => return,
    };
    if given.is_some() {
        headers.remove(&TRACEPARENT);
    }
    add_line(added, "traceparent", &onwards.text());
}
