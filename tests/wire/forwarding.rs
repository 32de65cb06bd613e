//! Headers between the two connections: what is removed, what is added, and whom Tidegate believes.

use crate::support::{
    gate::Gate,
    message::Message,
    setup::{BY_COOKIE, Setup},
    upstream::Upstream,
};

/// Sends one request through a gate with `setup`, and gives what arrived.
fn arrived(setup: impl FnOnce(Setup) -> Setup, headers: &str) -> Message {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&setup(Setup::to(upstream.address())));
    let mut client = gate.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: app.example\r\n{headers}\r\n"));
    assert_eq!(client.answer().status(), 200, "{headers:?}");
    upstream.take_requests().pop().expect("a request")
}

#[test]
fn what_concerns_the_clients_connection_alone_is_removed() {
    let request = arrived(
        |setup| setup,
        "connection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\n\
         te: gzip\r\nupgrade: h2c\r\nx-hop: 1\r\nx-stay: 1\r\n",
    );
    for name in ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "x-hop"] {
        assert!(!request.headers.has(name), "{name}: {request:?}");
    }
    assert_eq!(request.headers.only("x-stay"), Some("1"));
}

#[test]
fn a_client_cannot_name_our_headers_in_connection() {
    let ours =
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "traceparent"];
    let lines = format!("connection: {}, host, x-mine\r\nx-mine: 1\r\n", ours.join(", "));
    let request = arrived(|setup| setup, &lines);
    for name in ours {
        assert!(request.headers.only(name).is_some(), "{name} is gone: {request:?}");
    }
    assert_eq!(request.headers.only("host"), Some("app.example"));
    assert!(!request.headers.has("x-mine"));
}

#[test]
fn a_client_cannot_name_the_framing_in_connection() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let connection = "connection: content-length, transfer-encoding";
    for framing in [
        "content-length: 5\r\n\r\nhello",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = gate.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{connection}\r\n{framing}"));
        assert_eq!(client.answer_to("POST").status(), 200);
        let requests = upstream.take_requests();
        assert_eq!(requests.iter().map(Message::text).collect::<Vec<_>>(), ["hello"]);
    }
}

#[test]
fn what_concerns_the_upstreams_connection_alone_is_removed() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nkeep-alive: timeout=5\r\n\
          proxy-connection: keep-alive\r\nx-hop: 1\r\nx-stay: 1\r\ncontent-length: 0\r\n\r\n"
            .to_vec()
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let answer = gate.client().get("/");
    for name in ["keep-alive", "proxy-connection", "x-hop"] {
        assert!(!answer.headers.has(name), "{name}: {answer:?}");
    }
    assert_eq!(answer.headers.only("x-stay"), Some("1"));
}

#[test]
fn an_upstream_cannot_name_our_cookie_in_connection() {
    let answer =
        b"HTTP/1.1 200 OK\r\nconnection: set-cookie, x-request-id\r\ncache-control: no-store\r\n\
                   set-cookie: theirs=1\r\ncontent-length: 0\r\n\r\n";
    let upstream = Upstream::answering(|_| answer.to_vec());
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", BY_COOKIE));
    let answer = gate.client().get("/");
    let cookies = answer.headers.all("set-cookie");
    assert!(matches!(cookies[..], [ours] if ours.starts_with("tidegate=")), "{cookies:?}");
}

#[test]
fn an_unknown_client_is_not_believed() {
    let forged = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\n\
                  x-forwarded-host: evil.example\r\nforwarded: for=192.0.2.1\r\n";
    let request = arrived(|setup| setup, forged);
    assert_eq!(request.headers.only("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.headers.only("x-forwarded-proto"), Some("http"));
    assert_eq!(request.headers.only("x-forwarded-host"), Some("app.example"));
    assert!(!request.headers.has("forwarded"), "{request:?}");
}

#[test]
fn a_trusted_proxy_is_believed() {
    let told = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: https\r\n\
                x-forwarded-host: www.example\r\n";
    let trusting = |setup: Setup| setup.listener("trusted_proxies = [\"127.0.0.0/8\"]");
    let request = arrived(trusting, told);
    assert_eq!(request.headers.only("x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
    assert_eq!(request.headers.only("x-forwarded-proto"), Some("https"));
    assert_eq!(request.headers.only("x-forwarded-host"), Some("www.example"));
}

#[test]
fn a_request_id_is_kept_when_it_is_sane() {
    let kept = arrived(|setup| setup, "x-request-id: abc-123_4.5\r\n");
    assert_eq!(kept.headers.only("x-request-id"), Some("abc-123_4.5"));
    let long = "x".repeat(1000);
    for insane in ["a b", "", "<script>", long.as_str()] {
        let request = arrived(|setup| setup, &format!("x-request-id: {insane}\r\n"));
        let made = request.headers.only("x-request-id").expect("an id");
        assert!(made != insane && !made.is_empty() && made.len() <= 64, "{made:?}");
    }
}

#[test]
fn the_answer_carries_the_id_that_the_upstream_saw() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::empty().backend("blue", upstream.address(), "").route(
        "app",
        "split = { blue = 100 }\npath = \"/app\"",
        "",
    ));
    let mut client = gate.client();
    let (one, two) = (client.get("/elsewhere"), client.get("/elsewhere"));
    assert_eq!((one.status(), two.status()), (404, 404));
    assert_ne!(one.headers.only("x-request-id"), two.headers.only("x-request-id"));
}

#[test]
fn a_trace_is_continued_or_begun() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let given = format!("00-{trace}-00f067aa0ba902b7-01");
    let request = arrived(|setup| setup, &format!("traceparent: {given}\r\n"));
    let continued = request.headers.only("traceparent").expect("a trace");
    assert_eq!(continued.split('-').nth(1), Some(trace), "{continued}");
    assert!(is_traceparent(continued), "{continued}");
    let zero = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
    for broken in ["", "x", "00-1-2-3", zero] {
        let request = arrived(|setup| setup, &format!("traceparent: {broken}\r\n"));
        let begun = request.headers.only("traceparent").expect("a trace");
        assert!(is_traceparent(begun) && begun != broken, "{broken:?} became {begun:?}");
    }
}

fn is_traceparent(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let lengths: Vec<_> = parts.iter().map(|part| part.len()).collect();
    let hexadecimal = |part: &&str| part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    lengths == [2, 32, 16, 2]
        && parts.iter().all(hexadecimal)
        && parts[1..3].iter().all(|part| part.bytes().any(|digit| digit != b'0'))
}

#[test]
fn no_backend_is_named_to_the_client_unless_asked() {
    let upstream = Upstream::saying("hello");
    let hidden = Gate::start(&Setup::to(upstream.address()));
    assert!(!hidden.client().get("/").headers.has("x-tidegate-backend"));
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let lines = "split = { blue = 100 }\nexpose_backend = true";
    let shown = Gate::start(&setup.route("app", lines, ""));
    assert_eq!(shown.client().get("/").headers.only("x-tidegate-backend"), Some("blue"));
}

/// The answer to a request of `method` with `lines`, and what arrived before the next request did.
fn asked(gate: &Gate, upstream: &Upstream, method: &str, lines: &str) -> (Message, Vec<Message>) {
    let mut client = gate.client();
    client.send(format!("{method} /a HTTP/1.1\r\nhost: a\r\n{lines}\r\n"));
    let answer = client.answer_to(method);
    assert_eq!(gate.client().get("/behind").status(), 200);
    let mut arrived = upstream.take_requests();
    assert!(arrived.pop().is_some_and(|last| last.target() == "/behind"));
    (answer, arrived)
}

#[test]
fn a_request_goes_through_as_many_proxies_as_it_says() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let cases = [
        ("OPTIONS", "3", "2"),
        ("TRACE", "1", "0"),
        ("OPTIONS", "007", "6"),
        ("OPTIONS", "99999999999999999999", "4294967294"),
        ("GET", "0", "0"),
        ("POST", "x", "x"),
    ];
    for (method, sent, wanted) in cases {
        let line = format!("max-forwards: {sent}\r\ncontent-length: 0\r\n");
        let (answer, arrived) = asked(&gate, &upstream, method, &line);
        assert_eq!((answer.status(), arrived.len()), (200, 1), "{method} {sent}");
        assert_eq!(arrived[0].headers.only("max-forwards"), Some(wanted), "{method} {sent}");
    }
}

#[test]
fn and_is_answered_by_the_last() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    for (method, status, allow) in [("OPTIONS", 204, None), ("TRACE", 405, Some("OPTIONS"))] {
        let (answer, arrived) = asked(&gate, &upstream, method, "max-forwards: 0\r\n");
        assert_eq!((answer.status(), answer.headers.only("allow")), (status, allow), "{method}");
        assert!(answer.headers.only("x-request-id").is_some());
        assert!(answer.text().is_empty() && arrived.is_empty(), "{method}: {arrived:?}");
    }
    let unclear = ["x", "", "-1", "1, 1", "1\r\nmax-forwards: 1"];
    for value in unclear {
        let line = format!("max-forwards: {value}\r\n");
        let (answer, arrived) = asked(&gate, &upstream, "OPTIONS", &line);
        assert_eq!((answer.status(), arrived.len()), (400, 0), "{value:?}");
    }
}
