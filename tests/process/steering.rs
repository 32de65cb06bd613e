//! Changes under constant load: not one request may fail.

use crate::{
    load::{Load, pair},
    support::{
        eventually,
        gate::Gate,
        setup::{BY_SID, NONE, Setup},
    },
};

const CHANGES: u32 = 200;

#[test]
fn changes_of_weight_cost_no_request() {
    let (blue, green) = pair();
    let setup = Setup::blue_green((blue.address, green.address), 10, BY_SID);
    let gate = Gate::start(&setup.process("workers = 2"));
    let load = Load::start(gate.address());
    for change in 0..CHANGES {
        let percent = change * 37 % 101;
        let (blue, green) = (format!("blue={}", 100 - percent), format!("green={percent}"));
        gate.run_ok(&["split", "app", &blue, &green]);
    }
    let answered = load.finish();
    assert!(answered > u64::from(CHANGES), "only {answered} requests were made");
    let last = f64::from((CHANGES - 1) * 37 % 101);
    let (split, source) = gate.split_of("app");
    assert_eq!((split["green"].as_f64(), source.as_str()), (Some(last), "admin"));
}

#[test]
fn reloads_cost_no_request() {
    let (blue, green) = pair();
    let base = Setup::blue_green((blue.address, green.address), 10, BY_SID).process("workers = 2");
    let gate = Gate::start(&base);
    let load = Load::start(gate.address());
    for change in 0..CHANGES {
        // Routes come and go, and the busy route's own weights change.
        let percent = 10 + change % 50;
        let split = format!("split = {{ blue = {}, green = {percent} }}", 100 - percent);
        let extra = format!("path = \"/extra{change}\"\nsplit = {{ blue = 100 }}");
        let setup = base.clone().without_route("app").route("app", &split, BY_SID);
        gate.replace_config(&setup.route("extra", &extra, NONE));
        gate.run_ok(&["reload"]);
        let (split, source) = gate.split_of("app");
        assert_eq!((split["green"].as_f64(), source.as_str()), (Some(percent.into()), "config"));
    }
    let answered = load.finish();
    assert!(answered > u64::from(CHANGES), "only {answered} requests were made");
}

#[test]
fn an_endpoint_that_is_drained_finishes_and_gets_nothing_until_it_is_ready() {
    let (one, two) = pair();
    let base = Setup::empty().backend_of(
        "blue",
        &[one.address, two.address],
        "ejection = { slow_start = \"off\" }",
    );
    let base = base.route("app", "split = { blue = 100 }", NONE);
    let gate = Gate::start(&base);
    let mut client = gate.client();
    let mut ask = |times: u64| {
        let before = (one.answered(), two.answered());
        for _ in 0..times {
            assert_eq!(client.get("/").status(), 200);
        }
        (one.answered() - before.0, two.answered() - before.1)
    };
    let (first, second) = ask(100);
    assert!(first > 0 && second > 0, "{first} and {second} before");

    let address = one.address.to_string();
    gate.run_ok(&["endpoint", "blue", &address, "drain", "--reason", "a new disk"]);
    assert_eq!(ask(100), (0, 100));
    assert!(gate.metric("tidegate_endpoint_healthy", &[("endpoint", &address)]) < 0.5);
    gate.replace_config(&base.route("other", "path = \"/other\"\nsplit = { blue = 100 }", NONE));
    gate.run_ok(&["reload"]);
    assert_eq!(ask(100), (0, 100), "after a reload");

    gate.run_ok(&["endpoint", "blue", &address, "ready"]);
    let (first, second) = ask(100);
    assert!(first > 0 && second > 0, "{first} and {second} after");
    let trail = gate.run_ok(&["events"]);
    assert!(trail.contains("endpoint_drained") && trail.contains("a new disk"), "{trail}");
}

#[test]
fn a_backend_that_is_taken_away_ends_its_requests_first() {
    use crate::support::upstream::{Upstream, ok};
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let released = std::sync::Mutex::new(released);
    let old = Upstream::scripted(move |peer| {
        if peer.request().is_some() {
            released.lock().unwrap().recv().ok();
            peer.write(ok("old")).ok();
            peer.until_closed();
        }
    });
    let new = Upstream::saying("new");
    let gate = Gate::start(&Setup::to(old.address()));
    let mut held = gate.client();
    held.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    old.wait_until("the request arrives", |log| log.requests.len() == 1);
    let setup = Setup::empty().backend("green", new.address(), "");
    gate.replace_config(&setup.route("app", "split = { green = 100 }", NONE));
    gate.run_ok(&["reload"]);
    assert_eq!(gate.client().get("/").text(), "new");
    release.send(()).unwrap();
    assert_eq!(held.answer().text(), "old");
    assert_eq!(held.get("/").text(), "new", "the same connection goes on");
    old.wait_until("its connection is closed", |log| log.ended == 1);
    eventually("its series are gone", || {
        (!gate.admin("GET", "/metrics", "").text().contains("backend=\"blue\"")).then_some(())
    });
}
