//! The address that a redirect leads to. `config` has seen to it that no request chooses its host; here each value becomes
//! what an address may hold.

use http::{HeaderValue, request};

use super::view;
use crate::{
    config::model::{Segment, Template, Variable},
    domain::ErrorReason,
    proxy::{
        context::RequestContext,
        error::ProxyError,
        variables::{Noted, View},
    },
    routing::Edge,
};

/// The address that `template` gives for a request.
pub(super) fn fill(
    context: &RequestContext,
    route: &str,
    edge: &Edge,
    template: &Template,
    parts: &request::Parts,
) -> Result<HeaderValue, ProxyError> {
    let malformed = |why| ProxyError::new(ErrorReason::MalformedRequest, why);
    if !parts.uri.path().starts_with('/') {
        return Err(malformed("the target * is nowhere else"));
    }
    let names: Vec<_> = template.request_headers().collect();
    let noted = Noted::of_parts(parts, &names);
    let groups = edge.pattern.as_ref().and_then(|regex| regex.captures(parts.uri.path()));
    let groups: Vec<&str> = groups
        .iter()
        .flat_map(|groups| {
            (0..groups.len()).map(|at| groups.get(at).map_or("", |group| group.as_str()))
        })
        .collect();
    let view = View { groups: &groups, ..view(context, &noted, route) };
    let mut filled = Vec::with_capacity(64);
    for segment in template.segments() {
        match segment {
            Segment::Text(text) => filled.extend_from_slice(text.as_bytes()),
            Segment::Variable(variable) => {
                let before = filled.len();
                view.value(variable, &mut |part| escape(part, &mut filled));
                if matches!(variable, Variable::Host) && filled.len() == before {
                    return Err(malformed("without a host there is nowhere to lead to"));
                }
            }
        }
    }
    HeaderValue::from_bytes(same_host(&filled))
        .map_err(|_| ProxyError::new(ErrorReason::Internal, "the address is no header"))
}

/// A path that begins with several slashes names a host: one is left.
fn same_host(address: &[u8]) -> &[u8] {
    let slashes = address.iter().take_while(|byte| **byte == b'/').count();
    &address[slashes.saturating_sub(1)..]
}

/// Appends `part` with everything percent-encoded that RFC 3986 lets stand nowhere; a backslash is a slash to browsers.
pub(in crate::proxy) fn escape(part: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in part {
        let plain = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
        if plain {
            out.push(*byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'%', DIGITS[high], DIGITS[low]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_address_holds_is_encoded() {
        let mut out = Vec::new();
        escape(b"/a%20b?c=d\r\n \\\"\xff", &mut out);
        assert_eq!(out, b"/a%20b?c=d%0D%0A%20%5C%22%FF");
    }

    #[test]
    fn a_path_stays_on_its_host() {
        for (written, kept) in [
            ("/a", "/a"),
            ("//evil.com", "/evil.com"),
            ("///x", "/x"),
            ("https://a//b", "https://a//b"),
        ] {
            assert_eq!(same_host(written.as_bytes()), kept.as_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_a_header_without_a_line_end(part: Vec<u8>) {
            let mut out = Vec::new();
            escape(&part, &mut out);
            proptest::prop_assert!(HeaderValue::from_bytes(&out).is_ok());
            proptest::prop_assert!(out.iter().all(u8::is_ascii_graphic));
        }
    }
}
