//! Where a request comes from, as far as those tell that the listener trusts: in `x-forwarded-*`, or in `forwarded` (RFC 7239).
//!
//! A proxy speaks in one of both ways, and passes on what its clients write in the other: where there is any `x-forwarded-*`,
//! `forwarded` says nothing. A proxy appends whom it serves, so each list is believed from its end, and only as far as it was
//! written by those that are trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use super::{
    Host, Survey, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO,
    forwarded::{Element, from_end},
};
use crate::proxy::downstream::Downstream;

/// Whom a request comes from, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Origin {
    /// The last address that no trusted proxy wrote of itself.
    pub(in crate::proxy) client: IpAddr,
    /// Whether the client's side is HTTPS: what is told of it goes before the connection itself.
    pub(in crate::proxy) is_https: bool,
}

impl Origin {
    /// What the peer says if it is trusted, else what the connection shows.
    pub(in crate::proxy) fn of(
        headers: &HeaderMap,
        seen: Survey,
        downstream: &Downstream,
        is_trusted: bool,
    ) -> Self {
        let (peer, is_tls) = (downstream.peer.ip().to_canonical(), downstream.is_tls());
        if !is_trusted || !seen.has(Survey::FORWARDED) {
            return Self { client: peer, is_https: is_tls };
        }
        Self::told(headers, (peer, is_tls), |address| downstream.is_trusted(address))
    }

    /// What is told to whoever sees a connection from `peer`, encrypted or not.
    fn told(
        headers: &HeaderMap,
        (peer, is_tls): (IpAddr, bool),
        trusts: impl Fn(IpAddr) -> bool,
    ) -> Self {
        let (client, proto) = if is_listed(headers) {
            let (client, hops) = listed_client(headers, peer, trusts);
            (client, listed_proto(headers, hops))
        } else {
            let told = Told::of(headers, peer, trusts);
            (told.client, told.proto)
        };
        Self { client, is_https: proto.map_or(is_tls, is_secure) }
    }
}

/// What `forwarded` tells, as far as it is believed.
struct Told<'a> {
    client: IpAddr,
    /// The farthest word about it.
    proto: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
}

impl<'a> Told<'a> {
    fn of(headers: &'a HeaderMap, peer: IpAddr, trusts: impl Fn(IpAddr) -> bool) -> Self {
        let mut told = Self { client: peer, proto: None, host: None };
        let lines = headers.get_all(FORWARDED).iter().rev();
        for text in lines.flat_map(|line| from_end(line.as_bytes(), b',')) {
            let Some(element) = Element::parse(text) else { break };
            told.proto = element.proto.or(told.proto);
            told.host = element.host.or(told.host);
            let Some(address) = element.node.and_then(node) else { break };
            told.client = address;
            if !trusts(address) {
                break;
            }
        }
        told
    }
}

/// Whether the proxy in front speaks by `x-forwarded-*`.
fn is_listed(headers: &HeaderMap) -> bool {
    [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST]
        .iter()
        .any(|name| headers.contains_key(*name))
}

/// Entries of a header's lists, the last one first.
fn entries<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// The client by `x-forwarded-for`, and how many entries stand behind its own. An empty entry ends the list as any does that is
/// no address: who wrote it did not know.
fn listed_client(
    headers: &HeaderMap,
    peer: IpAddr,
    trusts: impl Fn(IpAddr) -> bool,
) -> (IpAddr, usize) {
    let mut farthest = (peer, 0);
    for (hops, entry) in entries(headers, &X_FORWARDED_FOR).enumerate() {
        let Some(address) = node(entry) else { break };
        farthest = (address, hops);
        if !trusts(address) {
            break;
        }
    }
    farthest
}

/// What `x-forwarded-proto` says of the client that has so many entries behind its own in `x-forwarded-for`. A shorter list has
/// one word for all of them; what stands before the client's place it may have written itself.
fn listed_proto(headers: &HeaderMap, hops: usize) -> Option<&[u8]> {
    let listed = entries(headers, &X_FORWARDED_PROTO).take(hops + 1);
    listed.last().filter(|word| !word.is_empty())
}

/// Some proxies say `wss` of what is a WebSocket over HTTPS.
fn is_secure(proto: &[u8]) -> bool {
    proto.eq_ignore_ascii_case(b"https") || proto.eq_ignore_ascii_case(b"wss")
}

/// The host that a trusted proxy names in `forwarded`.
pub(super) fn told_host(headers: &HeaderMap, downstream: &Downstream) -> Option<HeaderValue> {
    if is_listed(headers) {
        return None;
    }
    let told = Told::of(headers, downstream.peer.ip(), |address| downstream.is_trusted(address));
    let host = HeaderValue::from_bytes(told.host?).ok()?;
    Host::is_valid(&host).then_some(host)
}

/// The address of a node as proxies write it: with a port or without, in brackets, with a zone that means nothing elsewhere.
/// `None` for one that is hidden or unknown.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return if whole { without_zone(address) } else { None };
    }
    let (address, port) = text.split_once(':').unwrap_or((text, "0"));
    match address.parse::<Ipv4Addr>() {
        Ok(address) => is_port(port).then_some(address.into()),
        Err(_) => without_zone(text),
    }
}

fn without_zone(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
}

/// RFC 7239 §6.2: digits, or a name that hides them.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(named)
        }
        None => matches!(text.len(), 1..=5) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Whom a line of `forwarded` names to whoever trusts its own machine alone; `None` if it is no header's value.
#[cfg(fuzzing)]
pub(in crate::proxy) fn told_client(line: &[u8]) -> Option<IpAddr> {
    let mut headers = HeaderMap::new();
    headers.insert(FORWARDED, HeaderValue::from_bytes(line).ok()?);
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    Some(Told::of(&headers, here, |address| address.is_loopback()).client)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Of a peer on this machine, which is trusted with all of `10.0.0.0/8`.
    fn told(lines: &[(&'static str, &[u8])]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let trusts = |address: IpAddr| match address {
            IpAddr::V4(address) => address.is_loopback() || address.octets()[0] == 10,
            IpAddr::V6(_) => false,
        };
        let Origin { client, is_https } = Origin::told(&headers, (HERE, false), trusts);
        (client.to_string(), is_https)
    }

    #[test]
    fn a_node_is_written_in_many_ways() {
        for (text, address) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:80", "1.2.3.4"),
            ("1.2.3.4:_p-1", "1.2.3.4"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:1", "fe80::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:5", "1.2.3.4"),
        ] {
            assert_eq!(node(text.as_bytes()), Some(address.parse().unwrap()), "{text}");
        }
        for odd in [
            "",
            "unknown",
            "_hidden",
            "1.2.3",
            "01.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:123456",
            "1.2.3.4:_",
            "1.2.3.4%eth0",
            "[1.2.3.4]",
            "[::1",
            "::1]",
            "[::1]x",
            "[::1]:",
            "[]",
            "a.b:80",
            "1.2.3.4 5.6.7.8",
            "\u{e4}",
        ] {
            assert_eq!(node(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn a_list_is_believed_from_its_end() {
        let forwarded = |line: &'static str| told(&[("forwarded", line.as_bytes())]).0;
        assert_eq!(forwarded("for=9.9.9.9, for=1.2.3.4, for=10.0.0.1, for=10.0.0.2"), "1.2.3.4");
        assert_eq!(forwarded("for=1.2.3.4, for=10.0.0.1, , for=10.0.0.2"), "10.0.0.2");
        assert_eq!(forwarded("for=10.0.0.1"), "10.0.0.1");
        assert_eq!(forwarded("for=1.2.3.4, for=10.0.0.1;for=10.0.0.2"), "127.0.0.1");
        let listed = |line: &'static str| told(&[("x-forwarded-for", line.as_bytes())]).0;
        assert_eq!(listed("9.9.9.9, 1.2.3.4:5, 10.0.0.1"), "1.2.3.4");
        assert_eq!(listed(",,,"), "127.0.0.1");
        // The header that is older, and more often kept clean, goes first, even where it says nothing.
        let lines = [("forwarded", &b"for=1.2.3.4"[..]), ("x-forwarded-for", b"unknown")];
        assert_eq!(told(&lines).0, "127.0.0.1");
    }

    #[test]
    fn the_scheme_is_that_of_the_clients_side() {
        let forwarded = |line: &'static str| told(&[("forwarded", line.as_bytes())]).1;
        assert!(forwarded("for=1.2.3.4;proto=https, for=10.0.0.1;proto=http"));
        assert!(forwarded("for=1.2.3.4, for=10.0.0.1;proto=https"));
        assert!(!forwarded("for=9.9.9.9;proto=https, for=1.2.3.4;proto=http"));
        assert!(!forwarded("for=9.9.9.9;proto=https, for=1.2.3.4"));
        let listed = |list: &'static str, words: &'static str| {
            told(&[("x-forwarded-for", list.as_bytes()), ("x-forwarded-proto", words.as_bytes())]).1
        };
        assert!(listed("1.2.3.4, 10.0.0.1", "https, http"));
        assert!(listed("1.2.3.4, 10.0.0.1", "https"));
        assert!(!listed("1.2.3.4", "https, http"), "the client may have written that");
        assert!(!listed("9.9.9.9, 1.2.3.4, 10.0.0.1", "https, http, http"));
        // Whoever speaks in the one way passes on what clients write in the other.
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
            let lines = [(name, &b""[..]), ("forwarded", b"for=6.6.6.6;proto=https")];
            assert_eq!(told(&lines), ("127.0.0.1".to_owned(), false), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_the_proxy_in_front_appends_is_read_whatever_came_before(
            before in "[ -~]{0,40}",
            quoted in "[\",=;\\\\a]{0,12}",
        ) {
            for before in [before, quoted] {
                let name = |element: &str| format!("{before}, {element}");
                for (element, wanted) in [
                    ("for=192.0.2.1;proto=https", "192.0.2.1"),
                    ("proto=https;for=\"[2001:db8::1]:80\";host=\"a,b\"", "2001:db8::1"),
                ] {
                    let line = name(element);
                    let (client, is_https) = told(&[("forwarded", line.as_bytes())]);
                    proptest::prop_assert_eq!((client.as_str(), is_https), (wanted, true));
                }
                let line = name("192.0.2.1:80");
                let (client, _) = told(&[("x-forwarded-for", line.as_bytes())]);
                proptest::prop_assert_eq!(client, "192.0.2.1");
            }
        }
    }
}
