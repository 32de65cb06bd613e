//! Requests that break HTTP, or may be read in two ways: 400, closed, and nothing reaches an upstream.
//!
//! Each is followed in the same write by a second request, which must not be answered or forwarded either: whoever
//! reads the first one differently would take it for a request of its own.

use crate::support::{
    client::Client, gate::Gate, message::Message, setup::Setup, upstream::Upstream,
};

type Row = (&'static str, &'static [u8]);

const SECOND: &[u8] = b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n";

/// First lines; a valid Host follows.
const REQUEST_LINES: &[Row] = &[
    ("no method", b" / HTTP/1.1"),
    ("space before the method", b" GET / HTTP/1.1"),
    ("method that is no token", b"GE(T / HTTP/1.1"),
    ("NUL in the method", b"GE\0T / HTTP/1.1"),
    ("colon in the method", b"GET: / HTTP/1.1"),
    ("two spaces before the target", b"GET  / HTTP/1.1"),
    ("two spaces before the version", b"GET /  HTTP/1.1"),
    ("tabs for spaces", b"GET\t/\tHTTP/1.1"),
    ("no target", b"GET HTTP/1.1"),
    ("HTTP/0.9", b"GET /"),
    ("version in lower case", b"GET / http/1.1"),
    ("version with a long minor", b"GET / HTTP/1.10"),
    ("version with a leading zero", b"GET / HTTP/01.1"),
    ("version without a minor", b"GET / HTTP/1"),
    ("version 2.0 in the old form", b"GET / HTTP/2.0"),
    ("space after the version", b"GET / HTTP/1.1 "),
    ("a word after the version", b"GET / HTTP/1.1 x"),
    ("NUL in the target", b"GET /a\0b HTTP/1.1"),
    ("control character in the target", b"GET /a\x01b HTTP/1.1"),
    ("DEL in the target", b"GET /a\x7fb HTTP/1.1"),
    ("space in the target", b"GET /a b HTTP/1.1"),
    ("bare CR in the target", b"GET /a\rb HTTP/1.1"),
    ("fragment in the target", b"GET /a#b HTTP/1.1"),
    ("target without a slash", b"GET a/b HTTP/1.1"),
    ("asterisk without OPTIONS", b"GET * HTTP/1.1"),
    ("absolute target without a host", b"GET http:///a HTTP/1.1"),
    ("absolute target with user and password", b"GET http://u:p@a/ HTTP/1.1"),
    ("a host for a target", b"GET intern HTTP/1.1"),
    ("a host with a port for a target", b"POST intern:80 HTTP/1.1"),
    ("a scheme that is not HTTP's", b"GET ftp://a/ HTTP/1.1"),
    ("CONNECT with a path", b"CONNECT /a HTTP/1.1"),
    ("method in quotes", b"\"GET\" / HTTP/1.1"),
    ("high byte in the method", b"G\xc9T / HTTP/1.1"),
    ("method with a slash", b"GET/ / HTTP/1.1"),
    ("vertical tab for a space", b"GET\x0b/ HTTP/1.1"),
    ("form feed before the version", b"GET /\x0cHTTP/1.1"),
    ("CR before the version", b"GET /\rHTTP/1.1"),
    ("an empty version", b"GET / "),
    ("version without a slash", b"GET / HTTP1.1"),
    ("version with a space", b"GET / HTTP/ 1.1"),
    ("version without a major", b"GET / HTTP/.1"),
    ("version 3.0", b"GET / HTTP/3.0"),
    ("another protocol", b"GET / ICY/1.1"),
    ("target of a query alone", b"GET ?a HTTP/1.1"),
    ("target that begins with a backslash", b"GET \\a HTTP/1.1"),
    ("asterisk with a path", b"OPTIONS */a HTTP/1.1"),
    ("absolute target with a port of letters", b"GET http://a:b/ HTTP/1.1"),
    ("absolute target with a port out of range", b"GET http://a:99999/ HTTP/1.1"),
    ("CONNECT with an absolute target", b"CONNECT http://a/ HTTP/1.1"),
    ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
];

/// Header lines beside a valid Host.
const HEADER_LINES: &[Row] = &[
    ("space before the colon", b"x-a : 1"),
    ("tab before the colon", b"x-a\t: 1"),
    ("space before a framing header's colon", b"Content-Length : 0"),
    ("continued line", b"x-a: 1\r\n 2"),
    ("continued line by a tab", b"x-a: 1\r\n\t2"),
    ("continued line of a framing header", b"Transfer-Encoding:\r\n chunked"),
    ("no colon", b"x-a"),
    ("no name", b": 1"),
    ("space in the name", b"x a: 1"),
    ("bracket in the name", b"x(a: 1"),
    ("quote in the name", b"x\"a: 1"),
    ("slash in the name", b"x/a: 1"),
    ("high byte in the name", b"x\xe9: 1"),
    ("NUL in the name", b"x\0a: 1"),
    ("quote in the name", b"x\"a: 1"),
    ("comma in the name", b"x,a: 1"),
    ("semicolon in the name", b"x;a: 1"),
    ("at sign in the name", b"x@a: 1"),
    ("brace in the name", b"x{a: 1"),
    ("equals sign in the name", b"x=a: 1"),
    ("DEL in the name", b"x\x7fa: 1"),
    ("control character in the name", b"x\x01a: 1"),
    ("bare CR in the name", b"x\ra: 1"),
    ("a colon alone", b":"),
    ("a request line among the headers", b"GET /x HTTP/1.1"),
    ("space before a coding's colon", b"Transfer-Encoding : chunked"),
    ("tab before a length's colon", b"Content-Length\t: 5"),
    ("continued length", b"Content-Length:\r\n 5"),
    ("continued line of nothing", b"x-a: 1\r\n "),
    ("continued line that looks like a header", b"x-a: 1\r\n Content-Length: 5"),
    ("bell in the value", b"x-a: 1\x072"),
    ("backspace in the value", b"x-a: 1\x082"),
    ("form feed in the value", b"x-a: 1\x0c2"),
    ("escape in the value", b"x-a: \x1b[0m"),
    ("NUL alone for a value", b"x-a: \0"),
    ("NUL in the value", b"x-a: 1\x002"),
    ("control character in the value", b"x-a: 1\x012"),
    ("vertical tab in the value", b"x-a: 1\x0b2"),
    ("DEL in the value", b"x-a: 1\x7f2"),
    ("bare CR in the value", b"x-a: 1\r2"),
    ("bare CR that hides a header", b"x-a: 1\rTransfer-Encoding: chunked"),
    ("bare LF that ends a line", b"x-a: 1\nx-b: 2"),
    ("bare LF that hides a header", b"x-a: 1\nContent-Length: 5"),
    ("an expectation beside the known one", b"Expect: 100-continue, x"),
    ("the known expectation with a parameter", b"Expect: 100-continue;q=1"),
    ("the known expectation in quotes", b"Expect: \"100-continue\""),
    (
        "an expectation beside the known one, on a line of its own",
        b"Expect: 100-continue\r\nExpect: x",
    ),
    ("the known expectation twice", b"Expect: 100-continue\r\nExpect: 100-continue"),
    ("an expectation that nobody knows", b"Expect: 200-ok"),
];

/// What stands where one valid Host should.
const HOSTS: &[Row] = &[
    ("no Host", b"x-a: 1"),
    ("two Hosts", b"Host: a\r\nHost: b"),
    ("the same Host twice", b"Host: a\r\nHost: a"),
    ("an empty Host", b"Host:"),
    ("space in the Host", b"Host: a b"),
    ("list in the Host", b"Host: a, b"),
    ("path in the Host", b"Host: a/b"),
    ("query in the Host", b"Host: a?b"),
    ("user in the Host", b"Host: u@a"),
    ("port that is no number", b"Host: a:b"),
    ("port out of range", b"Host: a:99999"),
    ("a Host and an empty one", b"Host: a\r\nHost:"),
    ("fragment in the Host", b"Host: a#b"),
    ("backslash in the Host", b"Host: a\\b"),
    ("NUL in the Host", b"Host: a\0b"),
    ("tab in the Host", b"Host: a\tb"),
    ("two ports", b"Host: a:1:2"),
    ("port with a plus", b"Host: a:+80"),
    ("a port alone", b"Host: :80"),
    ("IPv6 without brackets", b"Host: ::1"),
    ("a name in brackets", b"Host: [a]"),
    ("a closing bracket alone", b"Host: a]"),
    ("a scheme in the Host", b"Host: http://a"),
    ("angle brackets in the Host", b"Host: <a>"),
    ("open bracket", b"Host: [::1"),
    ("high byte in the Host", b"Host: \xe9"),
];

/// Framing of a POST; `0 CRLF CRLF` follows, which is a body only to those who see a chunked one.
const FRAMINGS: &[Row] = &[
    ("length and coding", b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    ("coding and length", b"Transfer-Encoding: chunked\r\nContent-Length: 5"),
    ("length zero and coding", b"Content-Length: 0\r\nTransfer-Encoding: chunked"),
    ("two lengths", b"Content-Length: 5\r\nContent-Length: 6"),
    ("the same length twice", b"Content-Length: 5\r\nContent-Length: 5"),
    ("list of the same length", b"Content-Length: 5, 5"),
    ("list of lengths", b"Content-Length: 5, 6"),
    ("list that begins with nothing", b"Content-Length: ,5"),
    ("length with a plus", b"Content-Length: +5"),
    ("length with a minus", b"Content-Length: -1"),
    ("length in hexadecimal", b"Content-Length: 0x5"),
    ("length with a letter", b"Content-Length: 5a"),
    ("length with an exponent", b"Content-Length: 1e1"),
    ("length in two words", b"Content-Length: 5 5"),
    ("empty length", b"Content-Length:"),
    ("length of 2^64", b"Content-Length: 18446744073709551616"),
    ("length of 40 digits", b"Content-Length: 1000000000000000000000000000000000000005"),
    ("length in quotes", b"Content-Length: \"5\""),
    ("length with a fraction", b"Content-Length: 5.0"),
    ("length with an underscore", b"Content-Length: 1_0"),
    ("length in digits of another script", b"Content-Length: \xd9\xa5"),
    ("length with a parameter", b"Content-Length: 5;q=1"),
    ("two lengths apart", b"Content-Length: 5\r\nx-a: 1\r\nContent-Length: 6"),
    ("list that ends with nothing (length)", b"Content-Length: 5,"),
    ("a length and an empty one", b"Content-Length: 5\r\nContent-Length:"),
    ("unknown coding", b"Transfer-Encoding: xchunked"),
    ("gzip alone", b"Transfer-Encoding: gzip"),
    ("identity", b"Transfer-Encoding: identity"),
    ("gzip, then chunked", b"Transfer-Encoding: gzip, chunked"),
    ("chunked, then identity", b"Transfer-Encoding: chunked, identity"),
    ("chunked twice in a line", b"Transfer-Encoding: chunked, chunked"),
    ("chunked in two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    ("chunked and identity in two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
    ("list that begins with nothing (coding)", b"Transfer-Encoding: ,chunked"),
    ("list that ends with nothing", b"Transfer-Encoding: chunked,"),
    ("chunked with a parameter", b"Transfer-Encoding: chunked;q=1"),
    ("chunked in quotes", b"Transfer-Encoding: \"chunked\""),
    ("chunked in two words", b"Transfer-Encoding: chun ked"),
    ("chunked with a letter more", b"Transfer-Encoding: chunkedx"),
    ("chunked with a NUL", b"Transfer-Encoding: chunked\0"),
    ("identity, then chunked", b"Transfer-Encoding: identity, chunked"),
    ("deflate, then chunked", b"Transfer-Encoding: deflate, chunked"),
    ("an empty coding and chunked", b"Transfer-Encoding:\r\nTransfer-Encoding: chunked"),
    ("chunked and an empty coding", b"Transfer-Encoding: chunked\r\nTransfer-Encoding:"),
    (
        "coding, length and coding",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\nTransfer-Encoding: x",
    ),
    ("empty coding", b"Transfer-Encoding:"),
    ("vertical tab before the coding", b"Transfer-Encoding: \x0bchunked"),
];

/// Whole requests.
const WHOLE: &[Row] = &[
    (
        "coding in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("space before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("bare LF after the last header", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    ("bare LF for the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("bare LF throughout", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare CR throughout", b"GET / HTTP/1.1\rHost: a\r\r\n\r\n"),
];

#[test]
fn malformed_request_lines_are_refused() {
    refuse_all(REQUEST_LINES, |line| [line, b"\r\nHost: a\r\n\r\n"].concat());
}

#[test]
fn malformed_header_lines_are_refused() {
    refuse_all(HEADER_LINES, |lines| {
        [b"GET / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n"].concat()
    });
}

#[test]
fn one_valid_host_is_demanded() {
    refuse_all(HOSTS, |lines| [b"GET / HTTP/1.1\r\n", lines, b"\r\n\r\n"].concat());
}

#[test]
fn ambiguous_framing_is_refused() {
    refuse_all(FRAMINGS, |lines| {
        [b"POST / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n0\r\n\r\n"].concat()
    });
}

#[test]
fn malformed_wholes_are_refused() {
    refuse_all(WHOLE, <[u8]>::to_vec);
}

#[test]
fn a_tunnel_is_not_opened_for_connect() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    let answer = client.answer_to("CONNECT");
    assert!(matches!(answer.status(), 400 | 405 | 501), "{answer:?}");
    client.assert_closed();
    assert_only_the_next_request_arrives(&gate, &upstream, 0).unwrap();
}

/// Sends each row through one gate, and fails with all rows that got through.
fn refuse_all(rows: &[Row], whole: impl Fn(&[u8]) -> Vec<u8>) {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let faults: Vec<_> = rows
        .iter()
        .filter_map(|(name, bytes)| {
            let fault = refuse(&gate, &upstream, &whole(bytes)).err()?;
            Some(format!("{name}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

fn refuse(gate: &Gate, upstream: &Upstream, request: &[u8]) -> Result<(), String> {
    let seen_before = arrived(upstream);
    let mut client = gate.client();
    client.send([request, SECOND].concat());
    let answer = client.reader().response("GET", |_| {}).map_err(|broken| broken.to_string());
    // What reached the upstream matters even if the answer was wrong.
    let next = assert_only_the_next_request_arrives(gate, upstream, seen_before);
    assert_refusal(&answer?, 400)?;
    client.reader().is_at_end()?;
    next
}

/// Fails unless the answer is one of Tidegate's own: a status, a request id, and a short body.
pub(crate) fn assert_refusal(answer: &Message, status: u16) -> Result<(), String> {
    if answer.status() != status {
        return Err(format!("{} instead of {status}", answer.first_line));
    }
    if answer.headers.only("x-request-id").is_none_or(str::is_empty) {
        return Err("no x-request-id".into());
    }
    if answer.body.is_empty() || answer.body.len() > 512 {
        return Err(format!("a body of {} bytes", answer.body.len()));
    }
    Ok(())
}

/// Request lines that reached the upstream, whether or not a whole request followed.
fn arrived(upstream: &Upstream) -> usize {
    let count = |bytes: &Vec<u8>| bytes.windows(10).filter(|part| *part == b" HTTP/1.1\r").count();
    upstream.log().bytes.iter().map(count).sum()
}

/// With one worker, a request answered now was forwarded after whatever the one before it may have caused.
fn assert_only_the_next_request_arrives(
    gate: &Gate,
    upstream: &Upstream,
    seen_before: usize,
) -> Result<(), String> {
    let mut client = Client::connect(gate.address());
    let answer = client.get("/next");
    if answer.status() != 200 {
        return Err(format!("a proper request afterwards got {}", answer.first_line));
    }
    let requests = upstream.take_requests();
    let targets: Vec<_> = requests.iter().map(Message::target).collect();
    if targets != ["/next"] || arrived(upstream) != seen_before + 1 {
        return Err(format!("the upstream got {targets:?}"));
    }
    Ok(())
}
