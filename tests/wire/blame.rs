//! Whose fault it was: what a client does, or what Tidegate lacks, is never counted against a backend.

use std::{
    io::{ErrorKind, Read as _},
    time::Duration,
};

use crate::{
    limits::with_timeouts,
    malformed::assert_refusal,
    support::{gate::Gate, setup::Setup, upstream::Upstream},
};

fn assert_no_failure(gate: &Gate) {
    let failed = gate.metric("tidegate_requests_total", &[("class", "failure")]);
    assert!(failed < 0.5, "{failed} failures were counted against the backend");
}

#[test]
fn a_slow_upload_is_the_clients_doing_also_when_the_whole_request_is_timed() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&with_timeouts(upstream.address(), "total = \"200ms\""));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
    assert_refusal(&client.answer_to("POST"), 408).unwrap();
    gate.await_count("tidegate_errors_total", &[("reason", "body_timeout")], 1);
    gate.await_count("tidegate_requests_total", &[("class", "excluded")], 1);
    assert_no_failure(&gate);
}

#[test]
fn an_answer_that_a_client_does_not_take_in_time_ends_with_a_reset() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\n\r\n").ok();
        while peer.write([b'x'; 64 * 1024]).is_ok() {}
    });
    let gate = Gate::start(&with_timeouts(upstream.address(), "total = \"500ms\""));
    let mut client = gate.client();
    // Without a length and without chunks only the connection's end tells that the answer is whole: an orderly one would lie.
    client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    gate.await_count("tidegate_requests_total", &[("class", "excluded")], 1);
    let end = client.stream().read_to_end(&mut Vec::new());
    assert_eq!(end.map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
    assert_no_failure(&gate);
}

#[test]
fn a_client_that_leaves_is_noticed_behind_what_it_sent_ahead() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    let ahead = "GET /next HTTP/1.1\r\nhost: a\r\nx-long: ".to_owned() + &"x".repeat(20_000);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned() + &ahead);
    upstream.wait_until("the request is there", |log| log.requests.len() == 1);
    drop(client);
    upstream.wait_until("the request is cancelled", |log| log.ended == 1);
    gate.await_count("tidegate_requests_total", &[("class", "excluded")], 1);
    assert_no_failure(&gate);
}

#[test]
fn a_small_answer_reaches_a_client_that_was_slow_before() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/large" => crate::support::upstream::ok(&"x".repeat(8 * 1024 * 1024)),
        _ => crate::support::upstream::ok("small"),
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    let ask = |path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.send(ask("/large") + &ask("/1") + &ask("/large") + &ask("/2"));
    upstream.wait_until("the first is asked for", |log| !log.requests.is_empty());
    // Not a wait for something: the time in which the socket fills up.
    std::thread::sleep(Duration::from_millis(100));
    let lengths: Vec<_> = (0..4).map(|_| client.answer().body.len()).collect();
    assert_eq!(lengths, [8 * 1024 * 1024, 5, 8 * 1024 * 1024, 5]);
}
