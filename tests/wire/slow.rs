//! Clients that are slow, or many in one: each has its end, and it is never held against a backend.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use crate::support::{
    client::Client,
    eventually,
    frames::{Frames, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame},
    gate::Gate,
    setup::Setup,
    upstream::Upstream,
};

#[test]
fn one_client_has_so_many_connections_and_another_has_its_own() {
    let upstream = Upstream::saying("blue");
    let lines = "max_connections_per_client = 2\nproxy_protocol = true";
    let setup = Setup::to(upstream.address()).listener(lines).process("workers = 2");
    let gate = Gate::start(&setup);
    let from = |address: &str| {
        let mut client = gate.client();
        let family = if address.contains(':') { "TCP6" } else { "TCP4" };
        client.send(format!("PROXY {family} {address} {address} 1 2\r\n"));
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let status = client.answer().status();
        (client, status)
    };
    let held = [from("203.0.113.7"), from("203.0.113.7")];
    assert_eq!(held.each_ref().map(|(_, status)| *status), [200, 200]);
    let (mut refused, status) = from("203.0.113.7");
    assert_eq!(status, 503);
    refused.assert_closed();
    let six =
        [from("2001:db8::1"), from("2001:db8::2"), from("2001:db8::3"), from("2001:db8:0:1::")];
    assert_eq!(six.each_ref().map(|(_, status)| *status), [200, 200, 503, 200], "a network is one");
    drop(held);
    eventually("its places are free again", || (from("203.0.113.7").1 == 200).then_some(()));
    assert!(gate.metric("tidegate_overflow_total", &[("queue", "client_connections")]) >= 2.0);
}

#[test]
fn a_trusted_proxy_is_no_client() {
    let upstream = Upstream::saying("blue");
    let lines = "max_connections_per_client = 1\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let gate = Gate::start(&Setup::to(upstream.address()).listener(lines));
    let mut all: Vec<_> = (0..5).map(|_| gate.client()).collect();
    assert!(all.iter_mut().all(|client| client.get("/").status() == 200));
}

/// Sends a byte of a body now and then, until there is an answer.
fn trickle(mut client: Client) -> u16 {
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
    let mut socket = client.stream().try_clone().unwrap();
    std::thread::spawn(move || {
        while socket.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    client.answer_to("POST").status()
}

/// Takes a little of an answer now and then; whether it ended before it was complete.
fn sip(mut client: Client, length: usize) -> bool {
    client.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut block = vec![0; 16 * 1024];
    let mut taken = 0;
    while taken < length {
        match client.stream().read(&mut block) {
            Ok(count @ 1..) => taken += count,
            Ok(_) | Err(_) => return true,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Makes room for a little of a stream's answer now and then; whether it was reset before it was complete.
fn open_by_and_by(mut client: Frames) -> bool {
    let room = |stream, bytes: u32| frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    // SETTINGS_INITIAL_WINDOW_SIZE is 0; the connection has room for all.
    client
        .send(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), &room(0, 1 << 30)].concat());
    client.send_get(1, "/large");
    client.until("the head", |frame| frame.kind == HEADERS);
    loop {
        if client.try_send(&room(1, 16 * 1024)).is_err() {
            return false;
        }
        match client.next() {
            Some(frame) if frame.kind == RST_STREAM => return true,
            Some(_) => std::thread::sleep(Duration::from_millis(50)),
            None => return false,
        }
    }
}

#[test]
fn who_is_slower_than_the_least_rate_is_ended_and_nobody_is_blamed_for_it() {
    const LENGTH: usize = 1 << 30;
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            if request.target() != "/large" {
                peer.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok();
                continue;
            }
            peer.write(format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n")).ok();
            let block = vec![b'x'; 1 << 16];
            while peer.write(&block).is_ok() {}
        }
    });
    let gate = Gate::start(&Setup::to(upstream.address()).listener("min_rate = \"10MiB\""));
    let begun = Instant::now();
    let ends = std::thread::scope(|scope| {
        let trickling = scope.spawn(|| trickle(gate.client()));
        let sipping = scope.spawn(|| sip(gate.client(), LENGTH));
        let opening = scope.spawn(|| open_by_and_by(Frames::connect_silent(gate.address())));
        (trickling.join().unwrap(), sipping.join().unwrap(), opening.join().unwrap())
    });
    assert_eq!(ends, (408, true, true));
    assert!(begun.elapsed() > Duration::from_secs(9), "waiting is borne for a while");
    gate.await_count("tidegate_requests_total", &[("class", "excluded")], 3);
    gate.await_count("tidegate_overflow_total", &[("queue", "http2_stalled")], 1);
    assert_eq!(gate.metric("tidegate_requests_total", &[("class", "failure")]), 0.0);
    assert_eq!(gate.client().get("/").status(), 200);
}
