//! Rate limits: who shares one, what a refused client is told, and what is counted.

use crate::support::{
    gate::Gate,
    message::Message,
    setup::{NONE, Setup},
    upstream::Upstream,
};

/// A gate with two workers whose route `app` has a limit that gives nothing back within a test.
fn start(lines: &str) -> (Gate, Upstream) {
    let upstream = Upstream::saying("ok");
    let tables = format!("{NONE}\n[route.rate_limit]\nrate = \"1/h\"\n{lines}");
    let setup = Setup::empty()
        .process("workers = 2")
        .listener("trusted_proxies = [\"127.0.0.0/8\"]")
        .backend("blue", upstream.address(), "")
        .route("app", "split = { blue = 100 }", &tables)
        .route("free", "path = \"/free\"\nsplit = { blue = 100 }", NONE);
    (Gate::start(&setup), upstream)
}

/// One request on a connection of its own, so that each worker gets some.
fn ask(gate: &Gate, headers: &str) -> Message {
    gate.client().try_get("/", headers).expect("an answer")
}

fn statuses(gate: &Gate, headers: &str, count: usize) -> Vec<u16> {
    (0..count).map(|_| ask(gate, headers).status()).collect()
}

#[test]
fn each_client_has_its_burst_over_all_workers() {
    let (gate, upstream) = start("burst = 3");
    let mut first = statuses(&gate, "x-forwarded-for: 203.0.113.1\r\n", 8);
    assert_eq!(first, [200, 200, 200, 429, 429, 429, 429, 429]);
    first = statuses(&gate, "x-forwarded-for: 203.0.113.2\r\n", 4);
    assert_eq!(first, [200, 200, 200, 429]);
    // An IPv6 client is its network.
    assert_eq!(statuses(&gate, "x-forwarded-for: 2001:db8::1\r\n", 2), [200, 200]);
    assert_eq!(statuses(&gate, "x-forwarded-for: 2001:db8::ffff:2\r\n", 2), [200, 429]);
    assert_eq!(statuses(&gate, "x-forwarded-for: 2001:db8:0:1::1\r\n", 1), [200]);
    gate.await_count("tidegate_rate_limited_total", &[("route", "app")], 7);
    gate.await_count("tidegate_errors_total", &[("reason", "rate_limited")], 7);
    // No backend is held to it, and none saw it.
    gate.await_count("tidegate_requests_total", &[("route", "app")], 10);
    assert_eq!(upstream.take_requests().len(), 10);
}

#[test]
fn a_refused_client_learns_when_to_come_again_and_keeps_its_connection() {
    let (gate, _upstream) = start("burst = 1");
    let mut client = gate.client();
    assert_eq!(client.get("/").status(), 200);
    let refused = client.get("/");
    assert_eq!(refused.status(), 429);
    let wait: u32 = refused.headers.only("retry-after").expect("a time").parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert!(refused.text().contains("rate_limited"), "{}", refused.text());
    assert_eq!(client.get("/free").status(), 200);
}

#[test]
fn a_header_or_the_route_may_be_what_counts() {
    let (gate, _upstream) = start("burst = 2\nper = \"header:x-key\"");
    assert_eq!(statuses(&gate, "x-key: a\r\n", 3), [200, 200, 429]);
    assert_eq!(statuses(&gate, "x-key: b\r\n", 1), [200]);
    // Those without one share one limit.
    assert_eq!(statuses(&gate, "", 3), [200, 200, 429]);
    // Nor has one of his own who sends more than one: whichever it was, one more would make him somebody else.
    assert_eq!(statuses(&gate, "x-key: c\r\nx-key: a\r\n", 1), [429]);
    let (gate, _upstream) = start("burst = 2\nper = \"route\"");
    assert_eq!(statuses(&gate, "x-forwarded-for: 203.0.113.1\r\n", 1), [200]);
    assert_eq!(statuses(&gate, "x-forwarded-for: 203.0.113.2\r\n", 2), [200, 429]);
}

#[test]
fn a_reload_forgives_nothing() {
    let upstream = Upstream::saying("ok");
    let setup = |burst: u32| {
        let tables = format!("{NONE}\n[route.rate_limit]\nrate = \"1/h\"\nburst = {burst}");
        let setup = Setup::empty().backend("blue", upstream.address(), "");
        setup.route("app", "split = { blue = 100 }", &tables)
    };
    let gate = Gate::start(&setup(1));
    assert_eq!(statuses(&gate, "", 2), [200, 429]);
    gate.replace_config(&setup(2));
    gate.run_ok(&["reload"]);
    assert_eq!(statuses(&gate, "", 2), [200, 429]);
    gate.await_count("tidegate_rate_limited_total", &[("route", "app")], 2);
}
