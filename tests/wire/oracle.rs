//! The tests' own reader is a judge, so it is judged first: what it must not let pass.

use std::io::Cursor;

use crate::support::message::{Broken, Framing, Message, Reader};

fn request(bytes: &'static [u8]) -> Result<Option<Message>, Broken> {
    Reader::new(Cursor::new(bytes), |_| {}).request()
}

fn response(bytes: &'static [u8]) -> Result<Message, Broken> {
    Reader::new(Cursor::new(bytes), |_| {}).response("GET", |_| {})
}

#[test]
fn a_proper_request_is_read_whole() {
    let read = request(b"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
        .unwrap()
        .unwrap();
    assert_eq!((read.target(), read.text().as_str()), ("/a?b", "hello"));
    assert_eq!(read.framing, Framing::Length(5));
    assert!(request(b"").unwrap().is_none(), "nothing is no request");
}

#[test]
fn what_two_readers_may_see_differently_is_malformed() {
    for bytes in [
        &b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..],
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\r2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nx: 1\x002\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
    ] {
        let read = request(bytes);
        assert!(matches!(read, Err(Broken::Malformed(_))), "{read:?}");
    }
}

#[test]
fn what_ends_early_is_cut() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Le"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        let read = response(bytes);
        assert!(matches!(read, Err(Broken::Cut(_))), "{read:?}");
    }
}

#[test]
fn a_body_where_none_can_be_is_left_alone() {
    let bytes = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(response(bytes).unwrap().framing, Framing::Empty);
    assert!(response(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n").is_err());
    assert_eq!(response(b"HTTP/1.1 200 OK\r\n\r\nrest").unwrap().text(), "rest");
}
