//! Where https meets http: redirects, and what is said of a connection that is encrypted.

use crate::support::{
    client::Client,
    gate::Gate,
    setup::{BY_COOKIE, NONE, Setup},
    tls::{Authority, TlsClient},
    upstream::Upstream,
};

#[test]
fn a_cookie_that_came_encrypted_stays_so() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let upstream = Upstream::saying("blue");
    let setup = Setup::empty()
        .backend("blue", upstream.address(), "")
        .route("app", "split = { blue = 100 }", BY_COOKIE)
        .listener(&authority.certificate("own"))
        .listener("");
    let gate = Gate::start(&setup);
    let mut client = TlsClient::connect(gate.address(), &authority.client(), "localhost").unwrap();
    let cookie = client.get("/").headers.only("set-cookie").map(str::to_owned);
    assert!(cookie.unwrap().ends_with("; Secure"));
    let mut plain = Client::connect(gate.addresses[1]);
    let cookie = plain.get("/").headers.only("set-cookie").map(str::to_owned);
    assert!(!cookie.unwrap().contains("Secure"));
}

#[test]
fn clients_in_the_clear_are_sent_to_the_same_address_with_https() {
    let upstream = Upstream::saying("blue");
    let setup = Setup::empty()
        .backend("blue", upstream.address(), "")
        .route("app", "split = { blue = 100 }\nhost = [\"a.example\"]", NONE)
        .listener("redirect_to_https = true\ntrusted_proxies = [\"127.0.0.2\"]")
        .listener("redirect_to_https = true\nhttps_port = 8443")
        .listener("redirect_to_https = true\ntrusted_proxies = [\"127.0.0.1\"]");
    let gate = Gate::start(&setup);
    let location = |listener: usize, request: &str| {
        let mut client = Client::connect(gate.addresses[listener]);
        client.send(request);
        let answer = client.answer();
        assert_eq!(answer.status(), 308, "{request}");
        answer.headers.only("location").unwrap().to_owned()
    };
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    for (request, expected) in [
        (get("/a//b/../c?d=%2F&e", "A.example:8080"), "https://a.example/a//b/../c?d=%2F&e"),
        (get("/", "unknown.example"), "https://unknown.example/"),
        (get("http://a.example/x", "b.example"), "https://a.example/x"),
        (get("/", "[::1]:8080"), "https://[::1]/"),
        (
            "POST /f HTTP/1.1\r\nhost: a.example\r\ncontent-length: 2\r\n\r\nhi".into(),
            "https://a.example/f",
        ),
        ("OPTIONS * HTTP/1.1\r\nhost: a.example\r\n\r\n".into(), "https://a.example/"),
    ] {
        assert_eq!(location(0, &request), expected);
    }
    assert_eq!(location(1, &get("/x", "a.example")), "https://a.example:8443/x");
    gate.await_count("tidegate_https_redirects_total", &[], 7);
    let mut nameless = Client::connect(gate.addresses[0]);
    nameless.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(nameless.answer().status(), 400);
    // Who came by https to a proxy in front would be sent round in circles.
    let mut behind = Client::connect(gate.addresses[2]);
    let told = [
        "x-forwarded-proto: https",
        "x-forwarded-proto: HTTPS",
        "x-forwarded-for: 192.0.2.1, 127.0.0.1\r\nx-forwarded-proto: https,http",
        "forwarded: for=192.0.2.1;proto=https",
    ];
    for line in told {
        behind.send(format!("GET / HTTP/1.1\r\nhost: a.example\r\n{line}\r\n\r\n"));
        assert_eq!(behind.answer().status(), 200, "{line}");
    }
    assert_eq!(upstream.log().requests.len(), told.len());
}
