//! Requests with bodies on their way to an endpoint: held back, cut off, slow, or ended by something else than their last byte.

use std::time::Duration;

use crate::{
    answers::within,
    support::{
        frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, StreamEnd, block, frame},
        gate::Gate,
        setup::{NONE, Setup},
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

const AT_A: &str = "path = \"/a\"\nsplit = { blue = 100 }";

/// What follows on a connection that ends with the answer would be lost: the client is told.
#[test]
fn an_answer_before_the_end_of_its_request_says_that_the_connection_ends() {
    let upstream = Upstream::scripted(|peer| {
        peer.head();
        peer.write(ok("early")).ok();
        peer.until_closed();
    });
    let setup = Setup::empty().backend("blue", upstream.address(), "").route("app", AT_A, NONE);
    let gate = Gate::start(&setup);
    for (framing, begun) in
        [("content-length: 100000", "begun"), ("transfer-encoding: chunked", "5\r\nbegun\r\n")]
    {
        // The endpoint's answer, and one of Tidegate's own.
        for (target, status) in [("/a", 200), ("/b", 404)] {
            let mut client = gate.client();
            client.send(format!("POST {target} HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{begun}"));
            let answer = client.answer_to("POST");
            assert_eq!(answer.status(), status, "{framing}");
            assert_eq!(answer.headers.only("connection"), Some("close"), "{framing} {status}");
            client.assert_closed();
        }
    }
}

#[test]
fn an_answer_to_a_whole_request_says_nothing_of_the_kind() {
    let upstream = Upstream::saying("fine");
    let setup = Setup::empty().backend("blue", upstream.address(), "").route("app", AT_A, NONE);
    let gate = Gate::start(&setup);
    let length = "content-length: 5\r\n\r\nwhole";
    let chunks = "transfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n";
    let mut client = gate.client();
    for (target, status, body) in
        [("/a", 200, length), ("/a", 200, chunks), ("/b", 404, length), ("/a", 200, length)]
    {
        client.send(format!("POST {target} HTTP/1.1\r\nhost: a\r\n{body}"));
        let answer = client.answer_to("POST");
        assert_eq!((answer.status(), answer.headers.only("connection")), (status, None), "{body}");
    }
}
