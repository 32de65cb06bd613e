//! Upstreams that break the rules: 502, or a closed connection once the answer has begun; never a made-up whole.

use crate::{
    malformed::assert_refusal,
    support::{
        gate::Gate,
        message::Broken,
        setup::Setup,
        upstream::{Upstream, ok},
    },
};

/// Answers that must become 502. The upstream then waits for the proxy to end the connection.
const GARBAGE: &[(&str, &[u8])] = &[
    ("no HTTP", b"HELLO\r\n\r\n"),
    ("a status of letters", b"HTTP/1.1 abc OK\r\n\r\n"),
    ("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
    ("another version", b"HTTP/3.7 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("space before a colon", b"HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n"),
    ("a continued line", b"HTTP/1.1 200 OK\r\nx-a: 1\r\n 2\r\ncontent-length: 0\r\n\r\n"),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nx-a: 1\x002\r\ncontent-length: 0\r\n\r\n"),
    ("bare CR in a value", b"HTTP/1.1 200 OK\r\nx-a: 1\r2\r\ncontent-length: 0\r\n\r\n"),
    ("an empty name", b"HTTP/1.1 200 OK\r\n: 1\r\ncontent-length: 0\r\n\r\n"),
    ("no colon", b"HTTP/1.1 200 OK\r\nx-a\r\ncontent-length: 0\r\n\r\n"),
    ("no colon in a hint", b"HTTP/1.1 103 Early Hints\r\nx-a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("no colon in a go-ahead", b"HTTP/1.1 100 Continue\r\nx-a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("space in a name of a go-ahead", b"HTTP/1.1 100 Continue\r\nx a: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ("length and coding", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
    ("the same length twice", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello"),
    ("a list of lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\nhello"),
    ("a negative length", b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
    ("a length of letters", b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello"),
    ("a length of 2^64", b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n"),
    ("an unknown coding", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello"),
    ("a list of codings", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a switch that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
];

/// Answers that end before their head does.
const CUT_HEADS: &[(&str, &[u8])] = &[
    ("nothing", b""),
    ("half a status line", b"HTTP/1.1 20"),
    ("half a header", b"HTTP/1.1 200 OK\r\ncontent-le"),
    ("no empty line", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"),
];

/// Answers whose body never comes to its end.
const CUT_BODIES: &[(&str, &[u8])] = &[
    ("half the length", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"),
    ("no last chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("half a chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhello"),
    (
        "a broken chunk size",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ),
    (
        "no end of the trailers",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ),
];

/// Answers `/N` with row N, and `/next` properly. Whether the proxy must end the connection is up to `then`.
fn row_upstream(
    rows: &'static [(&'static str, &'static [u8])],
    then: fn(&mut crate::support::upstream::Peer),
) -> Upstream {
    Upstream::scripted(move |peer| {
        while let Some(request) = peer.request() {
            if let Ok(row) = request.target()[1..].parse::<usize>() {
                peer.write(rows[row].1).ok();
                return then(peer);
            }
            peer.write(ok("fine")).ok();
        }
    })
}

#[test]
fn garbage_becomes_502_and_its_connection_is_not_kept() {
    let upstream = row_upstream(GARBAGE, crate::support::upstream::Peer::until_closed);
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut faults = Vec::new();
    for (row, (name, _)) in GARBAGE.iter().enumerate() {
        let mut client = gate.client();
        client.send(format!("GET /{row} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let answer = client.reader().response("GET", |_| {}).map_err(|broken| broken.to_string());
        if let Err(fault) = answer.and_then(|answer| assert_refusal(&answer, 502)) {
            faults.push(format!("{name}: {fault}"));
        }
        assert_eq!(gate.client().get("/next").text(), "fine", "after {name}");
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), GARBAGE.len(), faults.join("\n"));
    upstream.wait_until("connections with garbage are closed", |log| log.ended >= GARBAGE.len());
    let all = GARBAGE.len() as u64;
    gate.await_count("tidegate_requests_total", &[("class", "failure")], all);
}

#[test]
fn an_answer_cut_in_its_head_becomes_502() {
    let upstream = row_upstream(CUT_HEADS, |_| {});
    let gate = Gate::start(&Setup::to(upstream.address()));
    for (row, (name, _)) in CUT_HEADS.iter().enumerate() {
        // POST, so that no second attempt hides the first.
        let mut client = gate.client();
        client.send(format!("POST /{row} HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"));
        let judged = assert_refusal(&client.answer_to("POST"), 502);
        assert!(judged.is_ok(), "{name}: {judged:?}");
    }
}

#[test]
fn an_answer_cut_in_its_body_never_looks_complete() {
    for resets in [false, true] {
        let upstream = row_upstream(
            CUT_BODIES,
            if resets { crate::support::upstream::Peer::reset_at_end } else { |_| {} },
        );
        let gate = Gate::start(&Setup::to(upstream.address()));
        for (row, (name, _)) in CUT_BODIES.iter().enumerate() {
            let mut client = gate.client();
            client.send(format!("GET /{row} HTTP/1.1\r\nhost: a\r\n\r\n"));
            match client.reader().response("GET", |_| {}) {
                Err(Broken::Cut(_)) => {}
                // A reset may overtake the head.
                Ok(answer) if resets && answer.status() == 502 => {}
                other => panic!("{name}, reset {resets}: {other:?}"),
            }
        }
        let all = CUT_BODIES.len() as u64;
        gate.await_count("tidegate_requests_total", &[("class", "failure")], all);
    }
}

#[test]
fn surplus_bytes_reach_nobody() {
    let answer = [ok("fine"), ok("surplus")].concat();
    let upstream = Upstream::scripted(move |peer| {
        peer.request();
        peer.write(&answer).ok();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for _ in 0..5 {
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "fine"));
    }
    assert_eq!(upstream.log().bytes.len(), 5, "a connection with surplus bytes was used again");
}

#[test]
fn a_head_beyond_all_measure_becomes_502() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\n").ok();
        let line = format!("x-a: {}\r\n", "x".repeat(1000));
        // Ends when the proxy has had enough.
        while peer.write(&line).is_ok() {}
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    assert_refusal(&gate.client().get("/"), 502).unwrap();
}

/// They would keep a request going for ever.
#[test]
fn interim_answers_without_end_become_502() {
    let upstream = Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        let most = request.target()[1..].parse().unwrap_or(usize::MAX);
        let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: </{}>\r\n\r\n", "x".repeat(8000));
        for _ in 0..most {
            if peer.write(&hint).is_err() {
                return;
            }
        }
        peer.write(ok("body")).ok();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    let answer = client.get("/for-ever");
    assert_refusal(&answer, 502).unwrap();
    assert!(answer.text().contains("malformed_response"), "{}", answer.text());
    assert!(client.interim.len() <= 32, "{} got through", client.interim.len());
    let mut client = gate.client();
    assert_eq!(client.get("/32").text(), "body");
}
