//! Which backend a request belongs to: an override, else the session's split key, else the worker's sequence.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Uri, header::COOKIE};

use super::context::{Choice, RequestContext};
use crate::{
    config::model::OverrideSource,
    decision::split::SplitKey,
    routing::{Affinity, Override, Route},
};

/// Chooses the target of a request for the route at place `at`.
pub(super) fn choose(
    context: &RequestContext,
    at: usize,
    uri: &Uri,
    headers: &HeaderMap,
) -> Choice {
    let route = &context.table.routes()[at];
    if let Some(exception) = route.overrides.iter().find(|rule| applies(rule, uri, headers)) {
        return Choice {
            route: at,
            target: exception.target,
            bucket: None,
            key: None,
            is_sample: false,
            token: None,
        };
    }
    let by_key = |key: SplitKey, token| {
        let bucket = key.bucket(route.salt);
        let target = admitted(route, route.shares.choose(bucket), Some(key));
        Choice { route: at, target, bucket: Some(bucket), key: Some(key), is_sample: true, token }
    };
    match key(context, route, headers) {
        Key::Known(key) => by_key(key, None),
        Key::Begins => {
            let id = context.downstream.worker.random();
            let token = match &route.affinity {
                Affinity::Cookie { key, .. } => Some(key.issue(id)),
                Affinity::AppCookie { .. }
                | Affinity::Header { .. }
                | Affinity::ClientIp
                | Affinity::None => None,
            };
            by_key(SplitKey(id), token)
        }
        Key::Missing => {
            let (target, bucket) = context.table.sequence(at).borrow_mut().next(&route.shares);
            let target = admitted(route, target, None);
            let (bucket, key) = (Some(bucket), None);
            Choice { route: at, target, bucket, key, is_sample: true, token: None }
        }
    }
}

/// The split's choice, unless that is a canary whose budget is spent.
fn admitted(route: &Route, target: usize, key: Option<SplitKey>) -> usize {
    match &route.rollout {
        None => target,
        Some(rollout) => rollout.admit(target, key),
    }
}

enum Key {
    Known(SplitKey),
    /// A session that Tidegate names.
    Begins,
    /// Nothing tells this session from others.
    Missing,
}

fn key(context: &RequestContext, route: &Route, headers: &HeaderMap) -> Key {
    let known = match &route.affinity {
        Affinity::Cookie { name, key, .. } => {
            let known = cookies(headers, name).find_map(|text| key.verify(text));
            return known.map_or(Key::Begins, Key::Known);
        }
        Affinity::AppCookie { name } => {
            cookie(headers, name).filter(|value| !value.is_empty()).map(SplitKey::of)
        }
        Affinity::Header { name } => header(headers, name).map(SplitKey::of),
        Affinity::ClientIp => Some(match context.client.to_canonical() {
            IpAddr::V4(address) => SplitKey::of(&address.octets()),
            IpAddr::V6(address) => SplitKey::of(&address.octets()),
        }),
        Affinity::None => None,
    };
    known.map_or(Key::Missing, Key::Known)
}

fn applies(rule: &Override, uri: &Uri, headers: &HeaderMap) -> bool {
    let value = match &rule.source {
        OverrideSource::Header(name) => header(headers, name),
        OverrideSource::Cookie(name) => cookie(headers, name),
        OverrideSource::Query(name) => uri.query().and_then(|query| parameter(query, name)),
    };
    value == Some(rule.equals.as_bytes())
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    headers.get(name).map(|value| value.as_bytes()).filter(|value| !value.is_empty())
}

/// The first cookie of that name.
fn cookie<'a>(headers: &'a HeaderMap, name: &'a str) -> Option<&'a [u8]> {
    cookies(headers, name).next()
}

/// The first cookie of that name in one line.
pub(super) fn cookie_in<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    line.split(|byte| *byte == b';').find_map(|pair| named(pair, name))
}

/// The value of a pair, if it has that name.
fn named<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = pair.trim_ascii_start().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    Some(value.trim_ascii_end())
}

/// All cookies of that name: a browser may hold one for each path or domain.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| named(pair, name))
}

/// The first parameter of that name, as it was sent.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a [u8]> {
    query.split('&').find_map(|pair| Some(pair.strip_prefix(name)?.strip_prefix('=')?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookies(lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, http::HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let headers = with_cookies(&["a=1; session=x; sess=y", "b=2;c=3 "]);
        assert_eq!(cookie(&headers, "session"), Some(b"x".as_slice()));
        assert_eq!(cookie(&headers, "sess"), Some(b"y".as_slice()));
        assert_eq!(cookie(&headers, "c"), Some(b"3".as_slice()));
        assert_eq!(cookie(&headers, "ses"), None);
        assert_eq!(cookie(&headers, "ession"), None);
    }

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        assert_eq!(parameter("a=1&beta=green&b=2", "b"), Some(b"2".as_slice()));
        assert_eq!(parameter("a=1&beta=green", "bet"), None);
        assert_eq!(parameter("a", "a"), None);
    }
}
