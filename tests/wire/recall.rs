//! What happens to a canary's requests and tunnels when its rollout calls them back, and what its limits hold back before.

use tidegate::{config::model::Fallback, routing::GuardLimits};

use crate::{
    stage::{Stage, on_everything},
    support::{
        client::Client,
        eventually,
        setup::{BY_SID, NONE, Setup},
        upstream::{Upstream, ok},
    },
};

const BROKEN: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];

fn stage(blue: &Upstream, green: &Upstream, limits: GuardLimits, rules: Option<Fallback>) -> Stage {
    stage_by(NONE, blue, green, limits, rules)
}

fn stage_by(
    affinity: &str,
    blue: &Upstream,
    green: &Upstream,
    limits: GuardLimits,
    rules: Option<Fallback>,
) -> Stage {
    let setup = Setup::blue_green((blue.address(), green.address()), 100, affinity);
    Stage::start(&setup, limits, rules)
}

/// Takes requests and never answers.
fn silent() -> Upstream {
    Upstream::scripted(|peer| {
        peer.request();
        peer.until_closed();
    })
}

#[test]
fn a_request_that_waits_for_the_canary_moves_to_the_baseline() {
    let (blue, green) = (Upstream::saying("blue"), silent());
    let mut stage = stage(&blue, &green, GuardLimits::default(), None);
    let mut clients: Vec<_> = (0..8).map(|_| stage.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    green.wait_until("the canary has them all", |log| log.requests.len() == 8);
    assert_eq!(stage.guard.in_flight(), 8);
    stage.weigh(0);
    stage.guard.recall();
    for client in &mut clients {
        assert_eq!(client.answer().text(), "blue");
    }
    // It failed nobody, and the judge does not hold it against it.
    let canary = stage.await_attempts("green", 8);
    assert_eq!((canary.excluded, canary.failure, canary.fallbacks), (8, 0, 8));
    assert_eq!((stage.guard.in_flight(), stage.guard.failures_in_row()), (0, 0));
    assert!(stage.guard.last_byte().is_some());
}

#[test]
fn what_cannot_be_sent_twice_is_finished_by_the_canary() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let blue = Upstream::saying("blue");
    let green = Upstream::answering(move |_| {
        released.lock().unwrap().recv().unwrap();
        ok("green")
    });
    let mut stage = stage(&blue, &green, GuardLimits::default(), None);
    let mut client = stage.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
    green.wait_until("the canary has it", |log| log.requests.len() == 1);
    stage.weigh(0);
    stage.guard.recall();
    assert_eq!(stage.client().get("/").text(), "blue");
    release.send(()).unwrap();
    assert_eq!(client.answer_to("POST").text(), "green");
}

#[test]
fn a_body_that_was_kept_moves_as_well() {
    let (blue, green) = (Upstream::answering(|request| ok(&request.text())), silent());
    let rules = Fallback { budget: tidegate::domain::Weight::ZERO, ..on_everything() };
    let mut stage = stage(&blue, &green, GuardLimits::default(), Some(rules));
    let mut client = stage.client();
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nkept");
    green.wait_until("the canary has it", |log| log.requests.len() == 1);
    stage.weigh(0);
    stage.guard.recall();
    assert_eq!(client.answer_to("PUT").text(), "kept");
}

#[test]
fn what_a_full_canary_turns_away_is_no_failure_of_it() {
    let (blue, green) = (Upstream::saying("blue"), silent());
    let setup = Setup::empty()
        .backend("blue", blue.address(), "")
        .backend("green", green.address(), "max_in_flight = 1")
        .route("app", "split = { blue = 0, green = 100 }", NONE);
    // One failure would be enough to call it back.
    let limits = GuardLimits {
        failures_in_row: Some(1),
        max_bad_responses: Some(1),
        ..GuardLimits::default()
    };
    let stage = Stage::start(&setup, limits, None);
    let mut held = stage.client();
    held.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    green.wait_until("the canary has one", |log| log.requests.len() == 1);
    for _ in 0..20 {
        let answer = stage.client().get("/");
        assert_eq!((answer.status(), answer.headers.only("retry-after")), (503, Some("1")));
    }
    let judged = stage.judged("green");
    assert_eq!((judged.failure, judged.success, judged.excluded), (0, 0, 20));
    assert_eq!(stage.metrics("green").attempts(), 0, "none was tried");
    assert_eq!(stage.guard.failures_in_row(), 0);
    assert!(!stage.guard.is_recalled());
}

#[test]
fn after_the_recall_no_request_reaches_the_canary() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let stage = stage(&blue, &green, GuardLimits::default(), None);
    let mut clients: Vec<_> = (0..4).map(|_| stage.client()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "green"));
    // The table still says otherwise.
    stage.guard.recall();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "blue"));
    assert_eq!(green.log().requests.len(), 4);
}

#[test]
fn attempts_from_before_a_change_of_weights_are_not_judged() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let green = Upstream::answering(move |request| {
        if request.target() == "/slow" {
            released.lock().unwrap().recv().unwrap();
        }
        ok("green")
    });
    let mut stage = stage(&Upstream::saying("blue"), &green, GuardLimits::default(), None);
    let mut early = stage.client();
    early.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    green.wait_until("the canary has it", |log| log.requests.len() == 1);
    stage.weigh(100);
    release.send(()).unwrap();
    assert_eq!(early.answer().text(), "green");
    assert_eq!(stage.client().get("/").text(), "green");
    assert_eq!(stage.await_attempts("green", 2).success, 2);
    let judged = eventually("the later one is judged", || {
        let judged = stage.judged("green");
        (judged.attempts() > 0).then_some(judged)
    });
    assert_eq!(judged.success, 1);
}

#[test]
fn a_spent_budget_sends_everybody_to_the_baseline() {
    let blue = Upstream::saying("blue");
    let green = Upstream::answering(|_| BROKEN.to_vec());
    let limits = GuardLimits { max_bad_responses: Some(3), ..GuardLimits::default() };
    let stage = stage(&blue, &green, limits, None);
    let mut client = stage.client();
    let bad = (0..20).filter(|_| client.get("/").status() == 503).count();
    assert_eq!((bad, stage.guard.spent().bad_responses), (3, 3));
    assert!(stage.guard.is_bad_spent());
}

#[test]
fn no_more_sessions_than_allowed_ever_see_the_canary() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let limits = GuardLimits { max_exposed_keys: Some(5), ..GuardLimits::default() };
    let stage = stage_by(BY_SID, &blue, &green, limits, None);
    let round = |client: &mut Client| -> Vec<bool> {
        let ask = |n| client.try_get("/", &format!("cookie: sid=s{n}\r\n")).unwrap().text();
        (0..20).map(ask).map(|text| text == "green").collect()
    };
    let first = round(&mut stage.client());
    assert_eq!(first.iter().filter(|green| **green).count(), 5);
    for _ in 0..3 {
        assert_eq!(
            round(&mut stage.client()),
            first,
            "who has seen it sees it again, on any worker"
        );
    }
    assert_eq!(stage.guard.spent().exposed_keys, 5);
}

#[test]
fn caps_hold_among_many_clients_at_once() {
    const CLIENTS: u64 = 8;
    let blue = Upstream::saying("blue");
    let green = Upstream::answering(|_| BROKEN.to_vec());
    let limits = GuardLimits {
        max_bad_responses: Some(20),
        max_exposed_keys: Some(50),
        failures_in_row: None,
    };
    let stage = stage_by(BY_SID, &blue, &green, limits, None);
    let bad: u64 = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let mut client = stage.client();
                scope.spawn(move || {
                    let ask = |n| client.try_get("/", &format!("cookie: sid={number}-{n}\r\n"));
                    (0..100)
                        .map(ask)
                        .filter(|answer| answer.as_ref().unwrap().status() == 503)
                        .count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap() as u64).sum()
    });
    assert!((20..20 + CLIENTS).contains(&bad), "{bad} bad answers with a cap of 20");
    assert_eq!(stage.guard.spent().bad_responses, bad);
}

#[test]
fn exposed_sessions_are_capped_among_many_clients_at_once() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let limits = GuardLimits { max_exposed_keys: Some(50), ..GuardLimits::default() };
    let stage = stage_by(BY_SID, &blue, &green, limits, None);
    let sessions = |client: &mut Client| -> Vec<usize> {
        let mut green = Vec::new();
        for n in 0..200 {
            let answer = client.try_get("/", &format!("cookie: sid={n}\r\n")).unwrap();
            green.extend((answer.text() == "green").then_some(n));
        }
        green
    };
    let seen: std::collections::BTreeSet<_> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|_| {
                let mut client = stage.client();
                scope.spawn(move || sessions(&mut client))
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!((1..=50).contains(&seen.len()), "{} sessions saw the canary", seen.len());
}

/// Agrees to the protocol, sends what `says`, and then waits for the end.
fn switching(protocol: &'static str, says: Vec<u8>) -> Upstream {
    Upstream::scripted(move |peer| {
        if peer.request().is_none() {
            return;
        }
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        );
        peer.write(head).ok();
        peer.write(&says).ok();
        peer.until_closed();
    })
}

fn open_tunnel(stage: &Stage, protocol: &str) -> Client {
    let mut client = stage.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
    ));
    assert_eq!(client.reader().response_head("GET").unwrap().status(), 101);
    client
}

fn read_to(client: &mut Client, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let more = client.reader().some_bytes().unwrap();
        assert!(!more.is_empty(), "ended after {bytes:?}");
        bytes.extend(more);
    }
    bytes
}

#[test]
fn a_websocket_is_told_that_the_service_restarts() {
    let green = switching("websocket", vec![0x81, 2, b'h', b'i']);
    let mut stage = stage(&Upstream::saying("blue"), &green, GuardLimits::default(), None);
    let mut client = open_tunnel(&stage, "WebSocket");
    assert_eq!(read_to(&mut client, 4), [0x81, 2, b'h', b'i']);
    assert_eq!(stage.guard.in_flight(), 1);
    stage.weigh(0);
    stage.guard.recall();
    assert_eq!(read_to(&mut client, 4), CLOSE);
    // The client's own close frame, and its end.
    client.send([0x88, 0x82, 0, 0, 0, 0, 3, 0xf4]);
    client.finish();
    client.assert_closed();
    green.wait_until("the canary's side ends too", |log| log.ended == 1);
    eventually("the tunnel is over", || (stage.guard.in_flight() == 0).then_some(()));
}

#[test]
fn a_frame_is_finished_before_the_last_one() {
    let (more, rest) = std::sync::mpsc::channel::<()>();
    let rest = std::sync::Mutex::new(rest);
    let green = Upstream::scripted(move |peer| {
        peer.request();
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                    upgrade: websocket\r\n\r\n";
        peer.write(head).ok();
        peer.write([0x82, 4, 1, 2]).ok();
        rest.lock().unwrap().recv().ok();
        // The rest of the frame, and another one that must not follow.
        peer.write([3, 4, 0x82, 1, 9]).ok();
        peer.until_closed();
    });
    let mut stage = stage(&Upstream::saying("blue"), &green, GuardLimits::default(), None);
    let mut client = open_tunnel(&stage, "websocket");
    assert_eq!(read_to(&mut client, 4), [0x82, 4, 1, 2]);
    stage.weigh(0);
    stage.guard.recall();
    assert_eq!(stage.client().get("/").text(), "blue");
    more.send(()).unwrap();
    assert_eq!(read_to(&mut client, 6), [&[3, 4][..], &CLOSE].concat());
    client.finish();
    client.assert_closed();
}

#[test]
fn what_speaks_another_protocol_is_cut_off_after_a_grace() {
    let green = switching("chat", Vec::new());
    let mut stage = stage(&Upstream::saying("blue"), &green, GuardLimits::default(), None);
    let mut client = open_tunnel(&stage, "chat");
    stage.weigh(0);
    stage.guard.recall();
    let end = client.reader().some_bytes();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    green.wait_until("the canary's side ends too", |log| log.ended == 1);
}
