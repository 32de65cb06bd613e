//! The admin API: its shape, and who may do what over TCP.

use std::{fs, net::SocketAddr};

use serde_json::Value;

use crate::{
    load::{Lean, pair},
    support::{
        admin::over_tcp,
        gate::Gate,
        setup::{BY_SID, Setup},
        upstream::{Reserved, Upstream},
    },
};

const EVEN: &str = "{\"blue\": 50, \"green\": 50}";

/// A gate with an admin listener over TCP, and its address.
fn gate_with_tcp(sides: &(Lean, Lean), lines: &str) -> (Gate, SocketAddr) {
    // The ready line does not name it, so it is chosen here.
    let reserved = Reserved::bind();
    let address = reserved.address;
    let setup = Setup::blue_green((sides.0.address, sides.1.address), 10, BY_SID);
    let setup = setup.admin(&format!("listen = \"{address}\"\n{lines}"));
    (Gate::start(&setup), address)
}

#[test]
fn over_tcp_it_is_read_only_without_a_token() {
    let sides = pair();
    let (gate, address) = gate_with_tcp(&sides, "");
    let host = format!("host: {address}\r\n");
    for path in ["/v1/status", "/metrics", "/healthz", "/readyz", "/v1/events", "/openapi.json"] {
        assert_eq!(over_tcp(address, "GET", path, &host, "").status(), 200, "{path}");
    }
    for (method, path, body) in [
        ("PUT", "/v1/routes/app/split", EVEN),
        ("POST", "/v1/reload", ""),
        ("POST", "/v1/backends/blue/endpoints/127.0.0.1:1/drain", ""),
    ] {
        let answer = over_tcp(address, method, path, &host, body);
        assert!(matches!(answer.status(), 401 | 403 | 405), "{path}: {}", answer.first_line);
    }
    assert_eq!(gate.split_of("app").1, "config");
}

#[test]
fn over_tcp_a_token_allows_writes() {
    let sides = pair();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "correct-horse\n").unwrap();
    let (gate, address) = gate_with_tcp(&sides, &format!("token_file = \"{}\"", file.display()));
    let put = |token: &str| {
        let lines = format!("host: {address}\r\n{token}");
        over_tcp(address, "PUT", "/v1/routes/app/split", &lines, EVEN).status()
    };
    for wrong in [
        "",
        "authorization: Bearer correct-hors\r\n",
        "authorization: Bearer correct-horse-\r\n",
        "authorization: Bearer \r\n",
        "authorization: Basic correct-horse\r\n",
    ] {
        assert!(matches!(put(wrong), 401 | 403), "{wrong:?}");
    }
    assert_eq!(gate.split_of("app").1, "config");
    assert_eq!(put("authorization: Bearer correct-horse\r\n"), 200);
    assert_eq!(gate.split_of("app").1, "admin");
}

#[test]
fn over_tcp_a_name_of_the_attackers_is_refused() {
    // A page whose name was made to point at 127.0.0.1 reaches the listener, but cannot choose the Host line.
    let sides = pair();
    let (_gate, address) = gate_with_tcp(&sides, "");
    let port = address.port();
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1.evil.example", ""] {
        let answer = over_tcp(address, "GET", "/v1/status", &format!("host: {host}\r\n"), "");
        assert!(matches!(answer.status(), 400 | 403 | 421), "{host:?}: {}", answer.first_line);
        assert!(!answer.text().contains("routes"), "{host:?} got the status");
    }
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
        let answer = over_tcp(address, "GET", "/v1/status", &format!("host: {host}\r\n"), "");
        assert_eq!(answer.status(), 200, "{host}");
    }
}

#[test]
fn the_api_is_not_reachable_through_the_proxy() {
    let upstream = Upstream::saying("the application");
    let gate = Gate::start(&Setup::to(upstream.address()));
    for path in ["/v1/status", "/metrics", "/healthz"] {
        assert_eq!(gate.client().get(path).text(), "the application", "{path}");
    }
}

#[test]
fn a_write_is_answered_when_it_has_taken_effect() {
    let (blue, green) = pair();
    let setup = Setup::blue_green((blue.address, green.address), 0, BY_SID);
    let gate = Gate::start(&setup.process("workers = 2"));
    let mut clients: Vec<_> = (0..8).map(|_| gate.client()).collect();
    for round in 0..50 {
        let (side, percent) = if round % 2 == 0 { ("green", 100) } else { ("blue", 0) };
        let body = format!("{{\"blue\": {}, \"green\": {percent}}}", 100 - percent);
        let answer = gate.admin("PUT", "/v1/routes/app/split", &body);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        for client in &mut clients {
            assert_eq!(client.get("/").text(), side, "round {round}");
        }
    }
}

#[test]
fn errors_have_one_shape() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID));
    for (method, path, body, status) in [
        ("GET", "/v1/nothing", "", 404),
        ("PUT", "/v1/routes/nowhere/split", EVEN, 404),
        ("PUT", "/v1/routes/app/split", "{\"blue\": 50, \"green\": 40, \"red\": 1}", 422),
        ("PUT", "/v1/routes/app/split", "{", 400),
        ("DELETE", "/v1/status", "", 405),
    ] {
        let answer = gate.admin(method, path, body);
        let fits = answer.status() == status || (status == 400 && answer.status() == 422);
        assert!(fits, "{method} {path}: {}", answer.first_line);
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let error = &json["error"];
        assert!(error["code"].is_string() && error["message"].is_string(), "{path}: {json}");
        assert!(error["details"].is_array(), "{path}: {json}");
    }
    let answer =
        gate.admin("PUT", "/v1/routes/app/split", "{\"blue\": 50, \"green\": 40, \"red\": 1}");
    assert!(answer.text().contains("red"), "all faults at once: {}", answer.text());
}

#[test]
fn the_metrics_of_the_contract_are_there() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 50, BY_SID));
    for key in 0..20 {
        let answer = gate.client().try_get("/", &crate::load::sid(key)).unwrap();
        assert_eq!(answer.status(), 200);
    }
    let text = gate.admin("GET", "/metrics", "").text();
    for name in [
        "tidegate_requests_total",
        "tidegate_responses_total",
        "tidegate_request_duration_seconds",
        "tidegate_first_byte_seconds",
        "tidegate_split_weight",
        "tidegate_endpoint_healthy",
        "tidegate_endpoint_in_flight",
        "tidegate_connections",
        "tidegate_config_last_reload_successful",
        "tidegate_config_last_reload_success_timestamp_seconds",
        "tidegate_overflow_total",
        "tidegate_build_info",
        "process_resident_memory_bytes",
    ] {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} has no type");
    }
    for (backend, upstream) in [("blue", &blue), ("green", &green)] {
        let labels = [("backend", backend), ("class", "success")];
        gate.await_count("tidegate_requests_total", &labels, upstream.answered());
    }
    gate.await_count("tidegate_request_duration_seconds_count", &[("route", "app")], 20);
    let weight = gate.metric("tidegate_split_weight", &[("route", "app"), ("backend", "green")]);
    assert!((weight - 0.5).abs() < 1e-9, "{weight}");
}

#[test]
fn the_socket_has_the_mode_that_was_asked_for() {
    use std::os::unix::fs::PermissionsExt as _;
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()).admin("socket_mode = \"0600\""));
    let mode = fs::metadata(gate.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
