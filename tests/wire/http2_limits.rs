//! What a client of HTTP/2 may do without asking for anything, and what ends its connection.

use std::time::Duration;

use crate::support::{
    eventually,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, PREFACE,
        PRIORITY, RST_STREAM, SETTINGS, StreamEnd, WINDOW_UPDATE, block, frame, get,
    },
    gate::Gate,
    setup::{NONE, Setup},
    upstream::{Upstream, ok},
};

const CALM: Option<u32> = Some(11);

fn await_overflow(gate: &Gate, queue: &str) {
    eventually(queue, || {
        let count = gate.metric("tidegate_overflow_total", &[("queue", queue)]);
        (count >= 1.0).then_some(())
    });
}

/// Sends `bytes` again and again until the connection takes no more; how it ended.
fn flood(client: &mut Frames, bytes: &[u8], most: usize) -> Option<u32> {
    for _ in 0..most {
        if client.try_send(bytes).is_err() {
            break;
        }
    }
    client.end()
}

#[test]
fn floods_of_control_frames_end_the_connection() {
    let upstream = Upstream::saying("ok");
    let kinds: [(&str, Vec<u8>); 6] = [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown frames", frame(200, 0, 0, &[])),
        ("empty data", frame(DATA, 0, 1, &[])),
    ];
    for (name, one) in kinds {
        let gate = Gate::start(&Setup::to(upstream.address()));
        let mut client = Frames::connect(gate.address());
        client.send_head(1, 0, &[(b":method", b"POST"), get("/")[1], get("/")[2], get("/")[3]]);
        let end = flood(&mut client, &one.repeat(100), 60);
        assert!(matches!(end, None | CALM), "{name}: {end:?}");
        eprintln!("waits for the count of {name}");
        await_overflow(&gate, "http2_control");
        let mut after = Frames::connect(gate.address());
        after.send_get(1, "/");
        assert_eq!(after.end_of(1), StreamEnd::Answered(200, b"ok".into()), "after {name}");
    }
}

#[test]
fn an_honest_client_may_ping_and_move_windows() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    for round in 0..1_500 {
        client.send(&frame(PING, 0, 0, &[0; 8]));
        client.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 2]));
        client.send_get(2 * round + 1, "/");
        assert_eq!(client.end_of(2 * round + 1), StreamEnd::Answered(200, b"ok".into()));
    }
}

#[test]
fn requests_taken_back_at_once_end_the_connection() {
    let upstream = Upstream::scripted(|peer| peer.until_closed());
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    for stream in (1..2_000).step_by(2) {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/")));
        let both = [head, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
        if client.try_send(&both).is_err() {
            break;
        }
    }
    let end = client.end();
    assert!(matches!(end, None | CALM), "{end:?}");
    await_overflow(&gate, "http2_resets");
}

#[test]
fn heads_without_end_and_heads_too_large_end_the_connection() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    client.send(&frame(HEADERS, END_STREAM, 1, &block(&get("/"))));
    let part = frame(CONTINUATION, 0, 1, &block(&[(b"a", &[b'b'; 1_000])]));
    flood(&mut client, &part, 2_000);
    await_overflow(&gate, "http2_heads");

    let mut client = Frames::connect(gate.address());
    let long = [b'b'; 8_000];
    let mut fields = get("/").to_vec();
    fields.push((b"a", &long));
    let first = frame(HEADERS, END_STREAM, 1, &block(&fields));
    let more = block(&[(b"a", &long)]);
    let rest = [0, 0, 0, 0, 0].map(|_| frame(CONTINUATION, 0, 1, &more)).concat();
    client.send(&[first, rest, frame(CONTINUATION, END_HEADERS, 1, &[])].concat());
    let end = client.end_of(1);
    let fits =
        matches!(end, StreamEnd::Answered(431, _) | StreamEnd::Reset(_) | StreamEnd::Gone(_));
    assert!(fits, "{end:?}");
    assert!(upstream.log().requests.is_empty());
}

#[test]
fn an_answer_that_its_client_leaves_no_room_for_is_given_up() {
    let upstream = Upstream::answering(|_| ok(&"x".repeat(3_000_000)));
    let setup = Setup::empty().backend("blue", upstream.address(), "").route(
        "app",
        "split = { blue = 100 }",
        &format!("{NONE}\n[route.timeouts]\nidle = \"1s\""),
    );
    let gate = Gate::start(&setup);
    let mut client = Frames::connect_silent(gate.address());
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat());
    client.send_get(1, "/");
    let reset = client.until("the stream is reset", |frame| frame.kind == RST_STREAM);
    assert_eq!(reset.stream, 1);
    await_overflow(&gate, "http2_stalled");
    // The connection goes on.
    client.send(&frame(PING, 0, 0, &[7; 8]));
    client.until("a pong", |frame| frame.kind == PING && frame.payload == [7; 8]);
}

/// SETTINGS_INITIAL_WINDOW_SIZE is 0.
fn connect_without_room(gate: &Gate) -> Frames {
    let mut client = Frames::connect_silent(gate.address());
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat());
    client
}

#[test]
fn words_of_tidegates_own_wait_no_longer() {
    let upstream = Upstream::saying("ok");
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let setup = setup.route("app", "path = \"/a\"\nsplit = { blue = 100 }", NONE);
    let gate = Gate::start(&setup.listener("header_timeout = \"1s\""));
    let mut client = connect_without_room(&gate);
    client.send_get(1, "/nowhere");
    client.until("the stream is reset", |frame| frame.kind == RST_STREAM);
    await_overflow(&gate, "http2_stalled");
}

#[test]
fn neither_does_what_an_encoder_had_held_back() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n9\r\ndata: 0\n\n\r\n";
        peer.write(head).ok();
        peer.until_closed();
    });
    let tables = format!("{NONE}\n[route.timeouts]\nidle = \"1s\"\n[route.compress]\n");
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", &tables));
    let mut client = connect_without_room(&gate);
    let fields = [&get("/")[..], &[(b"accept-encoding", b"zstd")]].concat();
    client.send_head(1, END_STREAM, &fields);
    client.until("the stream is reset", |frame| frame.kind == RST_STREAM);
    await_overflow(&gate, "http2_stalled");
    upstream.wait_until("the endpoint is let go", |log| log.ended == 1);
}

#[test]
fn a_drain_says_goodbye_at_once_and_finishes_what_runs() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = std::sync::Mutex::new(receiver);
    let upstream = Upstream::answering(move |request| {
        if request.target() == "/held" {
            receiver.lock().unwrap().recv().ok();
        }
        ok("done")
    });
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    let mut idle = Frames::connect(gate.address());
    idle.send_get(1, "/");
    assert_eq!(idle.end_of(1), StreamEnd::Answered(200, b"done".into()));
    let mut client = Frames::connect(gate.address());
    client.send_get(1, "/held");
    upstream.wait_until("the request arrives", |log| log.requests.len() == 2);
    gate.signal("TERM");
    client.until("goodbye", |frame| frame.kind == GOAWAY);
    assert_eq!(idle.end(), Some(0));
    sender.send(()).unwrap();
    assert_eq!(client.end_of(1), StreamEnd::Answered(200, b"done".into()));
    assert_eq!(client.end(), Some(0));
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_drain_waits_for_the_end_of_an_answer_that_its_client_takes_by_and_by() {
    const LENGTH: usize = 100_000;
    let upstream = Upstream::answering(|_| ok(&"x".repeat(LENGTH)));
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = connect_without_room(&gate);
    // Of the connection there is room for all.
    client.send(&frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()));
    client.send_get(1, "/");
    client.until("the head", |frame| frame.kind == HEADERS);
    gate.signal("TERM");
    client.until("goodbye", |frame| frame.kind == GOAWAY);
    let mut taken = 0;
    while taken < LENGTH {
        // As a slow reader does: what is measured is that nobody loses patience with it meanwhile.
        std::thread::sleep(Duration::from_millis(400));
        client.send(&frame(WINDOW_UPDATE, 0, 1, &8_000_u32.to_be_bytes()));
        let data = client.until("a part", |frame| frame.kind == DATA);
        taken += data.payload.len();
    }
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_quiet_connection_is_ended() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()).listener("idle_timeout = \"200ms\""));
    let mut client = Frames::connect(gate.address());
    client.send_get(1, "/");
    assert_eq!(client.end_of(1), StreamEnd::Answered(200, b"ok".into()));
    assert_eq!(client.end(), Some(0));
}

#[test]
fn a_client_that_leaves_takes_its_requests_with_it() {
    let upstream = Upstream::scripted(|peer| {
        peer.head();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    client.send_get(1, "/a");
    client.send_get(3, "/b");
    upstream.wait_until("both arrive", |log| log.bytes.len() == 2);
    client.send(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    upstream.wait_until("the first is given up", |log| log.ended == 1);
    drop(client);
    upstream.wait_until("the second too", |log| log.ended == 2);
    let left = &[("reason", "client_gone")];
    eventually("both are counted", || {
        (gate.metric("tidegate_errors_total", left) >= 2.0).then_some(())
    });
}

#[test]
fn a_request_that_takes_too_long_is_answered_so() {
    let upstream = Upstream::scripted(|peer| peer.until_closed());
    let timeouts = format!("{NONE}\n[route.timeouts]\nfirst_byte = \"300ms\"");
    let setup = Setup::empty().backend("blue", upstream.address(), "").route(
        "app",
        "split = { blue = 100 }",
        &timeouts,
    );
    let gate = Gate::start(&setup);
    let mut client = Frames::connect(gate.address());
    client.send_get(1, "/");
    assert!(matches!(client.end_of(1), StreamEnd::Answered(504, _)));
}
