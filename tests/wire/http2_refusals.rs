//! Endpoints that speak HTTP/2 and take less than they are sent: streams refused or reset, few at once. What that costs.

use std::{
    net::{SocketAddr, TcpListener},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use crate::{
    http2_upstream::{POST, Script, answer, answer_all, endpoint, request},
    support::{
        eventually,
        frames::{ACK, Frame, Frames, HEADERS, RST_STREAM, SETTINGS, frame},
        gate::Gate,
        setup::{NONE, Setup},
    },
};

/// Ends a request's stream alone, with `code`.
fn reset(frames: &mut Frames, stream: u32, code: u8) {
    frames.try_send(&frame(RST_STREAM, 0, stream, &[0, 0, 0, code])).ok();
}

const REFUSED: u8 = 7;

fn strict(address: SocketAddr, retry: &str) -> Gate {
    let setup = Setup::empty().backend("blue", address, "protocol = \"h2\"");
    let tables = format!("{NONE}\n[route.retry]\n{retry}");
    Gate::start(&setup.route("app", "split = { blue = 100 }", &tables))
}

#[test]
fn what_an_endpoint_refused_may_come_to_it_again_as_a_retry() {
    let script: Script = |_, frames| {
        let Some(begun) = request(frames) else { return };
        reset(frames, begun.stream, REFUSED);
        answer_all(0, frames);
    };
    for (retry, status) in [("attempts = 1", 200), ("attempts = 0", 502)] {
        let (address, connections) = endpoint(&[], script);
        let gate = strict(address, retry);
        let mut client = gate.client();
        client.send(POST);
        assert_eq!(client.answer().status(), status, "{retry}");
        assert_eq!(connections.load(Relaxed), 1, "{retry}");
        gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
    }
}

/// The connection is well, so that nothing speaks for another one, nor for a second sending beside the route's retries.
#[test]
fn a_stream_that_the_endpoint_resets_is_one_failed_attempt() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    const REQUESTS: usize = 30;
    let resets: [(&str, Script, usize); 3] = [
        ("internal error", |_, frames| reset_all(frames, 2), REQUESTS),
        ("cancel", |_, frames| reset_all(frames, 8), REQUESTS),
        ("refused", |_, frames| reset_all(frames, REFUSED), 2 * REQUESTS),
    ];
    fn reset_all(frames: &mut Frames, code: u8) {
        if let Some(first) = request(frames) {
            answer(frames, first.stream, b"ok");
        }
        while let Some(begun) = request(frames) {
            SEEN.fetch_add(1, Relaxed);
            reset(frames, begun.stream, code);
        }
    }
    for (name, script, most) in resets {
        let (address, connections) = endpoint(&[], script);
        let gate = strict(address, "attempts = 1\nbudget = \"100%\"");
        let mut client = gate.client();
        assert_eq!(client.get("/").status(), 200, "{name}");
        SEEN.store(0, Relaxed);
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/").status(), 502, "{name}");
        }
        assert_eq!((SEEN.load(Relaxed), connections.load(Relaxed)), (most, 1), "{name}");
        let failures = u64::try_from(most).unwrap();
        gate.await_count("tidegate_requests_total", &[("class", "failure")], failures);
    }
}

#[test]
fn a_budget_holds_for_refused_requests_too() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    const REQUESTS: usize = 60;
    let (address, _) = endpoint(&[], |_, frames| {
        while let Some(begun) = request(frames) {
            SEEN.fetch_add(1, Relaxed);
            reset(frames, begun.stream, REFUSED);
        }
    });
    let gate = strict(address, "attempts = 3\nbudget = \"0%\"");
    let began = std::time::Instant::now();
    let mut client = gate.client();
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").status(), 502);
    }
    // Ten from the beginning, and three in each second that was begun.
    let most = REQUESTS + 10 + 3 * (usize::try_from(began.elapsed().as_secs()).unwrap() + 2);
    let seen = SEEN.load(Relaxed);
    assert!((REQUESTS + 3..=most).contains(&seen), "{seen} of {most}");
}

/// One request at once a connection makes as many of them as there are requests; not all are kept.
#[test]
fn connections_that_are_kept_have_a_bound() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    static ANSWERS: AtomicBool = AtomicBool::new(false);
    const REQUESTS: usize = 70;
    const KEPT: usize = 64;
    let (address, connections) = endpoint(&[0, 3, 0, 0, 0, 1], |_, frames| {
        let Some(begun) = request(frames) else { return };
        SEEN.fetch_add(1, Relaxed);
        eventually("all have come", || ANSWERS.load(Relaxed).then_some(()));
        answer(frames, begun.stream, b"ok");
        frames.end();
        ENDED.fetch_add(1, Relaxed);
    });
    let gate = strict(address, "attempts = 0");
    let mut clients: Vec<_> = (0..REQUESTS).map(|_| gate.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        eventually("it has come", || (SEEN.load(Relaxed) > at).then_some(()));
    }
    assert_eq!(connections.load(Relaxed), REQUESTS);
    ANSWERS.store(true, Relaxed);
    for client in &mut clients {
        assert_eq!(client.answer().text(), "ok");
    }
    eventually("the others close", || (ENDED.load(Relaxed) == REQUESTS - KEPT).then_some(()));
}

/// The second of two at once would be refused, or wait behind the first; and the word about it may come after both.
#[test]
fn no_request_goes_before_its_endpoint_has_said_how_many_it_takes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = strict(listener.local_addr().unwrap(), "attempts = 0");
    let mut clients: Vec<_> = (0..3).map(|_| gate.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    // None is answered before all are there, each on a connection of its own.
    let mut connections: Vec<_> = (0..clients.len())
        .map(|_| {
            let mut frames = Frames::accept(listener.accept().unwrap().0).unwrap();
            frames.send(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1]));
            let begun = frames.until("a request", |frame| frame.kind == HEADERS);
            let at = |fits: &dyn Fn(&Frame) -> bool| frames.seen.iter().position(fits).unwrap();
            let agreed = at(&|frame| frame.kind == SETTINGS && frame.flags & ACK != 0);
            assert!(agreed < at(&|frame| frame.kind == HEADERS), "{:?}", frames.seen);
            (frames, begun.stream)
        })
        .collect();
    connections.iter_mut().for_each(|(frames, stream)| answer(frames, *stream, b"ok"));
    for client in &mut clients {
        assert_eq!(client.answer().text(), "ok");
    }
}

/// It may take none for a while; requests go over another connection meanwhile.
#[test]
fn a_connection_that_takes_no_more_requests_gets_none() {
    let (address, connections) = endpoint(&[0, 3, 0, 0, 0, 1], |number, frames| {
        while let Some(begun) = request(frames) {
            assert!(number > 0 || begun.stream == 1, "it was told to send no more");
            if number == 0 {
                frames.send(&frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]));
                frames.until("its word", |frame| frame.kind == SETTINGS && frame.flags & ACK != 0);
            }
            answer(frames, begun.stream, b"ok");
        }
    });
    let gate = strict(address, "attempts = 0");
    for _ in 0..3 {
        assert_eq!(gate.client().get("/").text(), "ok");
    }
    assert_eq!(connections.load(Relaxed), 2);
}
