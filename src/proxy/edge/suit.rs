//! Which answers are made smaller, and what their heads say then.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, ETAG, VARY,
    },
    response,
};
use hyper::body::Body as _;

use crate::{
    config::model::Algorithm,
    proxy::{body::ResponseBody, context::RequestContext},
};

/// Whether an answer is one that is made smaller for whoever accepts that.
pub(super) fn suits(
    parts: &response::Parts,
    body: &ResponseBody,
    context: &RequestContext,
    min_size: u64,
) -> bool {
    let headers = &parts.headers;
    let whole = !parts.status.is_informational()
        && !matches!(
            parts.status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        );
    let length = match headers.get(CONTENT_LENGTH) {
        // To HEAD the length of what a GET would bring.
        Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()),
        None => body.size_hint().exact(),
    };
    let is_large = length.is_none_or(|length| length > 0 && length >= min_size);
    let untouched = !headers.contains_key(CONTENT_ENCODING) && !headers.contains_key(CONTENT_RANGE);
    // Where an answer ends, an older client learns by its length or by the connection's end alone.
    let framed = context.version != Version::HTTP_10;
    whole && is_large && untouched && framed && may_be_transformed(headers) && is_text(headers)
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
    // What speaks of the bytes as they were.
    let digests = ["content-digest", "content-md5", "digest"].map(HeaderName::from_static);
    for name in [CONTENT_LENGTH, ACCEPT_RANGES].into_iter().chain(digests) {
        headers.remove(name);
    }
    if let Some(tag) = headers.get(ETAG)
        && !tag.as_bytes().starts_with(b"W/")
    {
        let weak = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat());
        weak.into_iter().for_each(|weak| drop(headers.insert(ETAG, weak)));
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
    fn a_head_is_made_that_of_the_encoded_body() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("etag", "\"x\""),
            ("content-length", "5"),
            ("accept-ranges", "bytes"),
            ("vary", "origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        vary(&mut headers);
        vary(&mut headers);
        rewrite(&mut headers, Algorithm::Brotli);
        assert_eq!(headers[ETAG], "W/\"x\"");
        assert_eq!(headers[CONTENT_ENCODING], "br");
        assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), ["origin", "accept-encoding"]);
        assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(ACCEPT_RANGES));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, No-Transform"));
        assert!(!may_be_transformed(&headers));
    }
}
