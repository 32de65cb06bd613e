//! Answers of a mirror held against those that clients got, and what the judge of a rollout makes of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::Value;
use tidegate::routing::GuardLimits;

use crate::{
    mirror::{MARK, RESULTS, WRITES, mirror, start, unmarked},
    stage::{Stage, on_everything},
    support::{eventually, setup::Setup, upstream::Upstream},
};

fn stage(blue: &Upstream, green: &Upstream, to: &str, lines: &str) -> Stage {
    let tables = mirror(lines).replace("to = \"green\"", &format!("to = \"{to}\""));
    let setup = Setup::blue_green((blue.address(), green.address()), 100, &tables);
    Stage::start(&setup, GuardLimits::default(), Some(on_everything()))
}

#[test]
fn a_copy_is_no_attempt_and_its_difference_is_the_judges() {
    let blue = Upstream::saying("blue");
    let green = Upstream::answering(|_| {
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let mut stage = stage(&blue, &green, "green", "compare = \"status\"");
    stage.weigh(0);
    let mut client = stage.client();
    (0..3).for_each(|_| assert_eq!(client.get("/").text(), "blue"));
    let judged = eventually("all are compared", || {
        let judged = stage.judged("green");
        (judged.compared() == 3).then_some(judged)
    });
    assert_eq!((judged.differing(), judged.attempts(), judged.codes.len()), (3, 0, 0));
    assert_eq!(stage.metrics("green").attempts(), 0);
    assert_eq!(stage.await_attempts("blue", 3).attempts(), 3);
    assert_eq!((stage.guard.failures_in_row(), stage.guard.in_flight()), (0, 0));
    let told = &stage.snapshot().mirrors[0];
    assert_eq!((told.mirrored[0], told.comparisons[1]), (3, 3));
    // Of a weight that is no longer in force the judge learns nothing.
    stage.guard.begin_epoch();
    assert_eq!(client.get("/").text(), "blue");
    eventually("it is compared", || {
        (stage.snapshot().mirrors[0].comparisons[1] == 4).then_some(())
    });
    assert_eq!(stage.judged("green").compared(), 3);
}

#[test]
fn a_body_that_is_kept_for_a_fallback_is_copied_once() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let stage = stage(&blue, &green, "blue", WRITES);
    let mut client = stage.client();
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer_to("PUT").text(), "green");
    blue.wait_until("the copy is there", |log| log.requests.len() == 1);
    let (sent, copied) = (green.take_requests().remove(0), blue.take_requests().remove(0));
    assert_eq!(unmarked(sent, false), unmarked(copied, true));
}

#[test]
fn an_answer_from_elsewhere_is_not_compared() {
    let (blue, yellow) = (Upstream::saying("blue"), Upstream::saying("yellow"));
    let green = Upstream::answering(|_| {
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let tables = mirror("compare = \"status\"").replace("\"green\"", "\"yellow\"");
    let setup = Setup::blue_green((blue.address(), green.address()), 100, &tables);
    let setup = setup.backend("yellow", yellow.address(), "");
    let stage = Stage::start(&setup, GuardLimits::default(), Some(on_everything()));
    assert_eq!(stage.client().get("/").text(), "blue", "by fallback");
    eventually("it is counted", || (stage.snapshot().mirrors[0].comparisons[4] == 1).then_some(()));
}

/// JSON with a time and an identity of its own in each answer.
fn document(number: u64, total: u32) -> Vec<u8> {
    let body = format!(
        "{{\"time\":\"t{number}\",\"total\":{total},\"rows\":[{{\"id\":{number}}},{{\"id\":1}}]}}"
    );
    let (length, json) = (body.len(), "content-type: application/json");
    format!(
        "HTTP/1.1 200 OK\r\n{json}\r\netag: \"{number}\"\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[test]
fn noise_is_learnt_and_what_differs_beyond_it_is_told_by_its_place() {
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    static BROKEN: AtomicBool = AtomicBool::new(false);
    let next = || ANSWERS.fetch_add(1, Relaxed);
    let blue = Upstream::answering(move |_| document(next(), 7));
    let green =
        Upstream::answering(move |_| document(next(), if BROKEN.load(Relaxed) { 8 } else { 7 }));
    let gate = start(&blue, &green, "compare = \"body\"\nnoise = \"1%\"");
    let mut client = gate.client();
    let mut sent = 0;
    let mut ask_until = |result: &str, wanted: u32| {
        eventually(result, || {
            assert_eq!(client.get("/").status(), 200);
            sent += 1;
            gate.await_count(RESULTS, &[], sent);
            (gate.metric(RESULTS, &[("result", result)]) >= f64::from(wanted)).then_some(())
        });
    };
    ask_until("same", 20);
    assert_eq!(gate.metric(RESULTS, &[("result", "different")]), 0.0);
    assert!(gate.metric(RESULTS, &[("result", "learning")]) > 0.0);
    BROKEN.store(true, Relaxed);
    ask_until("different", 3);
    let told: Vec<Value> =
        gate.events().into_iter().filter(|event| event["kind"] == "mirror_differs").collect();
    assert_eq!(told.len(), 1, "once a minute: {told:?}");
    assert_eq!(told[0]["subject"], "app");
    assert_eq!(told[0]["message"], "green answers otherwise than blue: $.total (value)");
    // Blue had what clients asked and what noise was learnt from; none but its own are in its series.
    let asked = blue.take_requests();
    let pairs = asked.iter().filter(|request| request.headers.has(MARK)).count();
    assert!(pairs >= 20, "{pairs} pairs");
    gate.await_count(
        "tidegate_requests_total",
        &[("backend", "blue")],
        (asked.len() - pairs) as u64,
    );
    assert_eq!(gate.metric("tidegate_requests_total", &[("backend", "green")]), 0.0);
}

#[test]
fn an_answer_that_is_cut_short_is_compared_with_nothing() {
    let blue = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").ok();
    });
    let green = Upstream::saying("hello");
    let gate = start(&blue, &green, "compare = \"body\"\nnoise = \"0%\"");
    assert!(gate.client().try_get("/", "").is_err());
    gate.await_count(RESULTS, &[("result", "unanswered")], 1);
}

/// A compressed answer whose keys stand in the given order.
fn packed(json: &str) -> Vec<u8> {
    let body = zstd::stream::encode_all(json.as_bytes(), 3).unwrap();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: zstd\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.into_bytes(), body].concat()
}

#[test]
fn compressed_answers_are_compared_by_what_is_in_them() {
    static TOTAL: AtomicU64 = AtomicU64::new(7);
    let blue = Upstream::answering(|_| packed("{\"a\":1,\"total\":7}"));
    let green = Upstream::answering(|_| {
        packed(&format!("{{\"total\":{},\"a\":1.0}}", TOTAL.load(Relaxed)))
    });
    let gate = start(&blue, &green, "compare = \"body\"\nnoise = \"0%\"");
    let mut client = gate.client();
    assert_eq!(client.get("/").status(), 200);
    gate.await_count(RESULTS, &[("result", "same")], 1);
    TOTAL.store(8, Relaxed);
    assert_eq!(client.get("/").status(), 200);
    gate.await_count(RESULTS, &[("result", "different")], 1);
    let told = eventually("the event", || {
        gate.events().into_iter().find(|event| event["kind"] == "mirror_differs")
    });
    assert_eq!(told["message"], "green answers otherwise than blue: $.total (value)");
}
