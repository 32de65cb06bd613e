//! A request of HTTP/2 held to RFC 9113, and made into one that the pipeline knows.
//!
//! The library has refused what it knows to be malformed: connection-specific headers, `te` other than `trailers`, upper case,
//! control characters, pseudo-headers that are missing, doubled, unknown or late, a body that is not as long as it says. The
//! rest is for us: what an endpoint that speaks HTTP/1.1 could read in another way than we did.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, COOKIE, HOST},
    request,
};

use crate::{
    domain::ErrorReason,
    proxy::{
        error::ProxyError,
        head::Framing,
        headers::{check_target, joined},
    },
};

/// Checks a request's head and puts together what HTTP/2 lets a client take apart; how its body is framed.
///
/// # Errors
/// `MalformedRequest` or `HeadTooLarge` with what is wrong.
pub(super) fn admit(
    parts: &mut request::Parts,
    ends: bool,
    max_headers: usize,
) -> Result<Framing, ProxyError> {
    if parts.headers.len() > max_headers {
        let why = "the request has too many headers";
        return Err(ProxyError::new(ErrorReason::HeadTooLarge, why));
    }
    check_target(parts)?;
    check_host(parts)?;
    if parts.headers.values().any(|value| is_padded(value.as_bytes())) {
        return Err(malformed("a header's value begins or ends with white space"));
    }
    join_cookies(&mut parts.headers);
    framing(&parts.headers, ends)
}

/// RFC 9113 §8.3.1: `host` may stand beside `:authority` only if both name the same.
fn check_host(parts: &request::Parts) -> Result<(), ProxyError> {
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    let same =
        |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
    if parts.headers.get_all(HOST).iter().all(same) {
        return Ok(());
    }
    Err(malformed("host and :authority differ"))
}

/// RFC 9113 §8.2.1.
fn is_padded(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    blank(value.first()) || blank(value.last())
}

/// RFC 9113 §8.2.3: cookies may come crumb by crumb, and leave HTTP/2 as one line.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some()
        && let Some(line) = joined(headers, &COOKIE)
    {
        headers.insert(COOKIE, line);
    }
}

fn framing(headers: &HeaderMap, ends: bool) -> Result<Framing, ProxyError> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => return Ok(if ends { Framing::Absent } else { Framing::Chunked }),
        (Some(length), None) => length.as_bytes(),
        (Some(_), Some(_)) => return Err(malformed("more than one content-length")),
    };
    if !matches!(length.len(), 1..=18) || !length.iter().all(u8::is_ascii_digit) {
        return Err(malformed("content-length is no number"));
    }
    Ok(Framing::Length(length.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))))
}

const fn malformed(why: &'static str) -> ProxyError {
    ProxyError::new(ErrorReason::MalformedRequest, why)
}

/// The head as HTTP/1.1 would write it, from which it can be read again.
pub(super) fn write(parts: &request::Parts) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    for part in [parts.method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    if let Some(authority) = parts.uri.authority()
        && !parts.headers.contains_key(HOST)
    {
        write_line(&mut head, "host", authority.as_str().as_bytes());
    }
    for (name, value) in &parts.headers {
        write_line(&mut head, name.as_str(), value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn write_line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::replay;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = http::Request::builder().version(http::Version::HTTP_2).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn admitted(uri: &str, headers: &[(&str, &str)]) -> Result<Framing, &'static str> {
        admit(&mut parts(uri, headers), false, 10).map_err(ProxyError::detail)
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        assert_eq!(admitted("http://a/", &[]), Ok(Framing::Chunked));
        assert_eq!(admitted("http://a/", &[("host", "A")]), Ok(Framing::Chunked));
        assert_eq!(admitted("http://a/", &[("content-length", "5")]), Ok(Framing::Length(5)));
        for (uri, header) in [
            ("http://a/", ("host", "b")),
            ("ftp://a/", ("a", "1")),
            ("http://a/", ("a", " 1")),
            ("http://a/", ("a", "1\t")),
            ("http://a/", ("content-length", "")),
            ("http://a/", ("content-length", "+5")),
            ("http://a/", ("content-length", "5, 5")),
        ] {
            assert!(admitted(uri, &[header]).is_err(), "{uri} {header:?}");
        }
        let twice = [("content-length", "5"), ("content-length", "5")];
        assert!(admitted("http://a/", &twice).is_err());
        assert!(admitted("http://a/", &[("a", "1"); 11]).is_err());
    }

    #[test]
    fn crumbs_make_one_cookie() {
        let mut parts = parts("http://a/", &[("cookie", "a=1"), ("cookie", "b=2"), ("b", "3")]);
        admit(&mut parts, true, 10).unwrap();
        let cookies: Vec<_> = parts.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2"]);
    }

    #[test]
    fn the_head_can_be_read_again() {
        let parts = parts("http://a:1/x?y=%20", &[("cookie", "a=1"), ("b", "3")]);
        let again = replay::parts(&write(&parts)).unwrap();
        assert_eq!(again.uri, "/x?y=%20");
        assert_eq!(again.headers[HOST], "a:1");
        assert_eq!(again.headers.len(), 3);
    }
}
