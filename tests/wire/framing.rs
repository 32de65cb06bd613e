//! Chunked request bodies that break off or break the rules: never a complete request at the upstream.
//!
//! A body is streamed, so its head may be on its way when the fault shows. What must not happen is that an upstream
//! takes what came for the whole.

use crate::{
    malformed::assert_refusal,
    support::{gate::Gate, setup::Setup, upstream::Upstream},
};

/// Bodies behind `Transfer-Encoding: chunked`.
const CHUNKS: &[(&str, &[u8])] = &[
    ("size that is no number", b"zz\r\nhello\r\n0\r\n\r\n"),
    ("empty size", b"\r\nhello\r\n0\r\n\r\n"),
    ("size with a minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("size with a plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("size with a prefix", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("size in two words", b"5 5\r\nhello\r\n0\r\n\r\n"),
    ("size with a space before it", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("size with an underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
    ("size with a NUL", b"5\0\r\nhello\r\n0\r\n\r\n"),
    ("size in quotes", b"\"5\"\r\nhello\r\n0\r\n\r\n"),
    ("size of 2^64", b"10000000000000000\r\nhello\r\n0\r\n\r\n"),
    ("size of 40 digits", b"0000000000000000000100000000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("bare LF after the size", b"5\nhello\r\n0\r\n\r\n"),
    ("bare CR after the size", b"5\rhello\r\n0\r\n\r\n"),
    ("bare LF in an extension", b"5;a=\nb\r\nhello\r\n0\r\n\r\n"),
    ("NUL in an extension", b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
    ("bare CR in an extension", b"5;a=\rb\r\nhello\r\n0\r\n\r\n"),
    ("data longer than the size", b"4\r\nhello\r\n0\r\n\r\n"),
    ("bare LF after the data", b"5\r\nhello\n0\r\n\r\n"),
    ("nothing after the data", b"5\r\nhello0\r\n\r\n"),
    ("bare LF after the last size", b"5\r\nhello\r\n0\n\r\n"),
    ("bare LF at the very end", b"5\r\nhello\r\n0\r\n\n"),
    ("trailer without a colon", b"5\r\nhello\r\n0\r\nx-a\r\n\r\n"),
    ("trailer with a space before its colon", b"5\r\nhello\r\n0\r\nx-a : 1\r\n\r\n"),
    ("trailer that is continued", b"5\r\nhello\r\n0\r\nx-a: 1\r\n 2\r\n\r\n"),
    ("trailer without a name", b"5\r\nhello\r\n0\r\n: 1\r\n\r\n"),
    ("trailer with a bare LF", b"5\r\nhello\r\n0\r\nx-a: 1\nx-b: 2\r\n\r\n"),
    ("trailer with a NUL", b"5\r\nhello\r\n0\r\nx-a: 1\x002\r\n\r\n"),
];

#[test]
fn a_malformed_chunked_body_never_becomes_a_whole_request() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut faults = Vec::new();
    for (name, body) in CHUNKS {
        let head = b"POST /broken HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut client = gate.client();
        client.send([head, *body].concat());
        let answer = client.reader().response("POST", |_| {}).map_err(|fault| fault.to_string());
        let judged = answer.and_then(|answer| assert_refusal(&answer, 400));
        let judged = judged.and_then(|()| client.reader().is_at_end());
        if let Err(fault) = judged {
            faults.push(format!("{name}: {fault}"));
        }
        if upstream.log().requests.iter().any(|request| request.target() == "/broken") {
            faults.push(format!("{name}: a whole request arrived"));
            upstream.take_requests();
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), CHUNKS.len(), faults.join("\n"));
    assert_no_broken_connection_is_kept(&upstream);
}

#[test]
fn a_request_body_that_ends_early_never_becomes_a_whole_request() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    for framing in
        ["content-length: 10\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let mut client = gate.client();
        client.send(format!("POST /broken HTTP/1.1\r\nhost: a\r\n{framing}"));
        upstream.wait_until("the head arrives", |log| {
            log.bytes.iter().any(|bytes| bytes.ends_with(b"hello") || bytes.ends_with(b"hello\r\n"))
        });
        drop(client);
        assert_no_broken_connection_is_kept(&upstream);
    }
    assert_eq!(gate.client().get("/next").status(), 200);
    assert_eq!(upstream.log().targets(), ["/next"]);
}

/// Waits until each upstream connection that carried a broken request was ended by the proxy.
fn assert_no_broken_connection_is_kept(upstream: &Upstream) {
    upstream.wait_until("connections with half a request are closed", |log| {
        let broken = |bytes: &&Vec<u8>| bytes.windows(7).any(|part| part == b"/broken");
        log.ended >= log.bytes.iter().filter(broken).count()
    });
}
