//! What outlives a process.

use crate::{
    load::pair,
    support::{
        eventually,
        gate::Gate,
        setup::{BY_COOKIE, BY_SID, NONE, Setup},
    },
};

pub(crate) fn green_percent(gate: &Gate) -> (f64, String) {
    let (split, source) = gate.split_of("app");
    (split["green"].as_f64().expect("a number"), source)
}

pub(crate) fn kinds(gate: &Gate) -> Vec<String> {
    gate.events()
        .iter()
        .map(|event| event["kind"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_split_set_by_hand_outlives_restart_and_crash() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID));
    assert_eq!(green_percent(&gate), (10.0, "config".into()));
    gate.run_ok(&["split", "app", "blue=62.5", "green=37.5"]);
    assert_eq!(green_percent(&gate), (37.5, "admin".into()));
    let gate = Gate::start_as_it_is(gate.stop());
    assert_eq!(green_percent(&gate), (37.5, "admin".into()));
    gate.run_ok(&["split", "app", "blue=60", "green=40", "--reason", "before-the-crash"]);
    gate.await_stored("before-the-crash");
    let gate = Gate::start_as_it_is(gate.kill());
    assert_eq!(green_percent(&gate), (40.0, "admin".into()));
}

#[test]
fn a_split_that_was_answered_as_durable_outlives_a_crash_at_once() {
    let (blue, green) = pair();
    let mut gate = Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID));
    for percent in [20, 35, 50, 65, 80] {
        // A disk that is kept busy may take longer than an answer waits; the answer says so then.
        eventually("a durable answer", || {
            let wish = format!("{{\"blue\": {}, \"green\": {percent}}}", 100 - percent);
            let answer = gate.admin("PUT", "/v1/routes/app/split", &wish);
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let answer: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(answer["split"]["green"], percent, "{answer}");
            (answer["durable"] == true).then_some(())
        });
        gate = Gate::start_as_it_is(gate.kill());
        assert_eq!(green_percent(&gate), (f64::from(percent), "admin".into()));
    }
}

#[test]
fn a_split_set_by_hand_yields_when_the_file_changes_it() {
    let (blue, green) = pair();
    let both = (blue.address, green.address);
    let gate = Gate::start(&Setup::blue_green(both, 10, BY_SID));
    gate.run_ok(&["split", "app", "blue=50", "green=50"]);

    // The file changes, but not this route's value.
    gate.replace_config(&Setup::blue_green(both, 10, BY_SID).listener("idle_timeout = \"70s\""));
    gate.run_ok(&["reload"]);
    assert_eq!(green_percent(&gate), (50.0, "admin".into()));

    gate.replace_config(&Setup::blue_green(both, 20, BY_SID));
    gate.run_ok(&["reload"]);
    assert_eq!(green_percent(&gate), (20.0, "config".into()));
    assert!(kinds(&gate).iter().any(|kind| kind == "split_superseded"), "{:?}", gate.events());

    // What has given way does not come back with the file's old value, nor with a restart.
    gate.replace_config(&Setup::blue_green(both, 10, BY_SID));
    gate.run_ok(&["reload"]);
    assert_eq!(green_percent(&gate), (10.0, "config".into()));
    let gate = Gate::start_as_it_is(gate.stop());
    assert_eq!(green_percent(&gate), (10.0, "config".into()));
}

#[test]
fn a_split_set_by_hand_holds_against_a_faulty_file_and_ends_with_its_route() {
    let (blue, green) = pair();
    let with_app = Setup::blue_green((blue.address, green.address), 10, BY_SID);
    let gate = Gate::start(&with_app);
    gate.run_ok(&["split", "app", "blue=50", "green=50"]);
    let other = "path = \"/other\"\nsplit = { blue = 100 }";

    gate.replace_config(&with_app.clone().route("other", &format!("{other}\ncolour = 1"), NONE));
    assert_eq!(gate.run(&["reload"]).code, 65);
    assert_eq!(green_percent(&gate), (50.0, "admin".into()));

    gate.replace_config(&with_app.clone().without_route("app").route("other", other, NONE));
    gate.run_ok(&["reload"]);
    gate.replace_config(&with_app);
    gate.run_ok(&["reload"]);
    assert_eq!(green_percent(&gate), (10.0, "config".into()), "it is another route of that name");
}

#[test]
fn a_file_that_changed_while_it_was_down_wins_too() {
    let (blue, green) = pair();
    let both = (blue.address, green.address);
    let gate = Gate::start(&Setup::blue_green(both, 10, BY_SID));
    gate.run_ok(&["split", "app", "blue=50", "green=50"]);
    let gate = Gate::start_in(gate.stop(), &Setup::blue_green(both, 20, BY_SID));
    assert_eq!(green_percent(&gate), (20.0, "config".into()));
}

#[test]
fn issued_cookies_outlive_a_restart() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 50, BY_COOKIE));
    let mut client = gate.client();
    let sessions: Vec<_> = (0..50)
        .map(|_| {
            let answer = client.get("/");
            let cookie = answer.headers.only("set-cookie").expect("a cookie").to_owned();
            (format!("cookie: {}\r\n", cookie.split(';').next().unwrap()), answer.text())
        })
        .collect();
    let gate = Gate::start_as_it_is(gate.kill());
    let mut client = gate.client();
    for (cookie, side) in sessions {
        let answer = client.try_get("/", &cookie).unwrap();
        assert_eq!(answer.text(), side);
        assert!(!answer.headers.has("set-cookie"), "the key was lost");
    }
}

#[test]
fn the_audit_trail_outlives_a_restart() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID));
    gate.run_ok(&["split", "app", "blue=50", "green=50"]);
    let before = gate.events();
    let gate = Gate::start_as_it_is(gate.stop());
    eventually("the trail goes on", || (gate.events().len() > before.len()).then_some(()));
    assert_eq!(gate.events()[..before.len()], before[..]);
}
