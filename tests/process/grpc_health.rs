//! Health checks by gRPC's own protocol, against the standard server of another library.

use serde_json::Value;

use crate::{
    python::Script,
    rollout::event,
    support::{
        eventually,
        gate::Gate,
        setup::{NONE, Setup},
        tls::Authority,
    },
};

const CHECK: &str = "interval = \"1s\"\nunhealthy_after = 1\nhealthy_after = 1";

/// To endpoints that are asked about `service`; empty: about the whole server.
fn setup(address: &str, service: &str) -> Setup {
    let check = format!(
        "protocol = \"h2\"\n[backend.blue.health_check]\nkind = \"grpc\"\nservice = \"{service}\"\n{CHECK}"
    );
    Setup::empty().backend("blue", address, &check).route("app", "split = { blue = 100 }", NONE)
}

fn endpoint(gate: &Gate) -> Value {
    gate.admin_json("/v1/status")["backends"][0]["endpoints"][0].clone()
}

fn await_state(gate: &Gate, wanted: &str) -> Value {
    eventually(wanted, || Some(endpoint(gate)).filter(|found| found["state"] == wanted))
}

#[test]
fn an_endpoint_goes_and_comes_by_its_own_word() {
    let (mut server, address) = Script::grpc_health_server("127.0.0.1:0");
    assert_eq!(server.ask("- NOT_SERVING"), "set");
    let gate = Gate::start(&setup(&address, ""));
    let found = await_state(&gate, "unhealthy");
    assert_eq!(found["detail"], "the server is NOT_SERVING");
    assert!(gate.metric("tidegate_endpoint_healthy", &[("endpoint", &address)]) < 0.5);
    let explained = gate.run_ok(&["check", "-c", gate.config_path().to_str().unwrap()]);
    assert!(explained.contains("gRPC health is SERVING"), "{explained}");

    server.ask("- SERVING");
    await_state(&gate, "ready");
    let back = eventually("the event", || event(&gate, "endpoint_healthy"));
    assert_eq!(back["message"], "takes requests again: the server is SERVING");
    for status in ["UNKNOWN", "SERVICE_UNKNOWN"] {
        server.ask(&format!("- {status}"));
        let found = await_state(&gate, "unhealthy");
        assert_eq!(found["detail"], format!("the server is {status}, not SERVING"));
        server.ask("- SERVING");
        await_state(&gate, "ready");
    }
    drop(server);
    let found = await_state(&gate, "unhealthy");
    assert!(found["detail"].as_str().unwrap().contains("refused"), "{found}");
}

#[test]
fn one_service_is_asked_about_by_its_name() {
    let (mut server, address) = Script::grpc_health_server("127.0.0.1:0");
    server.ask("- SERVING");
    let gate = Gate::start(&setup(&address, "shop.Cart"));
    let found = await_state(&gate, "unhealthy");
    assert_eq!(found["detail"], "grpc-status 5 (NOT_FOUND) for service shop.Cart");
    server.ask("shop.Cart SERVING");
    await_state(&gate, "ready");
    server.ask("shop.Cart NOT_SERVING");
    let found = await_state(&gate, "unhealthy");
    assert_eq!(found["detail"], "service shop.Cart is NOT_SERVING");
}

#[test]
fn a_server_on_a_unix_socket_is_asked_there() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("grpc.sock").display());
    let (mut server, said) = Script::grpc_health_server(&address);
    assert_eq!(said, address);
    server.ask("- NOT_SERVING");
    let gate = Gate::start(&setup(&address, ""));
    await_state(&gate, "unhealthy");
    server.ask("- SERVING");
    await_state(&gate, "ready");
}

#[test]
fn a_server_under_tls_is_asked_over_the_version_that_the_handshake_agrees_on() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let (mut server, address) = Script::grpc_health_server("127.0.0.1:0");
    let inner = |protocols: &str| {
        let lines = format!("protocols = {protocols}\n{}", authority.certificate("app"));
        let setup = Setup::empty().backend("grpc", &address, "protocol = \"h2\"");
        Gate::start(&setup.route("app", "split = { grpc = 100 }", NONE).listener(&lines))
    };
    let ca = authority.path("ca.pem");
    let tls = format!("[backend.blue.tls]\nca = \"{ca}\"\nserver_name = \"app.example\"");
    let before = |inner: &Gate, protocol: &str| {
        let lines = format!(
            "protocol = \"{protocol}\"\n[backend.blue.health_check]\nkind = \"grpc\"\n{CHECK}\n{tls}"
        );
        let setup = Setup::empty().backend("blue", inner.address(), &lines);
        Gate::start(&setup.route("app", "split = { blue = 100 }", NONE))
    };
    let both = inner("[\"http/1.1\", \"h2\"]");
    server.ask("- NOT_SERVING");
    let gates = ["h2", "auto"].map(|protocol| before(&both, protocol));
    for gate in &gates {
        assert_eq!(await_state(gate, "unhealthy")["detail"], "the server is NOT_SERVING");
    }
    server.ask("- SERVING");
    gates.iter().for_each(|gate| drop(await_state(gate, "ready")));

    let old = inner("[\"http/1.1\"]");
    let found = await_state(&before(&old, "auto"), "unhealthy");
    assert_eq!(found["detail"], "it does not speak HTTP/2 over TLS");
}
