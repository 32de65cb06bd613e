//! What trusted proxies say of the client: in `x-forwarded-*` or in `forwarded`, in each of the forms that proxies write.

use crate::support::{
    gate::Gate,
    message::Message,
    setup::{NONE, Setup},
    upstream::Upstream,
};

/// A gate that trusts the test, and says whom it takes for the client.
fn start(lines: &str) -> (Gate, Upstream) {
    let upstream = Upstream::saying("ok");
    let told = "[route.headers]\nresponse_set = { x-told = \"$client_ip $scheme\" }";
    let setup = Setup::empty()
        .listener(&format!("trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n{lines}"))
        .backend("blue", upstream.address(), "")
        .route("app", "split = { blue = 100 }", &format!("{NONE}\n{told}"));
    (Gate::start(&setup), upstream)
}

/// Names and values that are sent, each line for itself, and who the client is then.
const TOLD: &[(&str, &str)] = &[
    ("forwarded: for=1.2.3.4;proto=https", "1.2.3.4 https"),
    ("forwarded: For=\"[2001:db8::1]:47\";Proto=\"HTTPS\"", "2001:db8::1 https"),
    ("forwarded: for=1.2.3.4, for=10.0.0.1;proto=http", "1.2.3.4 http"),
    ("forwarded: for=1.2.3.4;proto=https, for=10.0.0.1;proto=http", "1.2.3.4 https"),
    ("forwarded: for=1.2.3.4\nforwarded: for=5.6.7.8", "5.6.7.8 http"),
    ("forwarded: for=1.2.3.4\nforwarded: for=10.0.0.1", "1.2.3.4 http"),
    ("forwarded: for=1.2.3.4, for=unknown;proto=https", "127.0.0.1 https"),
    ("forwarded: for=_hidden, for=\"10.0.0.1:_port\"", "10.0.0.1 http"),
    ("forwarded: for=\"1.1.1.1, for=6.6.6.6", "6.6.6.6 http"),
    ("forwarded: for=\"a\\\", for=1.1.1.1\", for=10.0.0.1", "10.0.0.1 http"),
    ("forwarded: proto=https", "127.0.0.1 https"),
    ("forwarded: for=1.1.1.1\nx-forwarded-for: 2.2.2.2", "2.2.2.2 http"),
    ("forwarded: for=1.1.1.1;proto=https\nx-forwarded-proto: http", "127.0.0.1 http"),
    ("x-forwarded-for: 1.2.3.4:80", "1.2.3.4 http"),
    ("x-forwarded-for: [2001:db8::1]:443", "2001:db8::1 http"),
    ("x-forwarded-for: [2001:db8::1]", "2001:db8::1 http"),
    ("x-forwarded-for: fe80::1%eth0", "fe80::1 http"),
    ("x-forwarded-for: 1.2.3.4, 10.0.0.1:9, [::ffff:10.0.0.2]:80", "1.2.3.4 http"),
    ("x-forwarded-for: 1.2.3.4, 1.2.3.4:", "127.0.0.1 http"),
    ("x-forwarded-for: 1.2.3.4, garbage", "127.0.0.1 http"),
    ("x-forwarded-for: 1.2.3.4, ", "127.0.0.1 http"),
    ("x-forwarded-proto: HTTPS", "127.0.0.1 https"),
    ("x-forwarded-proto: https,https", "127.0.0.1 https"),
    ("x-forwarded-proto: https, http", "127.0.0.1 http"),
    ("x-forwarded-proto: http, https", "127.0.0.1 https"),
    ("x-forwarded-for: 1.2.3.4, 10.0.0.1\nx-forwarded-proto: https, http", "1.2.3.4 https"),
    ("x-forwarded-for: 1.2.3.4\nforwarded: for=6.6.6.6;proto=https", "1.2.3.4 http"),
    ("x-forwarded-host: a\nforwarded: for=6.6.6.6;proto=https", "127.0.0.1 http"),
    ("x-forwarded-proto: wss", "127.0.0.1 https"),
    ("x-forwarded-proto: javascript", "127.0.0.1 http"),
];

#[test]
fn each_form_of_a_clients_address_and_scheme_is_understood() {
    let (gate, _upstream) = start("");
    let mut client = gate.client();
    let mut faults = Vec::new();
    for (lines, wanted) in TOLD {
        let lines = format!("{}\r\n", lines.replace('\n', "\r\n"));
        let answer = client.try_get("/", &lines).expect("an answer");
        let told = answer.headers.only("x-told").unwrap_or_default();
        if told != *wanted {
            faults.push(format!("{lines:?}: {told}, not {wanted}"));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), TOLD.len(), faults.join("\n"));
}

#[test]
fn what_forwarded_tells_goes_on_in_both_forms() {
    let arrived = |lines: &str, sent: &str| -> Message {
        let (gate, upstream) = start(lines);
        gate.client().try_get("/", sent).expect("an answer");
        upstream.take_requests().remove(0)
    };
    let told = "forwarded: for=\"[2001:db8::1]:47\";proto=https;host=\"www.example:8443\"\r\n";
    let request = arrived("", told);
    for (name, value) in [
        ("x-forwarded-for", "2001:db8::1, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "www.example:8443"),
        // Nobody asked for a word of Tidegate's own here.
        ("forwarded", "for=\"[2001:db8::1]:47\";proto=https;host=\"www.example:8443\""),
    ] {
        assert_eq!(request.headers.only(name), Some(value), "{request:?}");
    }
    let request = arrived("forwarded = true", "forwarded: for=1.2.3.4;host=\"a b\"\r\n");
    for (name, value) in [
        ("x-forwarded-for", "1.2.3.4, 127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "test"),
        ("forwarded", "for=1.2.3.4;host=\"a b\", for=127.0.0.1;proto=http;host=\"test\""),
    ] {
        assert_eq!(request.headers.only(name), Some(value), "{request:?}");
    }
}

#[test]
fn a_client_tells_nothing_in_the_way_that_its_proxy_does_not_speak() {
    let (gate, upstream) = start("");
    let forged =
        "forwarded: for=6.6.6.6;host=evil.test;proto=https\r\nx-forwarded-for: 1.2.3.4\r\n";
    gate.client().try_get("/", forged).expect("an answer");
    let request = upstream.take_requests().remove(0);
    for (name, value) in [
        ("x-forwarded-for", "1.2.3.4, 127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "test"),
    ] {
        assert_eq!(request.headers.only(name), Some(value), "{request:?}");
    }
}
