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

fn ask(path: &str, protocols: &[&str]) -> String {
    let lines: String = protocols.iter().map(|line| format!("upgrade: {line}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n{lines}\r\n")
}

/// What is HTTP again would carry requests past every check, wherever in the list it stands.
#[test]
fn an_endpoint_is_asked_for_no_other_http() {
    let upstream = Upstream::answering(|request| ok(&request.headers.all("upgrade").join(" | ")));
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for (asked, wanted) in [
        (&["websocket"][..], "websocket"),
        (&["websocket, h2c"], "websocket"),
        (&["h2c , chat/2,, websocket"], "chat/2, websocket"),
        (&["websocket", "H2C"], "websocket"),
        (&["h2c", "chat", "x"], "chat, x"),
        (&["h2c"], ""),
        (&["chat/h2c"], "chat/h2c"),
        (&["x, h2c-14", "HTTP/2.0, TLS/1.0"], "x"),
        (&["TLS/1.0, http/1.1"], ""),
    ] {
        client.send(ask("/", asked));
        assert_eq!(client.answer().text(), wanted, "{asked:?}");
    }
}

/// RFC 9110 §7.8: one of those that were asked for.
#[test]
fn a_switch_to_what_was_not_asked_for_is_none() {
    let cases: [(&str, &[&str], bool); 11] = [
        ("websocket", &["h2c"], false),
        ("websocket, h2c", &["h2c"], false),
        ("websocket", &[], false),
        ("websocket", &[""], false),
        ("websocket, chat", &["websocket, chat"], false),
        ("websocket, chat", &["websocket", "chat"], false),
        ("chat/2", &["chat/3"], false),
        ("websocket", &["WebSocket"], true),
        ("x, chat", &["chat"], true),
        ("chat/2, x", &["Chat/2"], true),
        ("chat/2", &["chat"], true),
    ];
    let upstream = Upstream::scripted(move |peer| {
        let Some(request) = peer.request() else { return };
        let Ok(row) = request.target()[1..].parse::<usize>() else { return };
        let lines: String =
            cases[row].1.iter().map(|line| format!("upgrade: {line}\r\n")).collect();
        let head =
            format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{lines}\r\n");
        peer.write(head).ok();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    for (row, (asked, named, agreed)) in cases.into_iter().enumerate() {
        let mut client = gate.client();
        client.send(ask(&format!("/{row}"), &[asked]));
        let status = client.reader().response_head("GET").unwrap().status();
        assert_eq!(status, if agreed { 101 } else { 502 }, "{asked} then {named:?}");
    }
    gate.await_count("tidegate_errors_total", &[("reason", "malformed_response")], 7);
    upstream.wait_until("the others are closed", |log| log.ended >= 7);
}
