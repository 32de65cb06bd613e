//! What a route does to heads on their way: header rules, rewrites, redirects, error pages, `forwarded`.

use std::fs;

use crate::support::{
    client::Client,
    frames::{Frames, StreamEnd},
    gate::Gate,
    message::Message,
    setup::{NONE, Setup},
    upstream::{Reserved, Upstream},
};

/// A gate whose route `app` has `tables`, in front of an upstream that answers with `headers`.
fn start(tables: &str, headers: &'static str) -> (Gate, Upstream) {
    let upstream = Upstream::answering(move |_| {
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok").into_bytes()
    });
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let tables = format!("{NONE}\n{tables}");
    (Gate::start(&setup.route("app", "split = { blue = 100 }", &tables)), upstream)
}

fn get(client: &mut Client, path: &str, headers: &str) -> Message {
    client.send(format!("GET {path} HTTP/1.1\r\nhost: App.example:81\r\n{headers}\r\n"));
    client.answer()
}

fn arrived(upstream: &Upstream) -> Message {
    upstream.take_requests().pop().expect("a request")
}

#[test]
fn headers_of_a_request_are_set_and_removed() {
    let (gate, upstream) = start(
        r#"[route.headers]
        request_remove = ["x-internal", "x-tidegate-bucket", "traceparent"]
        [route.headers.request_set]
        x-forwarded-proto = "$scheme"
        x-host = "$host"
        x-who = "$client_ip $backend $http_x_name"
        x-request-id = "own"
        x-empty = "$http_none"
        x-fixed = "a b"
        host = "inner.example""#,
        "",
    );
    let mut client = gate.client();
    get(
        &mut client,
        "/",
        "x-internal: 1\r\nx-internal: 2\r\nx-name: n\r\nx-host: forged\r\nx-host: twice\r\nx-empty: y\r\n",
    );
    let request = arrived(&upstream);
    for (name, value) in [
        ("x-forwarded-proto", "http"),
        ("x-host", "app.example"),
        ("x-who", "127.0.0.1 blue n"),
        ("x-request-id", "own"),
        ("x-fixed", "a b"),
        ("host", "inner.example"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "App.example:81"),
    ] {
        assert_eq!(request.headers.only(name), Some(value), "{name}: {request:?}");
    }
    for name in ["x-internal", "x-empty", "x-tidegate-bucket", "traceparent"] {
        assert!(!request.headers.has(name), "{name}: {request:?}");
    }
}

#[test]
fn a_rule_sees_the_headers_that_the_client_sent() {
    let (gate, upstream) = start(
        r#"[route.headers]
        response_set = { x-told = "$http_x_forwarded_for" }
        [route.headers.request_set]
        x-claimed = "$http_x_forwarded_for|$http_x_forwarded_proto|$http_x_forwarded_host|$http_forwarded"
        x-asked = "$http_x_request_id|$http_keep_alive|$http_traceparent|$http_x_tidegate_bucket"
        "#,
        "",
    );
    let mut client = gate.client();
    let answer = get(
        &mut client,
        "/",
        "x-forwarded-for: 1.2.3.4\r\nx-forwarded-proto: https\r\nx-forwarded-host: h\r\n\
         forwarded: for=5\r\nx-request-id: id-1\r\nkeep-alive: 9\r\ntraceparent: none\r\n\
         x-tidegate-bucket: 7\r\nx-asked: forged\r\n",
    );
    let request = arrived(&upstream);
    for (name, value) in [
        ("x-claimed", "1.2.3.4|https|h|for=5"),
        ("x-asked", "id-1|9|none|7"),
        // What goes on is Tidegate's own all the same.
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "id-1"),
    ] {
        assert_eq!(request.headers.only(name), Some(value), "{name}: {request:?}");
    }
    assert!(!request.headers.has("forwarded") && !request.headers.has("keep-alive"));
    assert_eq!(answer.headers.only("x-told"), Some("1.2.3.4"));
}

#[test]
fn a_rule_sees_all_lines_of_a_header() {
    let (gate, upstream) = start(
        r#"[route.headers]
        response_set = { x-back = "$cookie_b" }
        [route.headers.request_set]
        x-read = "$cookie_a|$cookie_c|$http_x_one|$http_x_two|$http_cookie"
        "#,
        "",
    );
    let lines = "cookie: b=1\r\ncookie: a=2; c=3\r\nx-one: 1\r\nx-two: 1\r\nx-two: 2, 3\r\n";
    let answer = get(&mut gate.client(), "/", lines);
    let read = arrived(&upstream).headers.only("x-read").map(str::to_owned);
    assert_eq!(read.as_deref(), Some("2|3|1|1, 2, 3|b=1; a=2; c=3"));
    assert_eq!(answer.headers.only("x-back"), Some("1"));
}

#[test]
fn the_version_in_a_rule_is_the_clients() {
    let (gate, upstream) =
        start("[route.headers]\nrequest_set = { x-speaks = \"$server_protocol\" }", "");
    let mut old = gate.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().status(), 200);
    assert_eq!(arrived(&upstream).headers.only("x-speaks"), Some("HTTP/1.0"));
    let mut new = Frames::connect(gate.address());
    new.send_get(1, "/");
    assert_eq!(new.end_of(1), StreamEnd::Answered(200, b"ok".into()));
    assert_eq!(arrived(&upstream).headers.only("x-speaks"), Some("HTTP/2.0"));
}

#[test]
fn a_request_that_is_sent_again_has_its_headers_set_again() {
    let upstream = Upstream::scripted(|peer| {
        // The first connection answers once and then dies under the next request.
        let requests = if peer.number == 0 { 1 } else { usize::MAX };
        for _ in 0..requests {
            if peer.request().is_none() {
                return;
            }
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok();
        }
        peer.request();
    });
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let tables = format!("{NONE}\n[route.headers]\nrequest_set = {{ x-a = \"$request_method\" }}");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", &tables));
    let mut client = gate.client();
    client.get("/one");
    client.get("/two");
    let requests = upstream.take_requests();
    let last = requests.last().expect("a request");
    assert_eq!((last.target(), last.headers.only("x-a")), ("/two", Some("GET")));
}

#[test]
fn no_client_gets_a_line_into_a_head() {
    let (gate, upstream) = start(
        r#"[route.headers]
        request_set = { x-a = "$arg_a|$cookie_c|$uri|$http_x_b" }
        response_set = { x-back = "$arg_a|$http_x_b" }"#,
        "",
    );
    let mut client = gate.client();
    let answer = get(
        &mut client,
        "/%0d%0ax-evil:1?a=1%0d%0ax-evil:%201",
        "cookie: c=%0d%0ax-evil:1\r\nx-b: \x7e\tb\r\n",
    );
    assert_eq!(answer.headers.only("x-back"), Some("1%0d%0ax-evil:%201|~\tb"));
    let request = arrived(&upstream);
    assert!(!request.headers.has("x-evil") && !answer.headers.has("x-evil"));
    assert_eq!(
        request.headers.only("x-a"),
        Some("1%0d%0ax-evil:%201|%0d%0ax-evil:1|/%0d%0ax-evil:1|~\tb")
    );
}

#[test]
fn headers_of_an_answer_are_set_and_removed() {
    let (gate, _upstream) = start(
        r#"[route.headers]
        response_remove = ["server", "x-powered-by"]
        [route.headers.response_set]
        strict-transport-security = "max-age=1"
        x-origin = "$http_origin"
        x-status = "$status"
        x-backend = "$backend"
        cache-control = "no-store""#,
        "server: theirs\r\nx-powered-by: a\r\nx-powered-by: b\r\ncache-control: public\r\nx-origin: old\r\n",
    );
    let mut client = gate.client();
    let answer = get(&mut client, "/", "origin: http://o\r\n");
    for (name, value) in [
        ("strict-transport-security", "max-age=1"),
        ("x-origin", "http://o"),
        ("x-status", "200"),
        ("x-backend", "blue"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(answer.headers.only(name), Some(value), "{name}: {answer:?}");
    }
    let answer = get(&mut client, "/", "");
    for name in ["server", "x-powered-by", "x-origin"] {
        assert!(!answer.headers.has(name), "{name}: {answer:?}");
    }
}

#[test]
fn a_path_is_rewritten_and_its_query_kept() {
    let (gate, upstream) =
        start("[route.rewrite]\nstrip_prefix = \"/api\"\nadd_prefix = \"/v2\"", "");
    let mut client = gate.client();
    for (before, after) in [
        ("/api/a%2Fb?c=%20&d", "/v2/a%2Fb?c=%20&d"),
        ("/apix", "/v2/apix"),
        ("/api", "/v2"),
        ("http://App.example:81/api/x?y", "/v2/x?y"),
    ] {
        get(&mut client, before, "");
        assert_eq!(arrived(&upstream).target(), after, "{before}");
    }
    let (gate, upstream) =
        start("[route.rewrite]\nregex = \"^/u/([^/]+)/(.*)$\"\nto = \"/$2/$1\"", "");
    let mut client = gate.client();
    get(&mut client, "/u/me/list?x=1", "");
    assert_eq!(arrived(&upstream).target(), "/list/me?x=1");
    get(&mut client, "/v/me//..%00", "");
    assert_eq!(arrived(&upstream).target(), "/v/me//..%00");
}

#[test]
fn a_path_that_grows_too_long_is_414_and_nobodys_failure() {
    let upstream = Upstream::saying("ok");
    let tables = format!("{NONE}\n[route.rewrite]\nregex = \"^/(.*)$\"\nto = \"/$1/$1\"");
    let setup = Setup::empty()
        .listener("max_header_bytes = \"64KiB\"")
        .backend("blue", upstream.address(), "")
        .route("app", "split = { blue = 100 }", &tables);
    let gate = Gate::start(&setup);
    let mut client = gate.client();
    let answer = get(&mut client, &format!("/{}", "a".repeat(40_000)), "");
    assert_eq!(answer.status(), 414, "{}", answer.text());
    assert!(answer.text().contains("target_too_long"), "{}", answer.text());
    // The connection goes on.
    get(&mut client, "/a", "");
    assert_eq!(arrived(&upstream).target(), "/a/a");
    gate.await_count("tidegate_errors_total", &[("reason", "target_too_long")], 1);
    gate.await_count("tidegate_requests_total", &[("class", "excluded")], 1);
    gate.await_count("tidegate_requests_total", &[("class", "success")], 1);
    for reason in ["internal", "client_gone"] {
        assert!(gate.metric("tidegate_errors_total", &[("reason", reason)]) < 0.5, "{reason}");
    }
}

#[test]
fn a_route_redirects_instead_of_a_split() {
    let upstream = Upstream::saying("ok");
    let setup = Setup::empty()
        .backend("blue", upstream.address(), "")
        .route("app", "split = { blue = 100 }", NONE)
        .route(
            "tls",
            "host = [\"*.example\"]",
            "[route.redirect]\nto = \"https://$host$path_and_query\"\n\
             [route.headers]\nresponse_set = { x-a = \"$uri\" }",
        )
        .route("old", "path = \"~ ^/old/(.*)$\"", "redirect = { to = \"/$1\", status = 301 }");
    let gate = Gate::start(&setup);
    let mut client = gate.client();
    let answer = get(&mut client, "/a\"b\\?c=%0a", "");
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.headers.only("location"), Some("https://app.example/a%22b%5C?c=%0a"));
    assert!(answer.headers.has("x-a") && answer.headers.has("x-request-id"));
    let redirected = |client: &mut Client, path: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: other\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status(), 301, "{answer:?}");
        answer.headers.only("location").expect("an address").to_owned()
    };
    assert_eq!(redirected(&mut client, "/old/x?y"), "/x");
    // Neither form of a host can be smuggled in front.
    assert_eq!(redirected(&mut client, "/old//evil.com"), "/evil.com");
    assert_eq!(redirected(&mut client, "/old/\\evil.com"), "/%5Cevil.com");
    client.send("HEAD /old/x HTTP/1.1\r\nhost: other\r\n\r\n");
    assert_eq!(client.answer_to("HEAD").status(), 301);
    // A host is needed where it is part of the address.
    let mut old = gate.client();
    old.send("GET /old/x HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().status(), 301);
    // The other routes are split as ever; nothing of the above reached them.
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(upstream.take_requests().len(), 1);
}

#[test]
fn a_route_that_redirects_is_shown_and_cannot_be_split_by_hand() {
    let upstream = Upstream::saying("ok");
    let setup = Setup::to(upstream.address());
    let gate = Gate::start(&setup.route("old", "path = \"/old\"", "redirect = { to = \"/\" }"));
    let (split, source) = gate.split_of("old");
    assert_eq!((split.to_string(), source.as_str()), ("{}".to_owned(), "config"));
    assert_eq!(gate.run(&["split", "old", "blue=100"]).code, 65);
    gate.run_ok(&["status"]);
}

#[test]
fn error_pages_stand_in_for_tidegates_own_answers_alone() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 6\r\n\r\ntheirs".to_vec()
    });
    let nobody = Reserved::bind();
    let folder = tempfile::tempdir().unwrap();
    let (not_found, sorry) = (folder.path().join("404.html"), folder.path().join("sorry.json"));
    fs::write(&not_found, "<h1>not here</h1>").unwrap();
    fs::write(&sorry, "{}").unwrap();
    let setup = Setup::empty()
        .backend("blue", upstream.address(), "")
        .backend("dead", nobody.address, "")
        .route("app", "path = \"/a\"\nsplit = { blue = 100 }", NONE)
        .route("gone", "path = \"/dead\"\nsplit = { dead = 100 }", NONE)
        .more(&format!(
            "[error_page]\n404 = {not_found:?}\n\"4xx\" = {sorry:?}\n5xx = {sorry:?}\n"
        ));
    let gate = Gate::start(&setup);
    let mut client = gate.client();
    for (path, status, kind, text) in [
        ("/nowhere", 404, Some("text/html; charset=utf-8"), "<h1>not here</h1>"),
        ("/dead", 502, Some("application/json"), "{}"),
        ("/a", 503, None, "theirs"),
    ] {
        let answer = client.get(path);
        assert_eq!((answer.status(), answer.text().as_str()), (status, text), "{path}");
        assert_eq!(answer.headers.only("content-type"), kind, "{path}");
    }
    let mut broken = gate.client();
    broken.send("GET / HTTP/1.1\r\nhost: a\r\nbad line\r\n\r\n");
    let answer = broken.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (400, "{}"));
    // The files are read with the configuration, and again with it.
    fs::write(&not_found, "<h1>elsewhere</h1>").unwrap();
    assert_eq!(client.get("/nowhere").text(), "<h1>not here</h1>");
    gate.run_ok(&["reload"]);
    assert_eq!(client.get("/nowhere").text(), "<h1>elsewhere</h1>");
    fs::remove_file(&sorry).unwrap();
    let refused = gate.run(&["reload"]);
    assert!(refused.code == 65 && refused.stderr.contains("error_page.5xx"), "{refused:?}");
    assert_eq!(client.get("/dead").text(), "{}");
}

#[test]
fn forwarded_is_written_when_asked_and_continued_for_those_who_are_trusted() {
    let upstream = Upstream::saying("ok");
    for (lines, sent, wanted) in [
        ("", "", None),
        ("forwarded = true", "", Some("for=127.0.0.1;proto=http;host=\"App.example:81\"")),
        (
            "forwarded = true",
            "forwarded: for=1.2.3.4\r\n",
            Some("for=127.0.0.1;proto=http;host=\"App.example:81\""),
        ),
        (
            "forwarded = true\ntrusted_proxies = [\"127.0.0.0/8\"]",
            "forwarded: for=1.2.3.4\r\nx-forwarded-proto: https\r\n",
            Some("for=1.2.3.4, for=127.0.0.1;proto=https;host=\"App.example:81\""),
        ),
    ] {
        let gate = Gate::start(&Setup::to(upstream.address()).listener(lines));
        get(&mut gate.client(), "/", sent);
        assert_eq!(arrived(&upstream).headers.only("forwarded"), wanted, "{lines} {sent}");
    }
}
