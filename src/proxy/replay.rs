//! A request's head read again from its bytes.
//!
//! Sending a request gives its headers away; to send it again, they are read once more from the head that the connection
//! still holds. So the rare second sending pays for itself, and the others do not pay for a copy.

use http::{Method, Uri, Version, request};

/// Most header lines of any listener.
const MAX_LINES: usize = 1_000;

/// The head in `bytes`, which has been accepted once already; `None` if it is none.
pub(super) fn parts(bytes: &[u8]) -> Option<request::Parts> {
    let mut lines = vec![httparse::EMPTY_HEADER; MAX_LINES];
    let mut head = httparse::Request::new(&mut lines);
    if !head.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let version = if head.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut request = http::Request::builder()
        .method(Method::from_bytes(head.method?.as_bytes()).ok()?)
        .uri(head.path?.parse::<Uri>().ok()?)
        .version(version);
    for line in head.headers {
        request = request.header(line.name, line.value);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_the_same_twice() {
        let head = b"\r\nGET /a?b=%20 HTTP/1.1\r\nHost: x\r\nA: 1\r\nA: 2\r\n\r\n";
        let parts = parts(head).unwrap();
        assert_eq!((parts.method, parts.version), (Method::GET, Version::HTTP_11));
        assert_eq!(parts.uri, "/a?b=%20");
        let values: Vec<_> = parts.headers.get_all("a").iter().collect();
        assert_eq!(values, ["1", "2"]);
    }

    #[test]
    fn half_a_head_is_none() {
        assert!(parts(b"GET / HTTP/1.1\r\nhost: x\r\n").is_none());
    }
}
