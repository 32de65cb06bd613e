//! Health checks by gRPC's protocol at endpoints that answer badly: each is a failure that says what was seen.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Mutex,
};

use serde_json::Value;

use crate::{
    http2_upstream::{Script, endpoint, request},
    support::{
        eventually,
        frames::{DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, block, frame},
        gate::Gate,
        setup::{NONE, Setup},
        upstream::Upstream,
    },
};

fn gate(address: SocketAddr, limits: &str) -> Gate {
    let lines = format!(
        "protocol = \"h2\"\n[backend.blue.health_check]\nkind = \"grpc\"\nservice = \"a.B\"\n{limits}"
    );
    let setup = Setup::empty().backend("blue", address, &lines);
    Gate::start(&setup.route("app", "split = { blue = 100 }", NONE))
}

/// What the first check found out, which decides at once.
fn found(gate: &Gate) -> String {
    let found = eventually("a failed check", || {
        let found = gate.admin_json("/v1/status")["backends"][0]["endpoints"][0].clone();
        (found["state"] == "unhealthy").then_some(found)
    });
    found["detail"].as_str().map_or_else(String::new, ToOwned::to_owned)
}

const GRPC: &[(&[u8], &[u8])] = &[(b":status", b"200"), (b"content-type", b"application/grpc")];

/// `HealthCheckResponse { status: SERVING }`
const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

/// Answers the next request with a head, a body and trailers.
fn say(frames: &mut Frames, head: &[(&[u8], &[u8])], body: &[u8], trailers: &[(&[u8], &[u8])]) {
    let Some(begun) = request(frames) else { return };
    let mut answer = frame(HEADERS, END_HEADERS, begun.stream, &block(head));
    for part in body.chunks(16_384) {
        answer.extend(frame(DATA, 0, begun.stream, part));
    }
    let last = END_HEADERS | END_STREAM;
    answer.extend(frame(HEADERS, last, begun.stream, &block(trailers)));
    frames.try_send(&answer).ok();
    frames.end();
}

const DONE: &[(&[u8], &[u8])] = &[(b"grpc-status", b"0")];

#[test]
fn a_bad_answer_is_a_failure_that_says_what_was_seen() {
    let cases: [(&str, Script); 11] = [
        ("HTTP status 404, not 200", |_, frames| say(frames, &[(b":status", b"404")], b"", DONE)),
        ("its content-type is text/html", |_, frames| {
            say(frames, &[(b":status", b"200"), (b"content-type", b"text/html")], SERVING, DONE);
        }),
        ("without a grpc-status", |_, frames| say(frames, GRPC, SERVING, &[(b"a", b"b")])),
        ("grpc-status 14 (UNAVAILABLE) for service a.B: going home", |_, frames| {
            let failed: &[(&[u8], &[u8])] =
                &[(b"grpc-status", b"14"), (b"grpc-message", b"going%20home")];
            say(frames, GRPC, b"", failed);
        }),
        ("grpc-status 12 (UNIMPLEMENTED)", |_, frames| {
            let Some(begun) = request(frames) else { return };
            let head = block(&[GRPC, &[(b"grpc-status", b"12")]].concat());
            frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, begun.stream, &head));
            frames.end();
        }),
        ("service a.B is NOT_SERVING", |_, frames| {
            say(frames, GRPC, b"\0\0\0\0\x02\x08\x02", DONE);
        }),
        ("the gRPC answer has no message", |_, frames| say(frames, GRPC, b"", DONE)),
        ("the gRPC message is malformed", |_, frames| {
            say(frames, GRPC, b"\0\0\0\0\x02\x0a\x7f", DONE);
        }),
        ("has 20000 bytes, more than 4096", |_, frames| {
            let large = [&b"\0\0\0\x4e\x20"[..], &[0; 20_000]].concat();
            say(frames, GRPC, &large, DONE);
        }),
        ("stream error", |_, frames| {
            let Some(begun) = request(frames) else { return };
            frames.send(&frame(RST_STREAM, 0, begun.stream, &[0, 0, 0, 2]));
            frames.end();
        }),
        ("the answer is longer than 1048576 bytes", |_, frames| {
            let Some(begun) = request(frames) else { return };
            frames.send(&frame(HEADERS, END_HEADERS, begun.stream, &block(GRPC)));
            let part = frame(DATA, 0, begun.stream, &[0; 16_384]);
            while frames.try_send(&part).is_ok() {}
        }),
    ];
    let mut wrong = Vec::new();
    for (said, script) in cases {
        let (address, _) = endpoint(&[], script);
        let gate = gate(address, "interval = \"20s\"\ntimeout = \"20s\"");
        let told = found(&gate);
        if !told.contains(said) {
            wrong.push(format!("{told:?} lacks {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_server_that_is_silent_or_speaks_something_else_is_not_well() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let gate_of_silence = gate(address, "interval = \"20s\"\ntimeout = \"100ms\"");
    assert_eq!(found(&gate_of_silence), "no answer within 100 ms");
    let old = Upstream::scripted(|peer| {
        peer.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").ok();
        peer.until_closed();
    });
    let gate = gate(old.address(), "interval = \"20s\"\ntimeout = \"20s\"");
    // Which side finds out first is chance, and the words are the library's.
    assert!(!found(&gate).is_empty());
}

#[test]
fn the_question_names_the_service_and_a_good_answer_is_believed() {
    static ASKED: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let (address, _) = endpoint(&[], |number, frames| {
        let Some(begun) = request(frames) else { return };
        let asked =
            frames.until("its message", |frame| frame.kind == DATA && !frame.payload.is_empty());
        ASKED.lock().unwrap().clone_from(&asked.payload);
        let status = if number == 0 { 2 } else { 1 };
        let said = [&SERVING[..6], &[status]].concat();
        let head = frame(HEADERS, END_HEADERS, begun.stream, &block(GRPC));
        let body = frame(DATA, 0, begun.stream, &said);
        let end = frame(HEADERS, END_HEADERS | END_STREAM, begun.stream, &block(DONE));
        frames.try_send(&[head, body, end].concat()).ok();
        frames.end();
    });
    let gate = gate(address, "interval = \"1s\"\nhealthy_after = 1");
    assert_eq!(found(&gate), "service a.B is NOT_SERVING");
    eventually("it is well", || {
        let found: Value = gate.admin_json("/v1/status")["backends"][0]["endpoints"][0].clone();
        (found["state"] == "ready").then_some(())
    });
    assert_eq!(*ASKED.lock().unwrap(), b"\0\0\0\0\x05\x0a\x03a.B");
}
