//! The only place that makes answers: an endpoint's for the client, and Tidegate's own.

use std::{io::Write as _, rc::Rc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version,
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, EXPIRES, LAST_MODIFIED, LOCATION,
        RETRY_AFTER, SET_COOKIE,
    },
    response,
};
use hyper::body::Body as _;

use super::{
    body::ResponseBody,
    context::{Choice, RequestContext},
    downstream::Downstream,
    edge,
    error::ProxyError,
    headers::{self, Host, RequestId, X_REQUEST_ID},
};
use crate::{domain::ErrorReason, routing::Affinity};

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

static X_TIDEGATE_BACKEND: HeaderName = HeaderName::from_static("x-tidegate-backend");

/// An endpoint's answer as the client gets it.
pub(super) fn proxied(
    mut parts: response::Parts,
    mut body: ResponseBody,
    context: &RequestContext,
    choice: &Choice,
) -> Response<ResponseBody> {
    headers::answer(&mut parts, &context.method);
    if context.route(choice).edge.is_some() {
        edge::answer(&mut parts, &mut body, context, choice);
    }
    if let Some(cookie) = cookie(&parts.headers, context, choice) {
        parts.headers.append(SET_COOKIE, cookie);
    }
    if context.route(choice).expose_backend {
        parts.headers.insert(&X_TIDEGATE_BACKEND, context.target(choice).header.clone());
    }
    let closes = context.downstream.says_close() || ends_with_connection(&parts, &body, context);
    let switches = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let mut response = Response::from_parts(parts, body);
    if closes && !switches {
        say_close(&mut response, &context.downstream);
    }
    response
}

/// Tells the client that no further request may come over its connection.
fn say_close<B>(response: &mut Response<B>, downstream: &Downstream) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    if downstream.head().is_http_10() {
        // To an answer of HTTP/1.1 the library would add that the connection is kept, as the client had wished.
        *response.version_mut() = Version::HTTP_10;
    }
}

/// Whether nothing but the connection's end shows where the body ends: it has no length, and the client knows no chunks.
fn ends_with_connection(
    parts: &response::Parts,
    body: &ResponseBody,
    context: &RequestContext,
) -> bool {
    context.version == Version::HTTP_10
        && body.size_hint().exact().is_none()
        && context.method != Method::HEAD
        && !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The cookie of a session that begins here, unless a shared cache may keep the answer and give it to others.
fn cookie(headers: &HeaderMap, context: &RequestContext, choice: &Choice) -> Option<HeaderValue> {
    let token = choice.token?;
    let Affinity::Cookie { name, attributes, .. } = &context.route(choice).affinity else {
        return None;
    };
    let cacheable = matches!(context.method, Method::GET | Method::HEAD);
    if cacheable && may_be_shared(headers) {
        return None;
    }
    let secure = if context.is_https { "; Secure" } else { "" };
    HeaderValue::try_from(format!("{name}={}{attributes}{secure}", token.as_str())).ok()
}

/// Whether shared caches may keep an answer to a GET (RFC 9111 §3, §4.2.1 and §4.2.2).
///
/// `s-maxage` goes before `max-age`; `no-cache` lets a cache keep the answer and ask each time. Without a word about freshness a
/// cache may guess only from `last-modified`; an answer with neither is not kept.
fn may_be_shared(headers: &HeaderMap) -> bool {
    let (mut public, mut private, mut shared_age, mut age) = (false, false, None, None);
    for line in headers.get_all(CACHE_CONTROL) {
        for directive in line.as_bytes().split(|byte| *byte == b',') {
            let directive = directive.trim_ascii().to_ascii_lowercase();
            let seconds = |name: &[u8]| {
                let value = directive.strip_prefix(name)?.trim_ascii();
                Some(value.iter().any(|digit| !matches!(digit, b'0' | b'"')))
            };
            shared_age = seconds(b"s-maxage=").or(shared_age);
            age = seconds(b"max-age=").or(age);
            public |= matches!(directive.as_slice(), b"public" | b"no-cache");
            private |= matches!(directive.as_slice(), b"private" | b"no-store");
        }
    }
    let guessed = headers.contains_key(EXPIRES) || headers.contains_key(LAST_MODIFIED);
    !private && (public || shared_age.or(age).unwrap_or(guessed))
}

/// Sends a client that came in the clear to the same address with https at `port`; its method and body stay (RFC 9110 §15.4.9).
pub(super) fn to_https(
    context: &RequestContext,
    host: &Host,
    uri: &Uri,
    port: u16,
) -> Result<Response<ResponseBody>, ProxyError> {
    let malformed = |why| ProxyError::new(ErrorReason::MalformedRequest, why);
    let name = host.name();
    if name.is_empty() {
        return Err(malformed("without a host there is no address with https"));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path } else { "/" };
    let location = match port {
        443 => format!("https://{name}{path}"),
        port => format!("https://{name}:{port}{path}"),
    };
    let location = HeaderValue::try_from(location);
    let location = location.map_err(|_| malformed("the target is no address"))?;
    let downstream = &context.downstream;
    downstream.worker.shard().https_redirect();
    let nothing = ResponseBody::empty(downstream.clone());
    let mut response = own(context, StatusCode::PERMANENT_REDIRECT, nothing);
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// The answer to a request that may go no further, and so is Tidegate's to answer. OPTIONS succeeds; a TRACE would show what the
/// client sent, its secrets among it.
pub(super) fn last_hop(context: &RequestContext) -> Response<ResponseBody> {
    let nothing = ResponseBody::empty(context.downstream.clone());
    if context.method == Method::OPTIONS {
        return own(context, StatusCode::NO_CONTENT, nothing);
    }
    let mut response = own(context, StatusCode::METHOD_NOT_ALLOWED, nothing);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("OPTIONS"));
    response
}

/// An answer that needs no endpoint, and is no failure.
fn own(context: &RequestContext, status: StatusCode, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(context.request_id.as_str()) {
        headers.insert(&X_REQUEST_ID, id);
    }
    if context.downstream.says_close() {
        say_close(&mut response, &context.downstream);
    }
    response
}

/// Tidegate's own answer to a request that could not be served.
pub(super) fn refused(
    downstream: &Rc<Downstream>,
    error: ProxyError,
    request_id: &RequestId,
) -> Response<ResponseBody> {
    if downstream.is_call() {
        return refused_call(downstream, error, request_id);
    }
    let (content_type, text) = page(downstream, error, request_id);
    let body = ResponseBody::short(downstream.clone(), text);
    let mut response = Response::new(body);
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(&X_REQUEST_ID, id);
    }
    if let Some(wait_s) = error.wait_s() {
        headers.insert(RETRY_AFTER, wait_s.into());
    }
    if downstream.closes_after(error) {
        say_close(&mut response, downstream);
    }
    response
}

/// The same to a client of gRPC: a status that it understands, and nothing else.
fn refused_call(
    downstream: &Rc<Downstream>,
    error: ProxyError,
    request_id: &RequestId,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty(downstream.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(error.grpc_code())));
    // Words of Tidegate's own, which have no character that would have to be escaped.
    headers.insert("grpc-message", HeaderValue::from_static(error.detail()));
    if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(&X_REQUEST_ID, id);
    }
    if downstream.closes_after(error) {
        say_close(&mut response, downstream);
    }
    response
}

/// What the configuration has to say of an answer of Tidegate's own, else the reason in short.
fn page(
    downstream: &Downstream,
    error: ProxyError,
    request_id: &RequestId,
) -> (HeaderValue, Bytes) {
    let table = downstream.worker.table();
    match table.pages().find(error.status().as_u16()) {
        Some(page) => (page.content_type.clone(), page.text.clone()),
        None => (PLAIN, words(error, request_id).into()),
    }
}

/// A route's word that what the client looks for is elsewhere.
pub(super) fn redirected(
    context: &RequestContext,
    status: u16,
    location: HeaderValue,
) -> Response<ResponseBody> {
    let text = Bytes::from_static(b"what you look for is elsewhere\n");
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
    let mut response = own(context, status, ResponseBody::short(context.downstream.clone(), text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PLAIN);
    headers.insert(LOCATION, location);
    response
}

/// An answer of Tidegate's own as it goes over the wire.
pub(super) struct Words {
    pub(super) bytes: Vec<u8>,
    body: usize,
}

impl Words {
    /// How long the body is.
    pub(super) const fn body_bytes(&self) -> u64 {
        self.body as u64
    }
}

/// The same in bytes, for a connection whose request the library never saw.
pub(super) fn last_words(
    downstream: &Downstream,
    error: ProxyError,
    request_id: &RequestId,
) -> Words {
    let (content_type, text) = page(downstream, error, request_id);
    Words { bytes: whole(error, content_type.as_bytes(), &text, request_id), body: text.len() }
}

fn whole(error: ProxyError, content_type: &[u8], text: &[u8], request_id: &RequestId) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {}\r\ncontent-type: ", error.status()).into_bytes();
    answer.extend_from_slice(content_type);
    let (length, id) = (text.len(), request_id.as_str());
    // Writing to memory cannot fail.
    let _ = write!(
        answer,
        "\r\ncache-control: no-store\r\ncontent-length: {length}\r\nx-request-id: {id}\r\n\
         connection: close\r\n\r\n",
    );
    answer.extend_from_slice(text);
    answer
}

/// What a listener says that has all the connections it may have.
pub(super) fn full(request_id: &RequestId) -> Vec<u8> {
    let (id, text) = (request_id.as_str(), "too many connections\n");
    let length = text.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
         cache-control: no-store\r\ncontent-length: {length}\r\nx-request-id: {id}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

fn words(error: ProxyError, request_id: &RequestId) -> String {
    let (status, label, detail) = (error.status(), error.reason().label(), error.detail());
    let id = request_id.as_str();
    format!("{status}\n{label}: {detail}\nrequest id: {id}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        may_be_shared(&headers)
    }

    #[test]
    fn a_cookie_never_gets_into_a_shared_cache() {
        assert!(shared(&[("cache-control", "public")]));
        assert!(shared(&[("cache-control", "max-age=60")]));
        assert!(shared(&[("cache-control", "x, S-MaxAge=5")]));
        assert!(shared(&[("cache-control", "s-maxage=60, max-age=0")]));
        assert!(shared(&[("cache-control", "no-cache"), ("etag", "x")]));
        assert!(shared(&[("cache-control", "private=\"x-id\", max-age=60")]));
        assert!(shared(&[("expires", "Thu, 01 Dec 2044 16:00:00 GMT")]));
        assert!(shared(&[("last-modified", "Thu, 01 Dec 1994 16:00:00 GMT")]));
    }

    #[test]
    fn and_is_given_wherever_none_may_keep_it() {
        assert!(!shared(&[]));
        assert!(!shared(&[("cache-control", "private, max-age=60")]));
        assert!(!shared(&[("cache-control", "no-store")]));
        assert!(!shared(&[("cache-control", "max-age=0"), ("last-modified", "x")]));
    }

    #[test]
    fn last_words_are_one_whole_answer() {
        let error = ProxyError::new(ErrorReason::HeadTimeout, "slow");
        let id = RequestId::new(|| 7);
        let text = whole(error, PLAIN.as_bytes(), words(error, &id).as_bytes(), &id);
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    }
}
