//! Headers on their way: what is checked, what ends here, and what Tidegate adds.
//!
//! Order matters: first everything that a peer may name in `connection` is removed, then Tidegate's own headers are set. So
//! nothing that a client sends can take one of ours away (RFC 9110 §7.6.1).

mod forward;
mod forwarded;
mod hops;
mod host;
mod origin;
mod request_id;
mod survey;
mod target;
mod upgrade;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST,
        MAX_FORWARDS, PROXY_AUTHORIZATION, SET_COOKIE, UPGRADE,
    },
    request, response,
};
use smallvec::SmallVec;

#[cfg(fuzzing)]
pub(super) use self::origin::told_client;
pub(super) use self::{
    forward::forward,
    hops::ends_here,
    host::Host,
    origin::Origin,
    request_id::RequestId,
    survey::Survey,
    target::check_target,
    upgrade::{accepts_key, keeps_to, names_websocket, opens_websocket, upgrade},
};
use super::error::ProxyError;
use crate::domain::ErrorReason;

pub(super) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whether the client waits with its body until it is asked for it.
///
/// # Errors
/// `MalformedRequest` for an expectation that nobody knows, and for more than one: to ignore it would be a guess.
pub(super) fn expects_continue(parts: &request::Parts, seen: Survey) -> Result<bool, ProxyError> {
    if !seen.has(Survey::EXPECT) {
        return Ok(false);
    }
    let mut lines = parts.headers.get_all(EXPECT).iter();
    let (first, more) = (lines.next(), lines.next());
    let known = first.is_some_and(|line| line.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if known && more.is_none() {
        return Ok(parts.version == Version::HTTP_11);
    }
    Err(ProxyError::new(ErrorReason::MalformedRequest, "an expectation other than 100-continue"))
}

/// Whether a message is one of gRPC. Its form for browsers (`grpc-web`) is plain HTTP, with its status in the body.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest, [] | [b'+' | b';', ..]))
}

/// Whether an answer says that it came from a cache, as in `HIT` or `Hit from cloud`.
pub(super) fn is_hit(value: &HeaderValue) -> bool {
    value.as_bytes().get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case(b"hit"))
}

/// All lines of a header as one (RFC 9110 §5.3; RFC 9113 §8.2.3 for cookies), as Nginx has them. Most have one, which costs
/// nothing.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let (first, second) = (lines.next()?, lines.next());
    let Some(second) = second else { return Some(first.clone()) };
    let between: &[u8] = if name == COOKIE { b"; " } else { b", " };
    let mut whole = first.as_bytes().to_vec();
    for line in [second].into_iter().chain(lines) {
        whole.extend_from_slice(between);
        whole.extend_from_slice(line.as_bytes());
    }
    HeaderValue::from_maybe_shared(Bytes::from(whole)).ok()
}

/// The items of a comma-separated header, over all its lines.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    let items = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    items.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Removes what concerns this connection alone: the fixed set, and whatever `connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = tokens(headers, CONNECTION).filter(|token| !is_option(token));
    let mut doomed: SmallVec<[HeaderName; 4]> =
        named.filter_map(|token| HeaderName::from_bytes(token).ok()).collect();
    let here_only = Survey::HOP_BY_HOP | Survey::LENGTH;
    let fixed = headers.keys().filter(|name| Survey::bits(name) & here_only != 0);
    doomed.extend(fixed.cloned());
    for name in doomed {
        headers.remove(name);
    }
}

/// Whether an item of `connection` speaks of the connection itself and names no header that is not removed anyway.
fn is_option(token: &[u8]) -> bool {
    [b"keep-alive".as_slice(), b"close", b"upgrade"]
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option))
}

/// Turns an endpoint's answer head into the one that the client gets.
pub(super) fn answer(parts: &mut response::Parts, method: &Method) {
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = if switching { parts.headers.get(UPGRADE).cloned() } else { None };
    // To HEAD no body follows, and the length tells of the one that a GET would bring.
    let heads = method == Method::HEAD;
    let length = if heads { parts.headers.get(CONTENT_LENGTH).cloned() } else { None };
    let seen = Survey::of(&parts.headers);
    if seen.has(Survey::HOP_BY_HOP) {
        remove_hop_by_hop(&mut parts.headers);
    } else if seen.has(Survey::LENGTH) {
        parts.headers.remove(CONTENT_LENGTH);
    }
    if let Some(protocol) = protocol {
        parts.headers.insert(UPGRADE, protocol);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if let Some(length) = length {
        parts.headers.insert(CONTENT_LENGTH, length);
    }
    parts.version = Version::HTTP_11;
}

/// Trailers without what must not come after a body: framing, routing, and what is hop by hop (RFC 9110 §6.5.1).
pub(super) fn clean_trailers(mut trailers: HeaderMap) -> HeaderMap {
    remove_hop_by_hop(&mut trailers);
    for name in [HOST, EXPECT, SET_COOKIE] {
        trailers.remove(name);
    }
    for name in [&X_FORWARDED_FOR, &X_FORWARDED_HOST, &X_FORWARDED_PROTO, &X_REQUEST_ID] {
        trailers.remove(name);
    }
    trailers
}

/// The same of a request's, which some servers take for headers: nor credentials, nor what only a proxy says.
pub(super) fn clean_request_trailers(trailers: HeaderMap) -> HeaderMap {
    let mut trailers = clean_trailers(trailers);
    for name in [MAX_FORWARDS, AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        trailers.remove(name);
    }
    let ours = Survey::FORWARDED | Survey::TRACE | Survey::BUCKET | Survey::MIRROR;
    let names = trailers.keys().filter(|name| Survey::bits(name) & ours != 0);
    let doomed: SmallVec<[HeaderName; 4]> = names.cloned().collect();
    doomed.into_iter().for_each(|name| drop(trailers.remove(name)));
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_less_to_say_in_trailers_than_an_answer() {
        let mut trailers = HeaderMap::new();
        for name in ["x-sum", "grpc-status", "traceparent", "authorization", "host", "set-cookie"] {
            trailers.insert(name, HeaderValue::from_static("1"));
        }
        let left = |trailers: HeaderMap| {
            let mut left: Vec<_> = trailers.keys().map(|name| name.as_str().to_owned()).collect();
            left.sort_unstable();
            left
        };
        assert_eq!(left(clean_request_trailers(trailers.clone())), ["grpc-status", "x-sum"]);
        let answer = left(clean_trailers(trailers));
        assert_eq!(answer, ["authorization", "grpc-status", "traceparent", "x-sum"]);
    }

    #[test]
    fn lines_of_a_header_are_one() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("cookie", "a=1"),
            ("x", "1"),
            ("cookie", "b=2; c=3"),
            ("x", ""),
            ("x", "2"),
            ("y", "3"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let one = |name: &'static str| joined(&headers, &HeaderName::from_static(name));
        assert_eq!(one("cookie").unwrap(), "a=1; b=2; c=3");
        assert_eq!(one("x").unwrap(), "1, , 2");
        assert_eq!(one("y").unwrap(), "3");
        assert_eq!(one("z"), None);
    }

    #[test]
    fn what_connection_names_is_removed_with_it() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("connection", "cookie,,"),
            ("x-secret", "1"),
            ("cookie", "a=b"),
            ("keep-alive", "5"),
            ("te", "gzip"),
            ("content-length", "5"),
            ("accept", "*/*"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        remove_hop_by_hop(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["accept"]);
    }
}
