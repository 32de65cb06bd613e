//! WebSockets over HTTP/2 (RFC 8441): a stream for the client, an ordinary WebSocket for the endpoint.

use crate::support::{
    frames::{DATA, END_STREAM, Frames, HEADERS, StreamEnd, frame},
    gate::Gate,
    setup::Setup,
    upstream::{Upstream, ok},
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
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\nhello";
        peer.write(agreed).ok();
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
