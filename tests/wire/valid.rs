//! Unusual requests that are valid: what reaches the upstream, byte for byte.

use crate::support::{
    gate::Gate,
    message::{Framing, Message},
    setup::Setup,
    upstream::Upstream,
};

/// Headers that Tidegate adds; the tests in `forwarding` are about them.
const ADDED: &[&str] = &[
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "traceparent",
    "x-tidegate-bucket",
];

/// What is sent, and what arrives: first line, headers by name, an empty line, body, trailers.
const ROWS: &[(&str, &[u8], &str)] = &[
    ("plain", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n"),
    ("an empty line first", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\n"),
    (
        "space and tabs around a value",
        b"GET / HTTP/1.1\r\nHost:a\r\nx-a: \t 1 \t\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\nx-a: 1\n\n",
    ),
    (
        "an empty value",
        b"GET / HTTP/1.1\r\nHost: a\r\nx-a:\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\nx-a: \n\n",
    ),
    (
        "a tab and high bytes in a value",
        b"GET / HTTP/1.1\r\nHost: a\r\nx-a: 1\t\xe9\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\nx-a: 1\t\u{e9}\n\n",
    ),
    (
        "a name of symbols",
        b"GET / HTTP/1.1\r\nHost: a\r\n_!#$%&'*+-.^`|~: 1\r\n\r\n",
        "GET / HTTP/1.1\n_!#$%&'*+-.^`|~: 1\nhost: a\n\n",
    ),
    (
        "a header twice keeps its order",
        b"GET / HTTP/1.1\r\nx-a: 2\r\nHost: a\r\nx-a: 1\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\nx-a: 2\nx-a: 1\n\n",
    ),
    (
        "a path is not made nicer",
        b"GET //a/./b/../%2e%2E/c;d=1//?x=%2F&y=//../z HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET //a/./b/../%2e%2E/c;d=1//?x=%2F&y=//../z HTTP/1.1\nhost: a\n\n",
    ),
    (
        "an empty query",
        b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /? HTTP/1.1\nhost: a\n\n",
    ),
    (
        "a query with brackets",
        b"GET /?a={1}|[2] HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?a={1}|[2] HTTP/1.1\nhost: a\n\n",
    ),
    (
        "an absolute target",
        b"GET http://example.com:80/x?y HTTP/1.1\r\nHost: example.com:80\r\n\r\n",
        "GET /x?y HTTP/1.1\nhost: example.com:80\n\n",
    ),
    (
        "an absolute target overrules Host",
        b"GET http://example.com/x HTTP/1.1\r\nHost: other.example\r\n\r\n",
        "GET /x HTTP/1.1\nhost: example.com\n\n",
    ),
    (
        "an absolute target without a path",
        b"GET http://example.com HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET / HTTP/1.1\nhost: example.com\n\n",
    ),
    (
        "an unknown method",
        b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
        "M-SEARCH / HTTP/1.1\nhost: a\n\n",
    ),
    (
        "an address in brackets",
        b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "GET / HTTP/1.1\nhost: [::1]:8080\n\n",
    ),
    (
        "HTTP/1.0 becomes HTTP/1.1",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nhost: a\n\n",
    ),
    (
        "a length of zero",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\ncontent-length: 0\nhost: a\n\n",
    ),
    (
        "a length with leading zeros",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\n\r\nhello",
        "POST / HTTP/1.1\ncontent-length: 5\nhost: a\n\nhello",
    ),
    (
        "a body that looks like a request",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 32\r\n\r\nGET /x HTTP/1.1\r\nHost: other\r\n\r\n",
        "POST / HTTP/1.1\ncontent-length: 32\nhost: a\n\nGET /x HTTP/1.1\r\nHost: other\r\n\r\n",
    ),
    (
        "a body of a GET",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\ncontent-length: 5\nhost: a\n\nhello",
    ),
    (
        "chunked in capitals",
        b"POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\nhello",
    ),
    (
        "chunk sizes with zeros and capitals",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n000A\r\n0123456789\r\n01\r\nx\r\n000\r\n\r\n",
        "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n0123456789x",
    ),
    (
        "chunk extensions are dropped",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n",
        "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\nhello",
    ),
    (
        "trailers",
        b"POST / HTTP/1.1\r\nHost: a\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        "POST / HTTP/1.1\nhost: a\ntrailer: x-sum\ntransfer-encoding: chunked\n\nhello\nx-sum: 1",
    ),
];

#[test]
fn unusual_requests_arrive_as_they_were_meant() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut faults = Vec::new();
    for (name, sent, expected) in ROWS {
        let mut client = gate.client();
        client.send(sent);
        match client.reader().response("GET", |_| {}) {
            Ok(answer) if answer.status() == 200 => {}
            Ok(answer) => faults.push(format!("{name}: {}", answer.first_line)),
            Err(broken) => faults.push(format!("{name}: the answer is {broken}")),
        }
        let arrived: Vec<_> = upstream.take_requests().iter().map(rendered).collect();
        if arrived != [*expected] {
            faults.push(format!("{name}: {arrived:?}\n  instead of {expected:?}"));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), ROWS.len(), faults.join("\n"));
}

#[test]
fn a_request_of_many_small_writes_is_one_request() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for byte in
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    {
        client.send([*byte]);
    }
    assert_eq!(client.answer_to("POST").status(), 200);
    let arrived: Vec<_> = upstream.take_requests().iter().map(rendered).collect();
    assert_eq!(arrived, ["POST /x HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\nhello"]);
}

#[test]
fn trailers_cannot_frame_or_route() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    for forbidden in [
        "content-length: 99",
        "transfer-encoding: gzip",
        "host: other",
        "x-request-id: 1",
        "x-tidegate-bucket: 1",
        "x-tidegate-mirror: 1",
        "x-forwarded-for: 192.0.2.1",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate: a=b",
        "forwarded: for=192.0.2.1",
        "authorization: Basic YTpi",
        "proxy-authorization: Basic YTpi",
        "cookie: a=b",
        "set-cookie: a=b",
        "max-forwards: 0",
        "expect: 100-continue",
    ] {
        let name = forbidden.split(':').next().unwrap();
        let mut client = gate.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTrailer: {name}\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n{forbidden}\r\n\r\n"
        ));
        let status = client.answer_to("POST").status();
        let arrived = upstream.take_requests();
        match (status, &arrived[..]) {
            (400, []) => {}
            (200, [request]) => assert!(!request.trailers.has(name), "{forbidden}: {request:?}"),
            _ => panic!("{forbidden}: {status}, {arrived:?}"),
        }
    }
}

/// What arrived, without the headers that Tidegate adds, and sorted by name.
fn rendered(request: &Message) -> String {
    let mut headers = request.headers.0.clone();
    headers.retain(|(name, _)| !ADDED.contains(&name.as_str()));
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    let lines = |headers: &[(String, String)]| {
        headers.iter().map(|(name, value)| format!("\n{name}: {value}")).collect::<String>()
    };
    let (head, trailers) = (lines(&headers), lines(&request.trailers.0));
    if request.framing == Framing::Empty {
        assert!(request.body.is_empty() && trailers.is_empty());
    }
    format!("{}{head}\n\n{}{trailers}", request.first_line, request.text())
}
