//! Requests with bodies on their way to an endpoint: held back, cut off, slow, or ended by something else than their last byte.

use std::time::Duration;

use crate::{
    answers::within,
    support::{
        frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, StreamEnd, block, frame},
        gate::Gate,
        setup::Setup,
        upstream::{Upstream, ok},
    },
};

#[test]
fn a_body_that_nobody_asked_for_stays_where_it_is() {
    let upstream = Upstream::scripted(|peer| {
        while peer.head().is_some() {
            let refusal = "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno";
            peer.write(refusal).ok();
        }
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let answer = client.answer_to("POST");
    assert_eq!((answer.status(), answer.text().as_str()), (417, "no"));
    assert!(client.interim.is_empty(), "the client was told to go on");
    let log = upstream.wait_until("the connection is not kept", |log| log.ended == 1);
    assert!(log.bytes[0].ends_with(b"\r\n\r\n"), "{log:?}");
}

/// The endpoint's time to answer begins with the request's end, also where trailers are the end.
#[test]
fn trailers_end_a_body_for_the_clocks_as_well() {
    let upstream = Upstream::answering(|_| {
        std::thread::sleep(Duration::from_millis(900));
        ok("fine")
    });
    let gate = Gate::start(&within(&upstream, "idle = \"300ms\"\nfirst_byte = \"10s\""));
    for trailers in ["", "x-sum: 1\r\n"] {
        let mut client = gate.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{trailers}\r\n"
        ));
        assert_eq!(client.answer_to("POST").status(), 200, "{trailers:?}");
    }
}

#[test]
fn a_target_without_a_path_gets_one() {
    let upstream = Upstream::saying("fine");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("GET http://a.example?x=1 HTTP/1.1\r\nhost: a.example\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    assert_eq!(upstream.log().targets(), ["/?x=1"]);
}

#[test]
fn a_body_said_to_be_empty_leaves_with_its_end_and_not_before() {
    let upstream = Upstream::saying("fine");
    let gate = Gate::start(&Setup::to(upstream.address()).listener("protocols = [\"h2\"]"));
    let head: &[(&[u8], &[u8])] = &[
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"a"),
        (b"content-length", b"0"),
    ];
    let mut client = Frames::connect(gate.address());
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(head)));
    upstream.wait_until("a connection is there", |log| log.bytes.len() == 1);
    client.send(&frame(DATA, END_STREAM, 1, b""));
    assert!(matches!(client.end_of(1), StreamEnd::Answered(200, _)));
    let requests = upstream.take_requests();
    assert_eq!(requests[0].headers.only("content-length"), Some("0"));
}
