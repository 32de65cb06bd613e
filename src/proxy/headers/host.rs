//! Whose request it is: the one host that it names.

use std::{borrow::Cow, net::Ipv6Addr};

use http::{HeaderValue, Version, header::HOST, request};

use crate::{domain::ErrorReason, proxy::error::ProxyError};

/// The host a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Host {
    /// As sent, port included; for an absolute target, the target's.
    pub(in crate::proxy) value: HeaderValue,
}

impl Host {
    /// The one host of a request (RFC 9112 §3.2): exactly one valid `host`, replaced by an absolute target's authority.
    pub(in crate::proxy) fn of(parts: &request::Parts) -> Result<Self, ProxyError> {
        let malformed = |why| ProxyError::new(ErrorReason::MalformedRequest, why);
        let mut hosts = parts.headers.get_all(HOST).iter();
        let named = match (hosts.next(), hosts.next()) {
            (Some(host), None) => Some(host),
            (None, _) if parts.version < Version::HTTP_11 => None,
            // RFC 9113 §8.3.1: `:authority` takes its place.
            (None, _) if parts.version == Version::HTTP_2 && parts.uri.authority().is_some() => {
                None
            }
            (None, _) => return Err(malformed("the host header is missing")),
            (Some(_), Some(_)) => return Err(malformed("more than one host header")),
        };
        if named.is_some_and(|host| host.is_empty() || !is_authority(host.as_bytes())) {
            return Err(malformed("the host header is no host"));
        }
        let target = parts.uri.authority().map(|authority| {
            let plain = is_authority(authority.as_str().as_bytes());
            let value = HeaderValue::from_str(authority.as_str()).ok().filter(|_| plain);
            value.ok_or_else(|| malformed("the target's host is no host"))
        });
        let value = match target {
            Some(target) => target?,
            None => named.cloned().unwrap_or_else(|| HeaderValue::from_static("")),
        };
        Ok(Self { value })
    }

    /// Whether `value` names a host, and nothing else.
    pub(in crate::proxy) fn is_valid(value: &HeaderValue) -> bool {
        !value.is_empty() && is_authority(value.as_bytes())
    }

    /// The name alone: lower case, no port, no trailing dot.
    pub(in crate::proxy) fn name(&self) -> Cow<'_, str> {
        let text = std::str::from_utf8(self.value.as_bytes()).unwrap_or_default();
        // Of a valid host, digits behind the last colon are its port; most have none and end with a letter.
        let name = text.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let name = name.strip_suffix(':').unwrap_or(text);
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }
    }
}

impl Host {
    /// The port, where one is named.
    pub(in crate::proxy) fn port(&self) -> Option<u16> {
        let text = std::str::from_utf8(self.value.as_bytes()).ok()?;
        text.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }
}

/// Whether `text` is empty or `host[:port]` without anything that a URL could hide in it.
fn is_authority(text: &[u8]) -> bool {
    /// Bytes of a name.
    const NAMED: [bool; 256] = {
        let mut named = [false; 256];
        let mut byte = 0u8;
        while byte < 128 {
            named[byte as usize] =
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            byte += 1;
        }
        named
    };
    if let [b'[', rest @ ..] = text {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        let address = std::str::from_utf8(&rest[..end]);
        let is_address = address.is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
        return is_address && is_port(&rest[end + 1..]);
    }
    let end = text.iter().position(|byte| !NAMED[usize::from(*byte)]).unwrap_or(text.len());
    // Without a name there is no port either.
    is_port(&text[end..]) && (end > 0 || text.is_empty())
}

/// Whether `text` is empty, or a colon with a port or nothing behind it.
fn is_port(text: &[u8]) -> bool {
    match text {
        [] => true,
        // Five digits stay far from where a sum would overflow.
        [b':', digits @ ..] if digits.len() <= 5 => {
            let number = digits.iter().try_fold(0u32, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
            });
            number.is_some_and(|number| number <= 65_535)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(version: Version, uri: &str, hosts: &[&str]) -> request::Parts {
        let mut request = http::Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn there_is_exactly_one_host() {
        let host = |version, uri, hosts: &[&str]| Host::of(&parts(version, uri, hosts)).ok();
        let named = |text: &'static str| Some(Host { value: HeaderValue::from_static(text) });
        assert_eq!(host(Version::HTTP_11, "/", &["a.b:80"]), named("a.b:80"));
        assert_eq!(host(Version::HTTP_11, "http://x/", &["y"]), named("x"));
        assert_eq!(host(Version::HTTP_10, "/", &[]), named(""));
        for bad in [
            vec![],
            vec!["a", "a"],
            vec!["a/b"],
            vec!["u@a"],
            vec!["a, b"],
            vec!["a:8x"],
            vec!["a:65536"],
            vec![":80"],
            vec!["a:1:2"],
            vec!["[::1"],
            vec!["[::1]x"],
            vec!["[a]"],
            vec!["\u{e4}"],
            vec!["a:99999999999"],
        ] {
            assert_eq!(host(Version::HTTP_11, "/", &bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_host_name_has_neither_case_nor_port() {
        let name = |text| Host { value: HeaderValue::from_static(text) }.name().into_owned();
        assert_eq!(name("WWW.Example.com:8080"), "www.example.com");
        assert_eq!(name("example.com."), "example.com");
        assert_eq!(name("example.com.:80"), "example.com");
        assert_eq!(name("example.com:"), "example.com");
        assert_eq!(name("node-7"), "node-7");
        assert_eq!(name("10.0.0.7"), "10.0.0.7");
        assert_eq!(name("7"), "7");
        assert_eq!(name(""), "");
        assert_eq!(name("[::1]:80"), "[::1]");
        assert_eq!(name("[::1]"), "[::1]");
    }
}
