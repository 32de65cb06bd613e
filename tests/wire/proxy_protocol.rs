//! Connections that begin with a header of the PROXY protocol.

use crate::support::{
    client::Client, gate::Gate, message::Message, setup::Setup, upstream::Upstream,
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn version_2(command: u8, kind: u8, block: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, kind], &(block.len() as u16).to_be_bytes(), block].concat()
}

fn start(upstream: &Upstream, lines: &str) -> Gate {
    let lines = format!("proxy_protocol = true\n{lines}");
    Gate::start(&Setup::to(upstream.address()).listener(&lines))
}

fn sent(upstream: &Upstream) -> Message {
    upstream.take_requests().pop().expect("a request")
}

#[test]
fn the_client_is_whom_the_header_names() {
    let upstream = Upstream::saying("blue");
    let gate = start(&upstream, "");
    let four = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
    let mut six = [0; 36];
    six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    six[15] = 7;
    let extended = [&four[..], b"\x04\x00\x03abc"].concat();
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("a line", b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n".into(), "203.0.113.7"),
        ("a line of IPv6", b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".into(), "2001:db8::7"),
        ("an unknown", b"PROXY UNKNOWN\r\n".into(), "127.0.0.1"),
        ("binary", version_2(0x21, 0x11, &four), "203.0.113.7"),
        ("binary of IPv6", version_2(0x21, 0x21, &six), "2001:db8::7"),
        ("with extensions", version_2(0x21, 0x11, &extended), "203.0.113.7"),
        ("local", version_2(0x20, 0x00, b""), "127.0.0.1"),
        ("of a unix socket", version_2(0x21, 0x31, &[0; 216]), "127.0.0.1"),
    ];
    for (name, header, wanted) in cases {
        let mut client = gate.client();
        client.send([&header[..], REQUEST].concat());
        assert_eq!(client.answer().status(), 200, "{name}");
        assert_eq!(sent(&upstream).headers.only("x-forwarded-for"), Some(wanted), "{name}");
        // The header is the connection's, not the request's.
        assert_eq!(client.get("/again").status(), 200, "{name}");
        assert_eq!(sent(&upstream).headers.only("x-forwarded-for"), Some(wanted), "{name}");
    }
}

#[test]
fn a_header_may_come_in_parts() {
    let upstream = Upstream::saying("blue");
    let gate = start(&upstream, "");
    let line = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n".to_vec();
    let binary = version_2(0x21, 0x11, &[203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80]);
    for header in [line, binary] {
        let all = [&header[..], REQUEST].concat();
        for cut in (1..all.len()).step_by(3) {
            let mut client = gate.client();
            client.send(&all[..cut]);
            // What was sent has been taken by the time that another connection is answered.
            let mut other = gate.client();
            other.send([b"PROXY UNKNOWN\r\n", REQUEST].concat());
            assert_eq!(other.answer().status(), 200);
            client.send(&all[cut..]);
            assert_eq!(client.answer().status(), 200, "cut at {cut}");
            let sent = upstream.take_requests().pop().unwrap();
            assert_eq!(sent.headers.only("x-forwarded-for"), Some("203.0.113.7"), "cut at {cut}");
        }
    }
}

#[test]
fn without_a_good_header_a_connection_is_closed_and_counted() {
    let upstream = Upstream::saying("blue");
    let gate = start(&upstream, "header_timeout = \"500ms\"");
    let cases: [(&str, &[u8]); 6] = [
        ("none", REQUEST),
        ("addresses that are none", b"PROXY TCP4 a b 1 2\r\n"),
        ("a bare LF", b"PROXY UNKNOWN\n"),
        ("half a header", b"PROXY TCP4 203.0.113.7"),
        ("nothing", b""),
        ("another version", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"),
    ];
    for (name, bytes) in cases {
        let mut client = gate.client();
        client.send(bytes);
        let ended = client.reader().response("GET", |_| {});
        assert!(ended.is_err(), "{name}: {ended:?}");
    }
    let mut good = gate.client();
    good.send([b"PROXY UNKNOWN\r\n", REQUEST].concat());
    assert_eq!(good.answer().status(), 200);
    assert_eq!(upstream.log().requests.len(), 1);
    gate.await_count("tidegate_errors_total", &[("reason", "proxy_header")], cases.len() as u64);
}

#[test]
fn only_trusted_proxies_are_believed_where_there_are_any() {
    let upstream = Upstream::saying("blue");
    let gate = start(&upstream, "trusted_proxies = [\"127.0.0.2/32\"]");
    let mut stranger = gate.client();
    stranger.send([b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n", REQUEST].concat());
    assert!(stranger.reader().response("GET", |_| {}).is_err());

    let gate = start(&upstream, "trusted_proxies = [\"127.0.0.1/32\"]");
    let mut client = gate.client();
    let spoofed = b"GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\n\r\n";
    client.send([&b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n"[..], spoofed].concat());
    assert_eq!(client.answer().status(), 200);
    // The client is not a trusted proxy, though its balancer is.
    assert_eq!(sent(&upstream).headers.only("x-forwarded-for"), Some("203.0.113.7"));
}

#[test]
fn a_drain_waits_for_whoever_has_begun() {
    let upstream = Upstream::saying("blue");
    let mut gate = start(&upstream, "");
    let mut client = gate.client();
    client.send(b"PROXY TCP4 203.0.113.7 ");
    let mut other = gate.client();
    other.send([b"PROXY UNKNOWN\r\n", REQUEST].concat());
    assert_eq!(other.answer().status(), 200);
    gate.signal("TERM");
    let address = gate.address();
    crate::support::eventually("no new connection is taken", || Client::try_connect(address).err());
    client.send([b"10.0.0.1 4711 80\r\n", REQUEST].concat());
    assert_eq!(client.answer().text(), "blue");
    assert_eq!(gate.wait().code(), Some(0));
}
