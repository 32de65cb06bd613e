//! Headers on their way: what is checked, what ends here, and what Tidegate adds.
//!
//! Order matters: first everything that a peer may name in `connection` is removed, then Tidegate's own headers are set. So
//! nothing that a client sends can take one of ours away (RFC 9110 §7.6.1).

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, TE, TRANSFER_ENCODING, UPGRADE},
    request, response,
};
use smallvec::SmallVec;

use super::{
    context::{Choice, RequestContext},
    error::ProxyError,
};
use crate::domain::ErrorReason;

pub(super) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_TIDEGATE_BUCKET: HeaderName = HeaderName::from_static("x-tidegate-bucket");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Which of the headers that Tidegate treats are there at all; found in one pass, since most requests have few of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Survey(u16);

impl Survey {
    const CONNECTION: u16 = 1;
    const HOP_BY_HOP: u16 = 1 << 1;
    const TE: u16 = 1 << 2;
    const UPGRADE: u16 = 1 << 3;
    const EXPECT: u16 = 1 << 4;
    const REQUEST_ID: u16 = 1 << 5;
    const FORWARDED: u16 = 1 << 6;
    const TRACE: u16 = 1 << 7;
    const BUCKET: u16 = 1 << 8;
    const LENGTH: u16 = 1 << 9;

    /// Looks through `headers`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().map(Self::bits).fold(0, |seen, bits| seen | bits))
    }

    fn bits(name: &HeaderName) -> u16 {
        let name = name.as_str();
        // The length alone tells most names apart.
        match name.len() {
            2 if name == "te" => Self::TE | Self::HOP_BY_HOP,
            6 if name == "expect" => Self::EXPECT,
            7 if name == "upgrade" => Self::UPGRADE | Self::HOP_BY_HOP,
            9 if name == "forwarded" => Self::FORWARDED,
            10 if name == "connection" => Self::CONNECTION | Self::HOP_BY_HOP,
            10 if name == "keep-alive" => Self::HOP_BY_HOP,
            10 if name == "tracestate" => Self::TRACE,
            11 if name == "traceparent" => Self::TRACE,
            12 if name == "x-request-id" => Self::REQUEST_ID,
            14 if name == "content-length" => Self::LENGTH,
            14 if name == "http2-settings" => Self::HOP_BY_HOP,
            15 if name == "x-forwarded-for" => Self::FORWARDED,
            16 if name == "x-forwarded-host" => Self::FORWARDED,
            16 if name == "proxy-connection" => Self::HOP_BY_HOP,
            17 if name == "x-forwarded-proto" => Self::FORWARDED,
            17 if name == "transfer-encoding" => Self::HOP_BY_HOP,
            17 if name == "x-tidegate-bucket" => Self::BUCKET,
            _ => 0,
        }
    }

    const fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }
}

/// The host a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// As sent, port included; for an absolute target, the target's.
    pub(super) value: HeaderValue,
}

impl Host {
    /// The one host of a request (RFC 9112 §3.2): exactly one valid `host`, replaced by an absolute target's authority.
    pub(super) fn of(parts: &request::Parts) -> Result<Self, ProxyError> {
        let malformed = |why| ProxyError::new(ErrorReason::MalformedRequest, why);
        let mut hosts = parts.headers.get_all(HOST).iter();
        let named = match (hosts.next(), hosts.next()) {
            (Some(host), None) => Some(host),
            (None, _) if parts.version < Version::HTTP_11 => None,
            (None, _) => return Err(malformed("the host header is missing")),
            (Some(_), Some(_)) => return Err(malformed("more than one host header")),
        };
        if named.is_some_and(|host| !is_authority(host.as_bytes())) {
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

    /// The name alone: lower case, no port, no trailing dot.
    pub(super) fn name(&self) -> Cow<'_, str> {
        let text = std::str::from_utf8(self.value.as_bytes()).unwrap_or_default();
        let end = match text.rfind([':', ']']) {
            Some(at) if text.as_bytes()[at] == b':' => at,
            _ => text.len(),
        };
        let name = text[..end].strip_suffix('.').unwrap_or(&text[..end]);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }
    }
}

/// Whether `text` is empty or `host[:port]` without anything that a URL could hide in it.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        _ => text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len())),
    };
    let bracketed = text.first() == Some(&b'[');
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let inside = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let host_is_plain = if bracketed {
        !host.is_empty() && host.iter().all(inside)
    } else {
        host.iter().all(named)
    };
    let port_is_plain = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_is_plain && port_is_plain
}

/// Whether the request asks to leave HTTP/1.1; the protocol it names.
pub(super) fn upgrade(parts: &request::Parts, seen: Survey) -> Option<HeaderValue> {
    if !seen.has(Survey::UPGRADE) {
        return None;
    }
    let wanted = parts.headers.get(UPGRADE)?;
    let asks = parts.version == Version::HTTP_11
        && tokens(&parts.headers, CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    asks.then(|| wanted.clone())
}

/// Whether the client waits with its body until it is asked for it.
///
/// # Errors
/// `MalformedRequest` for an expectation that nobody knows: to ignore it would be a guess.
pub(super) fn expects_continue(parts: &request::Parts, seen: Survey) -> Result<bool, ProxyError> {
    if !seen.has(Survey::EXPECT) {
        return Ok(false);
    }
    let Some(expected) = parts.headers.get(EXPECT) else { return Ok(false) };
    if expected.as_bytes().eq_ignore_ascii_case(b"100-continue") {
        return Ok(parts.version == Version::HTTP_11);
    }
    Err(ProxyError::new(ErrorReason::MalformedRequest, "an expectation other than 100-continue"))
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

/// Turns a client's request head into the one that the endpoint gets.
///
/// What Tidegate adds is written to `added` as it goes over the wire, each line with its CR LF: to put it into the map first
/// would cost a hash, an allocation and an encoding for every header of every request. No line of `added` has its name in
/// the map afterwards.
pub(super) fn forward(
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
    add_forwarded(headers, context, host, added);
    add_trace(headers, context, added);
    if seen.has(Survey::REQUEST_ID) {
        headers.remove(&X_REQUEST_ID);
    }
    add_line(added, "x-request-id", context.request_id.as_str().as_bytes());
    if seen.has(Survey::BUCKET) {
        headers.remove(&X_TIDEGATE_BUCKET);
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
    Ok(())
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
    let text = address.map_or("", |endpoint| endpoint.address().as_str());
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
    let (mut keeps_proto, mut keeps_host) = (false, false);
    if !context.seen.has(Survey::FORWARDED) {
        add_line(added, "x-forwarded-for", own);
    } else if context.is_trusted {
        keeps_proto = headers.contains_key(&X_FORWARDED_PROTO);
        keeps_host = headers.contains_key(&X_FORWARDED_HOST);
        let mut chain = Vec::new();
        for line in headers.get_all(&X_FORWARDED_FOR) {
            chain.extend_from_slice(line.as_bytes());
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(own);
        headers.remove(&X_FORWARDED_FOR);
        add_line(added, "x-forwarded-for", &chain);
    } else {
        for name in [&FORWARDED, &X_FORWARDED_FOR, &X_FORWARDED_HOST, &X_FORWARDED_PROTO] {
            headers.remove(name);
        }
        add_line(added, "x-forwarded-for", own);
    }
    if !keeps_proto {
        add_line(added, "x-forwarded-proto", b"http");
    }
    if !keeps_host && !host.value.is_empty() {
        add_line(added, "x-forwarded-host", host.value.as_bytes());
    }
}

/// Whether the client's side is HTTPS, as far as a trusted proxy says.
pub(super) fn is_https(headers: &HeaderMap, seen: Survey, trusted: bool) -> bool {
    trusted
        && seen.has(Survey::FORWARDED)
        && headers.get(&X_FORWARDED_PROTO).is_some_and(|proto| proto == "https")
}

/// W3C Trace Context: a valid parent goes on as it is, since Tidegate writes no span of its own; else a trace begins here.
fn add_trace(headers: &mut HeaderMap, context: &RequestContext, added: &mut Vec<u8>) {
    if context.seen.has(Survey::TRACE) {
        let mut parents = headers.get_all(&TRACEPARENT).iter();
        if let (Some(parent), None) = (parents.next(), parents.next())
            && is_traceparent(parent.as_bytes())
        {
            return;
        }
        headers.remove(&TRACEPARENT);
        headers.remove(&TRACESTATE);
    }
    let worker = &context.downstream.worker;
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    write_hex(&mut text[3..19], worker.random() | 1);
    write_hex(&mut text[19..35], worker.random());
    write_hex(&mut text[36..52], worker.random() | 1);
    add_line(added, "traceparent", &text);
}

fn is_traceparent(text: &[u8]) -> bool {
    let lower_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let Some((head, rest)) = text.split_at_checked(55) else { return false };
    let (version, trace, parent, flags) = (&head[..2], &head[3..35], &head[36..52], &head[53..]);
    // A later version may be longer; version 00 is exactly this.
    let ends_well =
        if version == b"00" { rest.is_empty() } else { matches!(rest, [] | [b'-', ..]) };
    ends_well
        && [head[2], head[35], head[52]] == *b"---"
        && [version, trace, parent, flags].into_iter().all(lower_hex)
        && version != b"ff"
        && trace.iter().any(|byte| *byte != b'0')
        && parent.iter().any(|byte| *byte != b'0')
}

/// A request's id: the client's own where it is sane, else 128 random bits in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestId {
    /// By the client.
    Given(HeaderValue),
    /// By Tidegate.
    Made([u8; 32]),
}

impl RequestId {
    pub(super) fn of(headers: &HeaderMap, seen: Survey, random: impl Fn() -> u64) -> Self {
        const LONGEST: usize = 128;
        if !seen.has(Survey::REQUEST_ID) {
            return Self::new(random);
        }
        let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
        let mut given = headers.get_all(&X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(id), None)
                if matches!(id.len(), 1..=LONGEST) && id.as_bytes().iter().all(sane) =>
            {
                Self::Given(id.clone())
            }
            _ => Self::new(random),
        }
    }

    pub(super) fn new(random: impl Fn() -> u64) -> Self {
        let mut text = [b'0'; 32];
        write_hex(&mut text[..16], random());
        write_hex(&mut text[16..], random());
        Self::Made(text)
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Given(value) => value.to_str().unwrap_or("0"),
            Self::Made(text) => std::str::from_utf8(text).unwrap_or("0"),
        }
    }
}

fn write_hex(to: &mut [u8], mut number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for digit in to.iter_mut().rev() {
        *digit = DIGITS[(number & 15) as usize];
        number >>= 4;
    }
}

/// Turns an endpoint's answer head into the one that the client gets.
pub(super) fn answer(parts: &mut response::Parts, method: &Method) {
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = if switching { parts.headers.get(UPGRADE).cloned() } else { None };
    // Where no body follows, a length tells of the one that a GET would bring.
    let bodiless = method == Method::HEAD || parts.status == StatusCode::NOT_MODIFIED;
    let length = if bodiless { parts.headers.get(CONTENT_LENGTH).cloned() } else { None };
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
    for name in [HOST, TRANSFER_ENCODING, EXPECT, http::header::SET_COOKIE] {
        trailers.remove(name);
    }
    for name in [&X_FORWARDED_FOR, &X_FORWARDED_HOST, &X_FORWARDED_PROTO, &X_REQUEST_ID] {
        trailers.remove(name);
    }
    trailers
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
        for bad in [vec![], vec!["a", "a"], vec!["a/b"], vec!["u@a"], vec!["a, b"], vec!["a:8x"]] {
            assert_eq!(host(Version::HTTP_11, "/", &bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_host_name_has_neither_case_nor_port() {
        let name = |text| Host { value: HeaderValue::from_static(text) }.name().into_owned();
        assert_eq!(name("WWW.Example.com:8080"), "www.example.com");
        assert_eq!(name("example.com."), "example.com");
        assert_eq!(name("[::1]:80"), "[::1]");
        assert_eq!(name("[::1]"), "[::1]");
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

    #[test]
    fn only_valid_trace_parents_go_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good.as_bytes()));
        assert!(is_traceparent(good.replacen("00", "cc", 1).as_bytes()));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert!(!is_traceparent(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_sane_request_id_is_kept() {
        let id = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&X_REQUEST_ID, HeaderValue::from_static(value));
            }
            RequestId::of(&headers, Survey::of(&headers), || 0xabc).as_str().to_owned()
        };
        assert_eq!(id(&["a-1"]), "a-1");
        for odd in [vec![], vec![""], vec!["a b"], vec!["a", "b"], vec!["<x>"]] {
            assert_eq!(id(&odd), "0000000000000abc0000000000000abc", "{odd:?}");
        }
    }
}
