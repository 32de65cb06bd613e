//! Which answers are made smaller, and what their heads say then.

use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Version,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
    },
    response,
};
use hyper::body::Body as _;

use super::encode::Flow;
use crate::{
    config::model::Algorithm,
    proxy::{body::ResponseBody, context::RequestContext},
};

/// What an answer is to compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is made smaller for whoever accepts that; of one to HEAD, the head.
    Whole,
    /// Part of one that would be (206): it goes out as it is.
    Part,
    /// The client has it already (304); `known` to be of a kind that becomes smaller.
    Kept { known: bool },
}

/// What an answer is to compression; `None`: nothing.
pub(super) fn fit(
    parts: &response::Parts,
    body: &ResponseBody,
    context: &RequestContext,
    min_size: u64,
) -> Option<Fit> {
    let headers = &parts.headers;
    // Where an answer ends, an older client learns by its length or by the connection's end alone.
    let framed = context.version != Version::HTTP_10;
    if !framed || headers.contains_key(CONTENT_ENCODING) || !may_be_transformed(headers) {
        return None;
    }
    let is_text = is_text(headers);
    match parts.status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => None,
        status if status.is_informational() => None,
        StatusCode::PARTIAL_CONTENT => is_text.then_some(Fit::Part),
        // It need not say of what kind it is.
        StatusCode::NOT_MODIFIED if is_text || !headers.contains_key(CONTENT_TYPE) => {
            Some(Fit::Kept { known: is_text })
        }
        StatusCode::NOT_MODIFIED => None,
        _ => {
            let length = match headers.get(CONTENT_LENGTH) {
                // To HEAD the length of what a GET would bring.
                Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()),
                None if context.method == Method::HEAD => None,
                None => body.size_hint().exact(),
            };
            let is_large = length.is_none_or(|length| length > 0 && length >= min_size);
            (is_large && is_text && !headers.contains_key(CONTENT_RANGE)).then_some(Fit::Whole)
        }
    }
}

/// Whether one of the tags that the client has is weak, as ours are of what was encoded.
pub(super) fn names_weak(request: &HeaderMap) -> bool {
    let lines = request.get_all(IF_NONE_MATCH).into_iter();
    let mut tags = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    tags.any(|tag| tag.trim_ascii_start().starts_with(b"W/\""))
}

/// RFC 9110 §7.7: who says `no-transform` is obeyed.
fn may_be_transformed(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    let mut directives = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    !directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// Whether it is of a kind that becomes smaller.
fn is_text(headers: &HeaderMap) -> bool {
    const OTHERS: [&str; 10] = [
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-javascript",
        "application/x-ndjson",
        "application/xml",
        "font/otf",
        "font/ttf",
    ];
    let Some(written) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let kind = written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // A call's messages are framed, and encoded by its own rules (`grpc-encoding`), whatever they hold.
    if kind.starts_with("application/grpc") {
        return false;
    }
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || OTHERS.contains(&kind.as_str())
}

/// How the body comes.
pub(super) fn flow(headers: &HeaderMap) -> Flow {
    const EVENTS: &[u8] = b"text/event-stream";
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..EVENTS.len()));
    let is_stream = kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS));
    if is_stream { Flow::Events } else { Flow::Document }
}

/// Tells caches that the answer depends on what the client accepts.
pub(super) fn vary(headers: &mut HeaderMap) {
    let lines = headers.get_all(VARY).into_iter();
    let mut names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let known = |name: &[u8]| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding");
    if !names.any(|name| known(name.trim_ascii())) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Makes the head that of the encoded body.
pub(super) fn rewrite(headers: &mut HeaderMap, algorithm: Algorithm) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(algorithm.token()));
    weaken(headers);
}

/// Takes from a head what speaks of the bytes as they were: no more than their meaning is left.
pub(super) fn weaken(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    remove_digests(headers);
    if let Some(tag) = headers.get(ETAG)
        && !tag.as_bytes().starts_with(b"W/")
    {
        let weak = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat());
        weak.into_iter().for_each(|weak| drop(headers.insert(ETAG, weak)));
    }
}

/// Digests are of an encoded body (RFC 9530 §2 and §3), also where they come after it.
pub(super) fn remove_digests(fields: &mut HeaderMap) {
    for name in ["content-digest", "repr-digest", "content-md5", "digest"] {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_small_already_are_left_alone() {
        let of = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            is_text(&headers)
        };
        for kind in
            ["text/html; charset=utf-8", "Application/JSON", "image/svg+xml", "text/event-stream"]
        {
            assert!(of(kind), "{kind}");
        }
        for kind in ["image/png", "application/zip", "video/mp4", ""] {
            assert!(!of(kind), "{kind}");
        }
        for kind in ["application/grpc", "application/grpc+json", "application/grpc-web+json"] {
            assert!(!of(kind), "{kind}");
        }
        assert!(!is_text(&HeaderMap::new()));
    }

    #[test]
    fn a_weak_tag_is_one_that_the_client_has() {
        let of = |tags: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(tags));
            names_weak(&headers)
        };
        assert!(of("W/\"a\"") && of("\"a\", W/\"b\""));
        assert!(
            !of("\"a\"") && !of("*") && !of("\"aW/\", \"W/\"") && !names_weak(&HeaderMap::new())
        );
    }

    #[test]
    fn a_head_is_made_that_of_the_encoded_body() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("etag", "\"x\""),
            ("content-length", "5"),
            ("accept-ranges", "bytes"),
            ("vary", "origin"),
            ("repr-digest", "a=:Yg==:"),
            ("content-digest", "a=:Yg==:"),
            ("digest", "a=Yg=="),
            ("content-md5", "Yg=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        vary(&mut headers);
        vary(&mut headers);
        rewrite(&mut headers, Algorithm::Brotli);
        assert_eq!(headers[ETAG], "W/\"x\"");
        assert_eq!(headers[CONTENT_ENCODING], "br");
        assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), ["origin", "accept-encoding"]);
        let mut left: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-encoding", "etag", "vary"]);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, No-Transform"));
        assert!(!may_be_transformed(&headers));
    }
}
