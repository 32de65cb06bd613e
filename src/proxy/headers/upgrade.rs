//! `upgrade`: what a client may ask an endpoint to switch to, and what an endpoint may switch to (RFC 9110 §7.8).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Version,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, UPGRADE},
    request,
};

use super::{Survey, tokens};

/// Whether the request asks to leave HTTP/1.1; the protocols it names, of which the endpoint may choose one.
pub(in crate::proxy) fn upgrade(parts: &request::Parts, seen: Survey) -> Option<HeaderValue> {
    let headers = &parts.headers;
    if !seen.has(Survey::UPGRADE) || parts.version != Version::HTTP_11 || !connects(headers) {
        return None;
    }
    let mut wanted = tokens(headers, UPGRADE).filter(|protocol| !is_http(protocol));
    let first = wanted.next()?;
    let mut lines = headers.get_all(UPGRADE).iter();
    // Nearly always it is one name and nothing else.
    if let (Some(line), None) = (lines.next(), lines.next())
        && line.as_bytes() == first
    {
        return Some(line.clone());
    }
    let mut list = first.to_vec();
    for protocol in wanted {
        list.extend_from_slice(b", ");
        list.extend_from_slice(protocol);
    }
    HeaderValue::from_maybe_shared(Bytes::from(list)).ok()
}

/// Whether `connection` says that the message is about a switch.
fn connects(headers: &HeaderMap) -> bool {
    tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// Whether a protocol is HTTP again, or leads to it: what it carried would pass by every check. HTTP/2 by upgrade was given up
/// (RFC 9113 §3.1), and TLS by upgrade (RFC 2817) is for the connection at hand alone.
fn is_http(protocol: &[u8]) -> bool {
    let name = name(protocol);
    [b"http".as_slice(), b"tls"].iter().any(|other| name.eq_ignore_ascii_case(other))
        || name.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case(b"h2"))
}

/// A protocol without its version.
fn name(protocol: &[u8]) -> &[u8] {
    protocol.split(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Whether that is the name by which a WebSocket is asked for (RFC 6455 §4.1).
fn is_websocket(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"websocket")
}

/// Whether a WebSocket is among the protocols of a list.
pub(in crate::proxy) fn names_websocket(list: &HeaderValue) -> bool {
    let mut protocols = list.as_bytes().split(|byte| *byte == b',');
    protocols.any(|protocol| is_websocket(protocol.trim_ascii()))
}

/// Whether an answer switches to a WebSocket.
pub(in crate::proxy) fn opens_websocket(headers: &HeaderMap) -> bool {
    tokens(headers, UPGRADE).any(is_websocket)
}

/// Whether the head of a 101 names one protocol, and it is one of those `asked` for. Where only one side names a version, the
/// other has left it open.
pub(in crate::proxy) fn keeps_to(headers: &HeaderMap, asked: &HeaderValue) -> bool {
    let mut named = tokens(headers, UPGRADE);
    let (Some(named), None) = (named.next(), named.next()) else { return false };
    let is_same = |other: &[u8]| {
        let open = name(other).len() == other.len() || name(named).len() == named.len();
        let same = if open { (name(other), name(named)) } else { (other, named) };
        same.0.eq_ignore_ascii_case(same.1)
    };
    asked.as_bytes().split(|byte| *byte == b',').any(|other| is_same(other.trim_ascii()))
}

/// Whether the head of a 101 shows `accept`, as the one who made the key has to see (RFC 6455 §4.1).
pub(in crate::proxy) fn accepts_key(headers: &HeaderMap, accept: &[u8]) -> bool {
    let mut lines = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    let shown = lines.next().is_some_and(|line| line.as_bytes() == accept);
    shown && lines.next().is_none() && connects(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_a_client_that_says_so_twice_asks_for_a_switch() {
        let asked = |version, lines: &[(&'static str, &'static str)]| {
            let (mut parts, ()) = http::Request::new(()).into_parts();
            (parts.version, parts.headers) = (version, headers(lines));
            upgrade(&parts, Survey::of(&parts.headers))
        };
        let both = [("upgrade", "x"), ("connection", "close, Upgrade")];
        assert_eq!(asked(Version::HTTP_11, &both).unwrap(), "x");
        assert_eq!(asked(Version::HTTP_10, &both), None);
        assert_eq!(asked(Version::HTTP_11, &both[..1]), None);
        assert_eq!(asked(Version::HTTP_11, &both[1..]), None);
    }

    #[test]
    fn a_switch_keeps_to_what_was_asked_for() {
        let keeps = |asked, named| {
            keeps_to(&headers(&[("upgrade", named)]), &HeaderValue::from_static(asked))
        };
        for (asked, named) in [("a", "A"), ("b, a/1", "a/1"), ("a/1", "a"), ("a, b", "b/2")] {
            assert!(keeps(asked, named), "{asked} {named}");
        }
        for (asked, named) in [("a", "b"), ("a/1", "a/2"), ("a, b", "a, b"), ("a", ""), ("ab", "a")]
        {
            assert!(!keeps(asked, named), "{asked} {named}");
        }
    }

    #[test]
    fn a_websocket_is_found_by_its_name() {
        let named = |list| names_websocket(&HeaderValue::from_static(list));
        assert!(named("WebSocket") && named("x, websocket"));
        assert!(!named("websockets") && !named("x"));
    }
}
