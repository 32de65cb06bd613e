//! Retries: what one endpoint fails before its answer began, another one of the backend answers, where that is safe.

use std::net::SocketAddr;

use crate::support::{
    gate::Gate,
    setup::{NONE, Setup},
    tls::{Authority, answering},
    upstream::{Reserved, Upstream, ok},
};

/// Two endpoints that take turns, the first one first.
fn pair(first: SocketAddr, second: SocketAddr, route: &str) -> Gate {
    let backend = Setup::empty().backend_of("blue", &[first, second], "balance = \"round_robin\"");
    let tables = format!("{NONE}\n{route}");
    Gate::start(&backend.route("app", "split = { blue = 100 }", &tables))
}

/// Reads each request and ends the connection without a word.
fn mute() -> Upstream {
    Upstream::scripted(|peer| drop(peer.request()))
}

const POST: &str = "POST /post HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";

#[test]
fn a_get_that_one_endpoint_drops_is_answered_by_the_other() {
    let (bad, good) = (mute(), Upstream::saying("good"));
    let gate = pair(bad.address(), good.address(), "");
    assert_eq!(gate.client().get("/a?b=c").text(), "good");
    assert_eq!(bad.take_requests()[0].target(), "/a?b=c");
    let again = good.take_requests();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].target(), "/a?b=c");
    // Both attempts are known for what they were.
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
    gate.await_count("tidegate_requests_total", &[("class", "success")], 1);
    gate.await_count("tidegate_retries_total", &[("route", "app"), ("backend", "blue")], 1);
}

#[test]
fn whatever_could_not_be_sent_at_all_goes_to_the_other_with_its_body() {
    let (closed, good) = (Reserved::bind(), Upstream::saying("good"));
    let gate = pair(closed.address, good.address(), "");
    let mut client = gate.client();
    client.send(POST);
    assert_eq!(client.answer_to("POST").text(), "good");
    assert_eq!(good.take_requests()[0].body, b"hello");
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
    gate.await_count("tidegate_retries_total", &[], 1);
}

#[test]
fn so_does_what_a_handshake_kept_back() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let (bad, good) = (Upstream::saying("in the clear"), authority.server("app", false));
    let good = answering(good, |request| ok(&request.text()));
    let tls = format!(
        "balance = \"round_robin\"\n[backend.blue.tls]\nca = \"{}\"\nserver_name = \"app.example\"",
        authority.path("ca.pem")
    );
    let setup = Setup::empty().backend_of("blue", &[bad.address(), good], &tls);
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    let mut client = gate.client();
    client.send(POST);
    assert_eq!(client.answer_to("POST").text(), "hello");
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
}

#[test]
fn a_post_that_may_have_been_done_is_not_sent_again() {
    let (bad, good) = (mute(), Upstream::saying("good"));
    let gate = pair(bad.address(), good.address(), "");
    let mut client = gate.client();
    client.send(POST);
    assert_eq!(client.answer_to("POST").status(), 502);
    assert_eq!(gate.client().get("/next").text(), "good");
    assert_eq!(good.log().targets(), ["/next"]);
}

#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    let bad = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-").ok();
    });
    let good = Upstream::saying("good");
    let gate = pair(bad.address(), good.address(), "");
    assert_eq!(gate.client().get("/").status(), 502);
    assert_eq!(gate.client().get("/next").text(), "good");
    assert_eq!(good.log().targets(), ["/next"]);
}

#[test]
fn an_answer_with_500_is_an_answer() {
    let bad = Upstream::answering(|_| b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_vec());
    let gate = pair(bad.address(), Upstream::saying("good").address(), "");
    assert_eq!(gate.client().get("/").status(), 503);
}

#[test]
fn only_what_is_named_and_no_more_often_is_sent_again() {
    let cases = [
        ("never", "[route.retry]\nattempts = 0", 502),
        ("another cause", "[route.retry]\non = [\"connect\", \"refused\"]", 502),
        ("named", "[route.retry]\non = [\"reset_before_response\"]", 200),
    ];
    let mut faults = Vec::new();
    for (name, rules, wanted) in cases {
        let (bad, good) = (mute(), Upstream::saying("good"));
        let gate = pair(bad.address(), good.address(), rules);
        let got = gate.client().get("/").status();
        if got != wanted {
            faults.push(format!("{name}: {got} instead of {wanted}"));
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
    // Both fail: one retry, then the truth.
    let (one, two) = (mute(), mute());
    let gate = pair(one.address(), two.address(), "");
    assert_eq!(gate.client().get("/").status(), 502);
    assert_eq!((one.take_requests().len(), two.take_requests().len()), (1, 1));
}

#[test]
fn the_only_endpoint_is_not_asked_twice() {
    let bad = mute();
    let gate = Gate::start(&Setup::to(bad.address()));
    assert_eq!(gate.client().get("/").status(), 502);
    assert_eq!(bad.take_requests().len(), 1);
}

#[test]
fn a_budget_that_is_spent_leaves_clients_with_the_failure() {
    const REQUESTS: u64 = 200;
    let (closed, good) = (Reserved::bind(), Upstream::answering(|_| ok("good")));
    let backend = "balance = \"round_robin\"\nejection = { enabled = false }";
    let setup = Setup::empty().backend_of("blue", &[closed.address, good.address()], backend);
    let retry = format!("{NONE}\n[route.retry]\nbudget = \"1%\"");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", &retry));
    let began = std::time::Instant::now();
    let mut client = gate.client();
    let statuses: Vec<_> = (0..REQUESTS).map(|_| client.get("/").status()).collect();
    let retried = gate.metric("tidegate_retries_total", &[]) as u64;
    // Ten from the beginning, two by the share, and three in each second that was begun.
    let most = 12 + 3 * (began.elapsed().as_secs() + 2);
    assert!((10..=most).contains(&retried), "{retried} of {most}");
    let failed = statuses.iter().filter(|status| **status == 502).count() as u64;
    assert!(failed > 0 && statuses.iter().all(|status| [200, 502].contains(status)));
}

#[test]
fn a_full_endpoint_sheds_with_the_time_to_come_back() {
    let slow = Upstream::scripted(|peer| {
        peer.request();
        peer.until_closed();
    });
    let setup = Setup::empty().backend("blue", slow.address(), "endpoint_max_in_flight = 1");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    let mut first = gate.client();
    first.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.wait_until("the first one waits", |log| log.requests.len() == 1);
    let answer = gate.client().get("/more");
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers.only("retry-after"), Some("1"));
    assert!(answer.text().contains("too_many_in_flight"), "{}", answer.text());
    gate.await_count("tidegate_overflow_total", &[("queue", "in_flight")], 1);
}

#[test]
fn a_key_keeps_its_endpoint_and_others_spread() {
    let upstreams = ["one", "two", "three"].map(Upstream::saying);
    let addresses = upstreams.each_ref().map(Upstream::address);
    let setup = Setup::empty().backend_of("blue", &addresses, "balance = \"hash\"");
    let affinity = "[route.affinity]\nby = \"header\"\nname = \"x-user\"";
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", affinity));
    let mut client = gate.client();
    let mut seen = std::collections::BTreeSet::new();
    for user in 0..30 {
        let mut ask = || client.try_get("/", &format!("x-user: {user}\r\n")).unwrap().text();
        let home = ask();
        assert!((0..5).all(|_| ask() == home), "user {user} was moved");
        seen.insert(home);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}
