//! WebSockets and HTTP/2: a stream for a client (RFC 8441), an ordinary WebSocket for the endpoint, whatever else that speaks.

use std::sync::Arc;

use crate::{
    http2_upstream,
    support::{
        frames::{DATA, END_STREAM, Frames, HEADERS, StreamEnd, frame},
        gate::Gate,
        setup::{NONE, Setup},
        tls::{self, Authority},
        upstream::{Upstream, ok, opening},
    },
};

type Fields = &'static [(&'static [u8], &'static [u8])];

/// The fields of an extended CONNECT that asks for a WebSocket.
const WEBSOCKET: Fields = &[
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat"),
    (b":authority", b"test"),
    (b"sec-websocket-version", b"13"),
    (b"origin", b"http://test"),
];

const SHORT: &str = "header_timeout = \"200ms\"\nidle_timeout = \"200ms\"";

#[test]
fn a_websocket_over_a_stream_is_one_for_the_endpoint() {
    let upstream = Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        assert_eq!(request.headers.only("upgrade"), Some("websocket"));
        assert_eq!(request.headers.only("sec-websocket-key").map(str::len), Some(24));
        peer.write(opening(&request) + "hello").ok();
        while let Ok(bytes) = peer.reader().some_bytes() {
            if bytes.is_empty() || peer.write(&bytes).is_err() {
                break;
            }
        }
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()).listener(SHORT));
    let mut client = Frames::connect(gate.address());
    client.send_head(1, 0, WEBSOCKET);
    let head = client.until("an answer", |frame| frame.kind == HEADERS);
    assert_eq!((head.payload[0], head.flags & END_STREAM), (0x88, 0), "no 200");
    for message in ["", "one", "\0two"] {
        if !message.is_empty() {
            client.send(&frame(DATA, 0, 1, message.as_bytes()));
        }
        let expected = if message.is_empty() { "hello" } else { message };
        let back = client.until("an echo", |frame| frame.kind == DATA);
        assert_eq!(back.payload, expected.as_bytes());
        // The time by which a quiet connection ends, as this one does, passes over it.
        assert_eq!(Frames::connect(gate.address()).end(), Some(0));
    }
    client.send(&frame(DATA, END_STREAM, 1, b""));
    client.until("the end", |frame| frame.kind == DATA && frame.flags & END_STREAM != 0);
    upstream.wait_until("the tunnel ends", |log| log.ended == 1);
    assert_eq!(client.end(), Some(0), "then the connection is idle");
}

#[test]
fn a_websocket_that_the_endpoint_does_not_open_is_none() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/chat" => ok("no"),
        "/empty" => ok(""),
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".into(),
        _ => b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno".into(),
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut fields = WEBSOCKET.to_vec();
    for (at, path) in ["/chat", "/empty", "/204"].into_iter().enumerate() {
        let mut client = Frames::connect(gate.address());
        fields[3] = (b":path", path.as_bytes());
        client.send_head(1, 0, &fields);
        assert!(matches!(client.end_of(1), StreamEnd::Answered(502, _)), "{path}");
        gate.await_count(
            "tidegate_requests_total",
            &[("class", "failure")],
            u64::try_from(at).unwrap() + 1,
        );
    }
    assert!(gate.metric("tidegate_requests_total", &[("class", "success")]) < 0.5);
    gate.await_count("tidegate_errors_total", &[("reason", "malformed_response")], 3);
    let mut client = Frames::connect(gate.address());
    fields[3] = (b":path", b"/other");
    client.send_head(1, 0, &fields);
    assert_eq!(client.end_of(1), StreamEnd::Answered(403, b"no".into()));
    let mut client = Frames::connect(gate.address());
    fields[1] = (b":protocol", b"connect-udp");
    client.send_head(1, 0, &fields);
    assert!(matches!(client.end_of(1), StreamEnd::Answered(400, _)));
}

/// The client cannot look, since the key is Tidegate's own (RFC 6455 §4.1).
#[test]
fn a_websocket_that_is_opened_without_its_key_is_none() {
    let upstream = Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        let good = opening(&request);
        let answer = match request.target() {
            "/other" => good.replace("accept: ", "accept: x"),
            "/none" => good.replace("sec-websocket-accept", "x-accept"),
            "/twice" => good.replace("\r\n\r\n", "\r\nsec-websocket-accept: x\r\n\r\n"),
            "/unconnected" => good.replace("connection: upgrade\r\n", ""),
            _ => good,
        };
        peer.write(answer + "hello").ok();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut fields = WEBSOCKET.to_vec();
    for path in ["/other", "/none", "/twice", "/unconnected"] {
        let mut client = Frames::connect(gate.address());
        fields[3] = (b":path", path.as_bytes());
        client.send_head(1, 0, &fields);
        assert!(matches!(client.end_of(1), StreamEnd::Answered(502, _)), "{path}");
    }
    gate.await_count("tidegate_errors_total", &[("reason", "malformed_response")], 4);
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 4);
    let mut client = Frames::connect(gate.address());
    client.send_head(1, 0, WEBSOCKET);
    assert_eq!(client.until("a greeting", |frame| frame.kind == DATA).payload, b"hello");
}

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const UNSUPPORTED: &[(&str, &str)] = &[("reason", "websocket_unsupported")];

#[test]
fn a_backend_that_speaks_nothing_but_http_2_is_not_asked_for_a_websocket() {
    let (address, connections) = http2_upstream::endpoint(&[], |_, frames| drop(frames.next()));
    let setup = Setup::empty().backend("blue", address, "protocol = \"h2\"");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    let mut client = gate.client();
    client.send(ASK);
    let answer = client.answer();
    assert_eq!(answer.status(), 501, "{answer:?}");
    assert!(answer.text().contains("websocket_unsupported"), "{}", answer.text());
    let mut client = Frames::connect(gate.address());
    client.send_head(1, 0, WEBSOCKET);
    assert!(matches!(client.end_of(1), StreamEnd::Answered(501, _)));
    gate.await_count("tidegate_errors_total", UNSUPPORTED, 2);
    // Nobody was tried, so nobody is to blame.
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(gate.metric("tidegate_requests_total", &[]) < 0.5);
}

/// A server under TLS that knows these protocols, the best first.
fn speaking(authority: &Authority, protocols: &[&str]) -> Arc<rustls::ServerConfig> {
    let mut server = Arc::unwrap_or_clone(authority.server("app", false));
    server.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(server)
}

fn over_tls(authority: &Authority, address: std::net::SocketAddr, protocol: &str) -> Gate {
    let ca = authority.path("ca.pem");
    let lines = format!(
        "protocol = \"{protocol}\"\n[backend.blue.tls]\nca = \"{ca}\"\nserver_name = \"app.example\""
    );
    let setup = Setup::empty().backend("blue", address, &lines);
    Gate::start(&setup.route("app", "split = { blue = 100 }", NONE))
}

#[test]
fn under_tls_a_websocket_gets_a_connection_of_http_1_1_to_itself() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let server = speaking(&authority, &["h2", "http/1.1"]);
    let address = tls::upstream(server, |peer| {
        let Some(request) = peer.request() else { return };
        assert_eq!(request.headers.only("upgrade"), Some("websocket"));
        peer.write(opening(&request) + "hi").ok();
        peer.reader().some_bytes().ok();
    });
    for protocol in ["auto", "h2"] {
        let gate = over_tls(&authority, address, protocol);
        let mut client = gate.client();
        client.send(ASK);
        assert_eq!(client.reader().response_head("GET").unwrap().status(), 101, "{protocol}");
        assert_eq!(client.reader().some_bytes().unwrap(), b"hi", "{protocol}");
        let mut client = Frames::connect(gate.address());
        client.send_head(1, 0, WEBSOCKET);
        let back = client.until("a greeting", |frame| frame.kind == DATA);
        assert_eq!(back.payload, b"hi", "{protocol}");
        gate.await_count("tidegate_requests_total", &[("class", "success")], 2);
    }
}

#[test]
fn a_plain_answer_to_a_websocket_does_not_lead_other_requests_to_its_connection() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    // Whatever is asked of it in HTTP/2 finds nobody.
    let server = speaking(&authority, &["http/1.1", "h2"]);
    let address = tls::answering(server, |_| ok("plain"));
    let gate = over_tls(&authority, address, "h2");
    let mut client = gate.client();
    for _ in 0..2 {
        client.send(ASK);
        assert_eq!(client.answer().text(), "plain");
    }
    assert_eq!(client.get("/").status(), 502, "over HTTP/1.1");
}

#[test]
fn under_tls_an_endpoint_of_http_2_alone_is_not_blamed() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let address = tls::answering(speaking(&authority, &["h2"]), |_| ok("never"));
    for protocol in ["auto", "h2"] {
        let gate = over_tls(&authority, address, protocol);
        let mut client = gate.client();
        client.send(ASK);
        assert_eq!(client.answer().status(), 501, "{protocol}");
        gate.await_count("tidegate_errors_total", UNSUPPORTED, 1);
        gate.await_count("tidegate_requests_total", &[("class", "excluded")], 1);
        assert!(gate.metric("tidegate_requests_total", &[("class", "failure")]) < 0.5);
    }
}
