//! How requests are divided: exactly, and the same way for a session for as long as the weights allow.

use crate::{
    load::{green_keys, green_keys_on_one_connection, pair, sid},
    support::{
        gate::Gate,
        setup::{BY_COOKIE, BY_SID, NONE, Setup},
    },
};

const KEYS: u32 = 100_000;

fn count(sides: &[bool]) -> u64 {
    sides.iter().filter(|green| **green).count() as u64
}

/// Fails unless `green` of `all` lies within `sigmas` standard deviations of `share`.
fn assert_near(green: u64, all: u32, share: f64, sigmas: f64) {
    let (expected, deviation) =
        (f64::from(all) * share, (f64::from(all) * share * (1.0 - share)).sqrt());
    let off = (green as f64 - expected).abs();
    assert!(off <= sigmas * deviation, "{green} of {all} at {share}: {:.1} sigma", off / deviation);
}

#[test]
fn sessions_divide_by_weight_and_the_upstreams_see_it() {
    let (blue, green) = pair();
    let setup = Setup::blue_green((blue.address, green.address), 10, BY_SID);
    let gate = Gate::start(&setup.process("workers = 2"));
    let sides = green_keys(gate.address(), 0..KEYS, sid);
    assert_near(count(&sides), KEYS, 0.1, 3.0);
    assert_eq!(green.answered(), count(&sides));
    assert_eq!(blue.answered() + green.answered(), u64::from(KEYS));
}

#[test]
fn sessions_keep_their_side_over_reload_restart_and_number_of_workers() {
    const SOME: u32 = 5_000;
    let (blue, green) = pair();
    let setup = Setup::blue_green((blue.address, green.address), 30, BY_SID);
    let one = setup.clone().process("workers = 1");
    let gate = Gate::start(&one);
    let before = green_keys(gate.address(), 0..SOME, sid);
    assert_near(count(&before), SOME, 0.3, 4.0);
    assert_eq!(green_keys(gate.address(), 0..SOME, sid), before, "another connection");

    gate.replace_config(&one.route("other", "path = \"/other\"\nsplit = { blue = 100 }", NONE));
    gate.run_ok(&["reload"]);
    assert_eq!(green_keys(gate.address(), 0..SOME, sid), before, "after a reload");

    let gate = Gate::start_in(gate.stop(), &setup.process("workers = 2"));
    assert_eq!(green_keys(gate.address(), 0..SOME, sid), before, "after a restart with 2 workers");

    let gate = Gate::start_as_it_is(gate.kill());
    assert_eq!(green_keys(gate.address(), 0..SOME, sid), before, "after a crash");
}

#[test]
fn raising_a_weight_never_takes_a_session_away() {
    const SOME: u32 = 5_000;
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID));
    let mut before = green_keys(gate.address(), 0..SOME, sid);
    for percent in [25, 50, 100] {
        let (blue, green) = (format!("blue={}", 100 - percent), format!("green={percent}"));
        gate.run_ok(&["split", "app", &blue, &green]);
        let after = green_keys(gate.address(), 0..SOME, sid);
        let moved_back = before.iter().zip(&after).filter(|(was, is)| **was && !**is).count();
        assert_eq!(moved_back, 0, "at {percent} %");
        if percent < 100 {
            assert_near(count(&after), SOME, f64::from(percent) / 100.0, 4.0);
        }
        before = after;
    }
    assert_eq!(count(&before), u64::from(SOME), "100 % is all");
    gate.run_ok(&["split", "app", "blue=100", "green=0"]);
    assert_eq!(count(&green_keys(gate.address(), 0..SOME, sid)), 0, "0 % is none");
}

#[test]
fn without_affinity_the_share_is_exact_at_once() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 30, NONE));
    let sides = green_keys_on_one_connection(gate.address(), 0..10_000, &|_| String::new());
    for (at, _) in sides.iter().enumerate() {
        let (green, expected) = (count(&sides[..=at]) as f64, (at + 1) as f64 * 0.3);
        assert!((green - expected).abs() <= 1.0, "{green} of the first {}", at + 1);
    }
}

#[test]
fn without_affinity_the_share_is_exact_for_each_worker() {
    let (blue, green) = pair();
    let setup = Setup::blue_green((blue.address, green.address), 10, NONE);
    let gate = Gate::start(&setup.process("workers = 2"));
    let sides = green_keys(gate.address(), 0..KEYS, |_| String::new());
    let off = count(&sides).abs_diff(u64::from(KEYS / 10));
    assert!(off <= 2, "two workers are {off} off");
}

#[test]
fn an_issued_cookie_keeps_the_session_and_divides_by_weight() {
    const NEW: u32 = 10_000;
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 30, BY_COOKIE));
    let sides = green_keys(gate.address(), 0..NEW, |_| String::new());
    // Identities are drawn anew in each run: five deviations are missed once in two million.
    assert_near(count(&sides), NEW, 0.3, 5.0);

    let mut client = gate.client();
    for _ in 0..20 {
        let first = client.get("/");
        let issued = first.headers.only("set-cookie").expect("a cookie").to_owned();
        for part in ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=2592000"] {
            assert!(issued.split("; ").any(|given| given == part), "{part} in {issued}");
        }
        assert!(!issued.contains("Secure"), "a plain listener: {issued}");
        let cookie = format!("cookie: a=b; {}; c=d\r\n", issued.split(';').next().unwrap());
        for _ in 0..5 {
            let again = client.try_get("/", &cookie).unwrap();
            assert_eq!(again.text(), first.text(), "the session changed sides");
            assert!(!again.headers.has("set-cookie"), "a cookie that is known is not sent again");
        }
    }
}

#[test]
fn a_forged_cookie_is_replaced() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 30, BY_COOKIE));
    let mut client = gate.client();
    let issued = client.get("/").headers.only("set-cookie").expect("a cookie").to_owned();
    let (name, token) = issued.split(';').next().unwrap().split_once('=').unwrap();
    let mut turned: Vec<char> = token.chars().collect();
    let last = turned.len() - 2;
    turned[last] = if turned[last] == 'A' { 'B' } else { 'A' };
    let turned: String = turned.into_iter().collect();
    for forged in [turned.as_str(), "", "x", "%00"] {
        let answer = client.try_get("/", &format!("cookie: {name}={forged}\r\n")).unwrap();
        assert!(answer.headers.has("set-cookie"), "{forged:?} was taken");
    }
}

#[test]
fn testers_choose_their_side() {
    let (blue, green) = pair();
    let overrides = "[[route.override]]\nheader = \"x-backend\"\nequals = \"green\"\nbackend = \"green\"\n\
                     [[route.override]]\ncookie = \"tester\"\nequals = \"1\"\nbackend = \"green\"\n\
                     [[route.override]]\nquery = \"side\"\nequals = \"green\"\nbackend = \"green\"";
    let tables = format!("{BY_SID}\n{overrides}");
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 0, &tables));
    let mut client = gate.client();
    for (path, lines, side) in [
        ("/", "", "blue"),
        ("/", "x-backend: green\r\n", "green"),
        ("/", "x-backend: greenish\r\n", "blue"),
        ("/", "cookie: a=b; tester=1\r\n", "green"),
        ("/", "cookie: tester=2\r\n", "blue"),
        ("/?a=b&side=green", "", "green"),
        ("/?side=greener", "", "blue"),
    ] {
        assert_eq!(client.try_get(path, lines).unwrap().text(), side, "{path} {lines:?}");
    }
}

#[test]
fn three_backends_share_a_split() {
    let [one, two, three] = ["one", "two", "green"].map(crate::load::Lean::saying);
    let setup = Setup::empty()
        .backend("one", one.address, "")
        .backend("two", two.address, "")
        .backend("three", three.address, "")
        .route("app", "split = { one = 50, two = 30, three = 20 }", NONE);
    let gate = Gate::start(&setup);
    green_keys_on_one_connection(gate.address(), 0..1_000, &|_| String::new());
    let answered = [&one, &two, &three].map(crate::load::Lean::answered);
    for (got, expected) in answered.into_iter().zip([500, 300, 200]) {
        assert!(got.abs_diff(expected) <= 1, "{answered:?}");
    }
}
