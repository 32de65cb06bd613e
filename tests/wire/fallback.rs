//! What the canary fails and can be sent twice, the baseline answers; the canary is judged by its failure all the same.

use tidegate::{domain::Weight, routing::GuardLimits};

use crate::{
    stage::{Stage, on_everything},
    support::{
        gate::Gate,
        message::Message,
        setup::{BY_COOKIE, NONE, Setup},
        upstream::{Reserved, Upstream, ok},
    },
};

/// Says what it got: the method, the target and the body.
fn baseline() -> Upstream {
    Upstream::answering(|request| {
        let what = request.first_line.trim_end_matches(" HTTP/1.1");
        ok(format!("blue {what} {}", request.text()).trim_end())
    })
}

const BROKEN: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\nbad";

fn failing() -> Upstream {
    Upstream::answering(|_| BROKEN.to_vec())
}

fn stage(blue: &Upstream, green: &Upstream, lines: &str) -> Stage {
    let setup = setup(blue, green, NONE, lines);
    Stage::start(&setup, GuardLimits::default(), Some(on_everything()))
}

fn setup(blue: &Upstream, green: &Upstream, affinity: &str, lines: &str) -> Setup {
    Setup::empty().backend("blue", blue.address(), "").backend("green", green.address(), "").route(
        "app",
        &format!("split = {{ blue = 0, green = 100 }}\n{lines}"),
        affinity,
    )
}

fn put(client: &mut crate::support::client::Client, body: &str) -> Message {
    let length = body.len();
    client.send(format!("PUT /doc HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n{body}"));
    client.answer_to("PUT")
}

#[test]
fn a_failed_canary_is_answered_for_and_counted_as_failed() {
    let (blue, green) = (baseline(), failing());
    let stage = stage(&blue, &green, "expose_backend = true");
    let answer = stage.client().get("/page?a=1");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "blue GET /page?a=1"));
    assert_eq!(answer.headers.only("x-tidegate-backend"), Some("blue"));
    let canary = stage.metrics("green");
    assert_eq!((canary.failure, canary.fallbacks, canary.codes[&500]), (1, 1, 1));
    assert_eq!(stage.judged("green"), canary);
    assert_eq!((stage.fallen_back(), stage.guard.failures_in_row()), (1, 1));
    // The second attempt is in the metrics, but no sample of the baseline's traffic.
    assert_eq!((stage.await_attempts("blue", 1).success, stage.judged("blue").attempts()), (1, 0));
    let errors: u64 = stage.snapshot().errors.iter().sum();
    assert_eq!(errors, 0, "the client saw no error");
}

#[test]
fn a_canary_without_endpoints_fails_its_requests_for_the_judge() {
    let (blue, green) = (baseline(), failing());
    let stage = stage(&blue, &green, "");
    stage.drain("green");
    assert_eq!(stage.client().get("/").status(), 200);
    let judged = stage.judged("green");
    assert_eq!((judged.failure, judged.fallbacks), (1, 1));
    assert_eq!((stage.guard.failures_in_row(), stage.guard.spent().bad_responses), (1, 1));
    assert_eq!((stage.fallen_back(), stage.metrics("green").attempts()), (1, 0));
}

#[test]
fn a_small_body_is_sent_again_whole() {
    let (blue, green) = (baseline(), failing());
    let stage = stage(&blue, &green, "");
    let mut client = stage.client();
    for body in ["", "x", &"y".repeat(1024)] {
        let text = put(&mut client, body).text();
        assert_eq!(text.trim_end(), format!("blue PUT /doc {body}").trim_end());
    }
    let (sent, again) = (green.take_requests(), blue.take_requests());
    assert_eq!(sent.len(), 3);
    for (first, second) in sent.iter().zip(&again) {
        assert_eq!(first.body, second.body);
        assert_eq!(first.headers.only("x-request-id"), second.headers.only("x-request-id"));
        assert_eq!(first.headers.only("content-length"), second.headers.only("content-length"));
    }
    assert_eq!(green.log().bytes.len(), 1, "an answer that came whole leaves its connection whole");
}

#[test]
fn what_cannot_be_sent_twice_is_answered_by_the_canary() {
    let (blue, green) = (baseline(), failing());
    let stage = stage(&blue, &green, "");
    let mut client = stage.client();
    assert_eq!(put(&mut client, &"y".repeat(1025)).status(), 500, "too large, and no 413");
    client
        .send("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
    assert_eq!(client.answer_to("PUT").status(), 500, "of unknown length");
    client.send("DELETE / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.answer_to("DELETE").status(), 500, "not one of the methods");
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
    assert_eq!(client.answer_to("POST").status(), 500, "not one of the methods");
    assert_eq!((stage.fallen_back(), stage.await_attempts("green", 4).failure), (0, 4));
    assert!(blue.log().requests.is_empty());
}

type Script = fn(&mut crate::support::upstream::Peer);

#[test]
fn every_way_to_fail_before_an_answer_leads_to_the_baseline() {
    let refusing = Reserved::bind();
    let blue = baseline();
    let scripts: [(&str, Script); 4] = [
        ("silence", |peer| peer.until_closed()),
        ("a closed connection", |peer| drop(peer.request())),
        ("a reset", |peer| {
            peer.request();
            peer.reset_at_end();
        }),
        ("garbage", |peer| {
            peer.request();
            peer.write("HELLO\r\n\r\n").ok();
            peer.until_closed();
        }),
    ];
    for (name, script) in scripts {
        let green = Upstream::scripted(script);
        let stage = stage(&blue, &green, "timeouts = { first_byte = \"300ms\" }");
        let answer = stage.client().get("/");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "blue GET /"), "{name}");
        assert_eq!((stage.fallen_back(), stage.metrics("green").failure), (1, 1), "{name}");
    }
    let setup = Setup::empty()
        .backend("blue", blue.address(), "")
        .backend("green", refusing.address, "")
        .route("app", "split = { blue = 0, green = 100 }", NONE);
    let stage = Stage::start(&setup, GuardLimits::default(), Some(on_everything()));
    assert_eq!(stage.client().get("/").text(), "blue GET /", "a refused connection");
    assert_eq!(stage.metrics("green").failure, 1);
}

#[test]
fn a_slow_client_is_not_the_canarys_fault() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let blue = baseline();
    let green = Upstream::scripted(move |peer| {
        while let Some(request) = peer.request() {
            match request.target() {
                "/silent" => return peer.until_closed(),
                "/slow" => released.lock().unwrap().recv().unwrap(),
                _ => {}
            }
            peer.write(ok("green")).ok();
        }
    });
    let stage = stage(&blue, &green, "timeouts = { first_byte = \"1s\" }");
    // So that a kept connection is there, on either worker: nothing else takes time between body and answer.
    (0..8).for_each(|_| assert_eq!(stage.client().get("/").text(), "green"));
    let mut slow = stage.client();
    slow.send("PUT /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx");
    // By the time that this one was given up, the canary would have had to answer the other too.
    assert_eq!(stage.client().get("/silent").text(), "blue GET /silent");
    slow.send("y");
    assert_eq!(stage.client().get("/").text(), "green");
    release.send(()).unwrap();
    assert_eq!(slow.answer_to("PUT").text(), "green");
}

#[test]
fn a_client_that_leaves_within_its_body_is_nobodys_failure() {
    let (blue, green) = (baseline(), failing());
    let stage = stage(&blue, &green, "");
    let mut client = stage.client();
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx");
    drop(client);
    let canary = stage.await_attempts("green", 1);
    assert_eq!((canary.excluded, canary.failure, stage.fallen_back()), (1, 0, 0));
    assert!(blue.log().requests.is_empty() && green.log().requests.is_empty());
}

#[test]
fn only_named_causes_lead_to_the_baseline() {
    let (blue, green) = (baseline(), failing());
    let mut rules = on_everything();
    rules.on.pop();
    let setup = setup(&blue, &green, NONE, "");
    let stage = Stage::start(&setup, GuardLimits::default(), Some(rules));
    assert_eq!(stage.client().get("/").status(), 500);
    let stage = Stage::start(&setup, GuardLimits::default(), None);
    assert_eq!(stage.client().get("/").status(), 500);
    assert!(blue.log().requests.is_empty());
}

#[test]
fn an_answer_that_has_begun_is_never_replaced() {
    let blue = baseline();
    let green = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").ok();
    });
    let stage = stage(&blue, &green, "");
    let broken = stage.client().try_get("/", "").unwrap_err();
    assert!(broken.contains("cut"), "{broken}");
    assert_eq!((stage.fallen_back(), stage.await_attempts("green", 1).failure), (0, 1));
}

#[test]
fn fallbacks_stay_within_their_budget() {
    let (blue, green) = (baseline(), failing());
    let setup = setup(&blue, &green, NONE, "");
    let rules = tidegate::config::model::Fallback { budget: Weight::ZERO, ..on_everything() };
    let stage = Stage::start(&setup, GuardLimits::default(), Some(rules));
    let mut client = stage.client();
    let good = (0..30).filter(|_| client.get("/").status() == 200).count();
    assert_eq!((good as u64, stage.fallen_back()), (10, 10), "what a worker begins with");
    assert_eq!(stage.await_attempts("green", 30).failure, 30);
}

#[test]
fn the_session_keeps_its_cookie() {
    let (blue, green) = (baseline(), failing());
    let setup = setup(&blue, &green, BY_COOKIE, "");
    let stage = Stage::start(&setup, GuardLimits::default(), Some(on_everything()));
    let mut client = stage.client();
    let answer = client.get("/");
    assert_eq!(answer.text(), "blue GET /");
    let cookie = answer.headers.only("set-cookie").expect("a session begins").to_owned();
    let cookie = cookie.split(';').next().expect("a name and a value");
    let again = client.try_get("/", &format!("cookie: {cookie}\r\n")).expect("an answer");
    assert_eq!((again.status(), again.headers.only("set-cookie")), (200, None));
    assert_eq!(stage.metrics("green").failure, 2, "the session is still the canary's");
}

#[test]
fn a_fallback_that_fails_too_is_what_the_client_sees() {
    let (blue, green) = (failing(), failing());
    let stage = stage(&blue, &green, "");
    assert_eq!(stage.client().get("/").status(), 500);
    assert_eq!((green.log().requests.len(), blue.log().requests.len()), (1, 1));
}

#[test]
fn whoever_asks_for_the_canary_sees_it_as_it_is() {
    let (blue, green) = (baseline(), failing());
    let rule = "override = [{ header = \"x-try\", equals = \"green\", backend = \"green\" }]";
    let stage = stage(&blue, &green, rule);
    let answer = stage.client().try_get("/", "x-try: green\r\n").expect("an answer");
    assert_eq!(answer.status(), 500);
    assert_eq!(stage.await_attempts("green", 1).failure, 1);
    assert_eq!((stage.judged("green").attempts(), stage.guard.failures_in_row()), (0, 0));
}

#[test]
fn answers_from_a_cache_are_counted() {
    let blue = baseline();
    let green = Upstream::answering(|request| {
        let word = request.target().trim_start_matches('/').to_owned();
        format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-cache: {word}\r\n\r\n").into_bytes()
    });
    let setup = Setup::empty()
        .backend("blue", blue.address(), "cache_status_header = \"x-cache\"")
        .backend("green", green.address(), "cache_status_header = \"X-Cache\"")
        .route("app", "split = { blue = 0, green = 100 }", NONE);
    let mut stage = Stage::start(&setup, GuardLimits::default(), None);
    let mut client = stage.client();
    for word in ["HIT", "Hit-from-edge", "hit", "MISS", "HI"] {
        client.get(&format!("/{word}"));
    }
    stage.weigh(0);
    client.get("/");
    let (metrics, judged) = (stage.metrics("green"), stage.judged("green"));
    assert_eq!((metrics.cache_hits, metrics.cache_answers), (3, 5));
    assert_eq!((judged.cache_hits, judged.cache_answers), (3, 5));
    assert_eq!(stage.metrics("blue").cache_answers, 0, "an answer that does not tell");
}

#[test]
fn a_split_by_hand_has_its_fallback_too() {
    let (blue, green) = (baseline(), failing());
    let tables = "[route.affinity]\nby = \"none\"\n\
                  [route.fallback]\non = [\"5xx\"]\n\
                  [rollout.app]\nroute = \"app\"\nbaseline = \"blue\"\ncanary = \"green\"\n\
                  [[rollout.app.step]]\nname = \"all\"\nweight = 100\nhold = \"1h\"\n";
    let gate = Gate::start(&setup(&blue, &green, tables, ""));
    let mut client = gate.client();
    assert_eq!(client.get("/a").text(), "blue GET /a");
    let labels = [("route", "app"), ("from", "green"), ("to", "blue")];
    gate.await_count("tidegate_fallbacks_total", &labels, 1);
    gate.await_count("tidegate_requests_total", &[("backend", "green"), ("class", "failure")], 1);
    gate.await_count("tidegate_requests_total", &[("backend", "blue"), ("class", "success")], 1);
}

#[test]
fn an_answer_that_nobody_gets_leaves_its_connection_to_the_next_request() {
    let blue = baseline();
    let head = "HTTP/1.1 500 Internal Server Error\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = format!("{head}3\r\nbad\r\n0\r\n\r\n");
    let green = Upstream::answering(move |_| chunked.clone().into_bytes());
    let stage = stage(&blue, &green, "");
    let mut client = stage.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 200);
    }
    let log = green.log();
    assert_eq!((log.requests.len(), log.bytes.len()), (3, 1));
}
