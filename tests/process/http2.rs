//! HTTP/2 by programs of others: curl, nghttp, h2load, a WebSocket of other libraries, and gRPC's own client and server.

use std::process::Command;

use crate::{
    python::Script,
    support::{
        eventually,
        gate::Gate,
        setup::{NONE, Setup},
        tls::Authority,
        upstream::{Upstream, ok},
    },
};

fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "60"])
        .arg("--http2-prior-knowledge")
        .args(arguments)
        .output()
        .expect("curl is installed by `make setup`");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

#[test]
fn curl_speaks_http_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let data: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&file, &data).unwrap();
    let upstream = Upstream::echoing();
    let gate = Gate::start(&Setup::to(upstream.address()));
    let url = format!("http://{}/a?b=c", gate.address());
    assert_eq!(curl(&["--write-out", "%{http_version}", &url]), b"2");
    assert_eq!(curl(&["--head", "--output", "/dev/null", &url]), b"");
    let body = format!("@{}", file.display());
    for extra in [&[][..], &["-H", "content-length:"], &["-H", "expect: 100-continue"]] {
        let arguments = [&["--data-binary", body.as_str(), url.as_str()][..], extra].concat();
        assert!(curl(&arguments) == data, "{extra:?}: not what was sent");
    }
}

#[test]
fn h2load_loses_no_request() {
    let upstream = Upstream::answering(|_| ok("hello"));
    let gate = Gate::start(&Setup::to(upstream.address()).process("workers = 2"));
    let url = format!("http://{}/", gate.address());
    let output = Command::new("h2load")
        .args(["-n", "4000", "-c", "8", "-m", "16", &url])
        .output()
        .expect("h2load is installed by `make setup`");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    assert!(told.contains("4000 2xx"), "{told}");
}

#[test]
fn nghttp_and_h2load_speak_it_under_tls() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let upstream = Upstream::echoing();
    let gate = Gate::start(&Setup::to(upstream.address()).listener(&authority.certificate("own")));
    let url = format!("https://localhost:{}/a", gate.address().port());
    let file = authority.folder().join("file");
    let data: Vec<u8> = (0..700_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&file, &data).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg(&url).output();
        let output = output.expect("nghttp2-client is installed by `make setup`");
        assert!(output.status.success(), "{program}: {output:?}");
        output.stdout
    };
    assert!(run("nghttp", &["-d", file.to_str().unwrap()]) == data, "not what was sent");
    let told = run("nghttp", &["-n", "-v"]);
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("negotiated protocol: h2") && told.contains(":status: 200"), "{told}");
    let told = run("h2load", &["-n", "2000", "-c", "8", "-m", "16"]);
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    assert!(told.contains("Application protocol: h2"), "{told}");
}

#[test]
fn websockets_pass_over_streams() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let (_server, address) = Script::echo_server("blue");
    let setup = Setup::to(address).listener("").listener(&authority.certificate("own"));
    let gate = Gate::start(&setup);
    let [plain, https] = [0, 1].map(|at| gate.addresses[at].port());
    for (url, trusted) in [
        (format!("ws://127.0.0.1:{plain}/chat"), None),
        (format!("wss://localhost:{https}/chat"), Some(authority.path("ca.pem"))),
    ] {
        let mut client = Script::client_of_http_2(&url, trusted.as_deref());
        for round in 0..10 {
            assert_eq!(client.ask(&format!("hello {round}")), format!("blue hello {round}"));
        }
        assert_eq!(client.ask("big"), (8 * 1024 * 1024).to_string(), "{url}");
        assert_eq!(client.ask("close"), "closed 1000", "{url}");
    }
}

/// A gate before one gRPC server, and a client of it.
fn grpc() -> (Script, Gate, Script) {
    let (server, address) = Script::grpc_server("blue");
    let setup = Setup::empty().backend("blue", address, "protocol = \"h2\"").route(
        "app",
        "path = \"/test.Echo\"\nsplit = { blue = 100 }",
        NONE,
    );
    let gate = Gate::start(&setup);
    let client = Script::grpc_client(&gate.address().to_string());
    (server, gate, client)
}

fn counted(gate: &Gate, class: &str) -> f64 {
    gate.metric("tidegate_requests_total", &[("class", class)])
}

fn await_counted(gate: &Gate, class: &str, count: f64) {
    eventually(class, || (counted(gate, class) >= count).then_some(()));
    assert!((counted(gate, class) - count).abs() < 0.5, "{class}: {}", counted(gate, class));
}

#[test]
fn grpc_calls_of_every_kind_pass() {
    let (_server, gate, mut client) = grpc();
    assert_eq!(client.ask("unary hello"), "blue hello 5");
    assert_eq!(client.ask("large"), "3000005");
    assert_eq!(client.ask("count 5"), "0 1 2 3 4");
    assert_eq!(client.ask("collect a b c"), "a b c");
    assert_eq!(client.ask("echo a b c"), "blue a, blue b, blue c");
    await_counted(&gate, "success", 5.0);
    await_counted(&gate, "failure", 0.0);
}

#[test]
fn grpc_calls_count_by_their_own_status() {
    let (_server, gate, mut client) = grpc();
    let of_the_call = ["INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED"];
    for code in of_the_call {
        assert_eq!(client.ask(&format!("fail {code}")), format!("{code}: blue says {code}"));
    }
    await_counted(&gate, "success", 4.0);
    for code in ["UNAVAILABLE", "INTERNAL", "UNKNOWN", "DATA_LOSS"] {
        assert_eq!(client.ask(&format!("fail {code}")), format!("{code}: blue says {code}"));
    }
    assert!(client.ask("missing x").starts_with("UNIMPLEMENTED: "));
    await_counted(&gate, "failure", 5.0);
    await_counted(&gate, "success", 4.0);
}

#[test]
fn grpc_calls_that_are_given_up_end_at_the_server() {
    let (server, gate, mut client) = grpc();
    assert!(client.ask("deadline 0.5").starts_with("DEADLINE_EXCEEDED: "));
    assert_eq!((server.line(), server.line()), ("waiting".into(), "cancelled".into()));
    assert_eq!(client.ask("begin"), "begun");
    assert_eq!(server.line(), "waiting");
    assert_eq!(client.ask("cancel"), "True");
    assert_eq!(server.line(), "cancelled");
    await_counted(&gate, "excluded", 2.0);
    assert_eq!(client.ask("unary still"), "blue still 5");
}

#[test]
fn grpc_clients_understand_tidegates_own_answers() {
    let (server, gate, mut client) = grpc();
    assert_eq!(client.ask("unary hello"), "blue hello 5");
    drop(server);
    eventually("the backend is found unreachable", || {
        client.ask("unary hello").starts_with("UNAVAILABLE: the endpoint").then_some(())
    });
    gate.replace_config(&Setup::empty().backend("blue", gate.address(), "").route(
        "app",
        "path = \"/other\"\nsplit = { blue = 100 }",
        NONE,
    ));
    gate.run_ok(&["reload"]);
    assert_eq!(client.ask("unary hello"), "UNIMPLEMENTED: no route serves this host and path");
}

#[test]
fn requests_share_a_connection_to_an_endpoint_of_http_2() {
    let upstream = Upstream::saying("inner");
    let inner = Gate::start(&Setup::to(upstream.address()));
    let outer =
        Gate::start(&Setup::empty().backend("blue", inner.address(), "protocol = \"h2\"").route(
            "app",
            "split = { blue = 100 }",
            NONE,
        ));
    let url = format!("http://{}/", outer.address());
    let output = Command::new("h2load")
        .args(["-n", "2000", "-c", "4", "-m", "8", &url])
        .output()
        .expect("h2load is installed by `make setup`");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("2000 2xx"), "{told}");
    // One a worker: whoever comes while it is being opened waits for it.
    let open = inner.metric("tidegate_connections", &[]);
    assert!((open - 1.0).abs() < 0.5, "{open} connections");
    assert_eq!(outer.client().get("/").text(), "inner");
}

/// What curl says of a connection under TLS to `address`.
fn version_over_tls(gate: &Gate, offered: &str) -> Vec<u8> {
    let port = gate.address().port();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "60", offered])
        // Who is believed is tested elsewhere.
        .args(["--insecure", "--write-out", " %{http_version}"])
        .args(["--resolve", &format!("app.example:{port}:127.0.0.1")])
        .arg(format!("https://app.example:{port}/"))
        .output()
        .expect("curl is installed by `make setup`");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn a_handshake_agrees_on_the_version_on_both_sides() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let upstream = Upstream::answering(|request| {
        ok(&format!("{} {}", request.target(), request.headers.all("x-forwarded-proto").join("+")))
    });
    let behind_tls = |protocols: &str| {
        let lines = format!("protocols = {protocols}\n{}", authority.certificate("app"));
        Gate::start(&Setup::to(upstream.address()).listener(&lines))
    };
    let both = behind_tls("[\"http/1.1\", \"h2\"]");
    assert_eq!(version_over_tls(&both, "--http2"), b"/ https 2");
    assert_eq!(version_over_tls(&both, "--http1.1"), b"/ https 1.1");
    let old = behind_tls("[\"http/1.1\"]");
    assert_eq!(version_over_tls(&old, "--http2"), b"/ https 1.1");
    let before = |inner: &Gate, protocol: &str| {
        let (ca, protocol) = (authority.path("ca.pem"), format!("protocol = \"{protocol}\""));
        let tls = format!(
            "health_check = {{ path = \"/health\", interval = \"20s\", timeout = \"20s\" }}\n\
             [backend.blue.tls]\nca = \"{ca}\"\nserver_name = \"app.example\""
        );
        let setup = Setup::empty()
            .backend("blue", inner.address(), &format!("{protocol}\n{tls}"))
            .route("app", "split = { blue = 100 }", NONE);
        Gate::start(&setup)
    };
    for (inner, protocol, status) in [
        (&both, "http/1.1", 200),
        (&both, "h2", 200),
        (&both, "auto", 200),
        (&old, "auto", 200),
        (&old, "h2", 502),
    ] {
        upstream.take_requests();
        let gate = before(inner, protocol);
        let answer = gate.client().get("/");
        assert_eq!(answer.status(), status, "{protocol}: {}", answer.text());
        assert_is_well(&gate, &upstream, status == 200, protocol);
    }
}

/// A check speaks what requests speak: else an endpoint that serves them well would be taken for a dead one.
fn assert_is_well(gate: &Gate, upstream: &Upstream, well: bool, protocol: &str) {
    let state = eventually("a check has its answer", || {
        let status = gate.admin_json("/v1/status");
        let state = status["backends"][0]["endpoints"][0].clone();
        let asked = upstream.log().targets().contains(&"/health");
        (asked || state["state"] == "unhealthy").then_some(state)
    });
    assert_eq!(state["state"] == "ready", well, "{protocol}: {state}");
}

#[test]
fn a_check_of_an_endpoint_that_speaks_nothing_but_http_2_does_too() {
    let upstream = Upstream::saying("inner");
    let inner = Gate::start(&Setup::to(upstream.address()).listener("protocols = [\"h2\"]"));
    let lines = "protocol = \"h2\"\n\
                 health_check = { path = \"/health\", host = \"app.example\", interval = \"20s\", timeout = \"20s\" }";
    let setup = Setup::empty().backend("blue", inner.address(), lines);
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    assert_is_well(&gate, &upstream, true, "h2");
    let asked = upstream.take_requests().remove(0);
    assert_eq!(asked.headers.only("host"), Some("app.example"));
}
