//! Tunnels: bytes pass both ways once the upstream has agreed, and not before.

use crate::support::{
    client::Client,
    gate::Gate,
    setup::Setup,
    upstream::{Upstream, ok},
};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\n\r\n";

/// Agrees, then sends back what it gets.
pub(crate) fn echo() -> Upstream {
    Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        assert_eq!(request.headers.only("upgrade"), Some("websocket"));
        peer.write(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        .ok();
        while let Ok(bytes) = peer.reader().some_bytes() {
            if bytes.is_empty() || peer.write(&bytes).is_err() {
                break;
            }
        }
        peer.until_closed();
    })
}

/// Sends messages through a tunnel to [`echo`], and takes each of them back.
pub(crate) fn assert_echoes(client: &mut Client) {
    for message in ["hello", "\0\r\n\r\nGET / HTTP/1.1", "end"] {
        client.send(message);
        let mut back = Vec::new();
        while back.len() < message.len() {
            back.extend(client.reader().some_bytes().unwrap());
        }
        assert_eq!(back, message.as_bytes());
    }
}

#[test]
fn a_tunnel_carries_bytes_both_ways_until_one_side_ends() {
    let upstream = echo();
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send(ASK);
    let head = client.reader().response_head("GET").unwrap();
    assert_eq!(head.status(), 101);
    assert_eq!(head.headers.only("upgrade"), Some("websocket"));
    assert_echoes(&mut client);
    client.finish();
    client.assert_closed();
    upstream.wait_until("the tunnel ends", |log| log.ended == 1);
}

#[test]
fn a_client_that_leaves_ends_the_tunnel() {
    let upstream = echo();
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send(ASK);
    assert_eq!(client.reader().response_head("GET").unwrap().status(), 101);
    drop(client);
    upstream.wait_until("the tunnel ends", |log| log.ended == 1);
}

#[test]
fn a_refused_switch_leaves_a_plain_connection() {
    let upstream = Upstream::saying("no");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    // The second request is one of its own: it must not have been taken for bytes of a tunnel.
    client.send(format!("{ASK}GET /second HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!(client.answer().text(), "no");
    assert_eq!(client.answer().text(), "no");
    assert_eq!(upstream.log().targets(), ["/chat", "/second"]);
}

#[test]
fn bytes_after_the_request_wait_for_the_switch() {
    let upstream = Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        if request.target() == "/chat" {
            peer.write(ok("no")).ok();
        }
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send(format!("{ASK}these are no request\r\n\r\n"));
    assert_eq!(client.answer().text(), "no");
    assert_eq!(client.answer().status(), 400);
    client.assert_closed();
    let log = upstream.log();
    let early = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).contains("these are");
    assert!(!log.bytes.iter().any(early), "{log:?}");
}

#[test]
fn all_that_follows_a_switch_at_once_arrives() {
    const MUCH: usize = 20_000;
    let upstream = Upstream::scripted(|peer| {
        let Some(_) = peer.request() else { return };
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        peer.write(format!("{head}{}", "x".repeat(MUCH))).ok();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send(ASK);
    assert_eq!(client.reader().response_head("GET").unwrap().status(), 101);
    let mut arrived = 0;
    while arrived < MUCH {
        let more = client.reader().some_bytes().unwrap().len();
        assert!(more > 0, "{arrived} of {MUCH} bytes arrived");
        arrived += more;
    }
}

/// The rest of the body would be taken for the first bytes of the tunnel.
#[test]
fn a_switch_before_the_requests_end_is_none() {
    let upstream = Upstream::scripted(|peer| {
        let Some(_) = peer.head() else { return };
        peer.write(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        )
        .ok();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    let more = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
    client.send(ASK.replacen("GET", "POST", 1).trim_end_matches("\r\n").to_owned() + "\r\n" + more);
    assert_eq!(client.answer_to("POST").status(), 502);
    upstream.wait_until("the connection is not kept", |log| log.ended == 1);
}
