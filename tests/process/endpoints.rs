//! Endpoints that fail: clients do not see it, and operators do.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use serde_json::Value;

use crate::{
    mortal::Mortal,
    rollout::{QUICK, await_phase, event, steps},
    support::{
        client::Client,
        eventually,
        gate::Gate,
        relay::UnixRelay,
        setup::{NONE, Setup},
        upstream::Upstream,
    },
};

/// One backend of these endpoints, and route `app` to it.
fn one_backend(servers: &[&Mortal], lines: &str) -> Setup {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let setup = Setup::empty().backend_of("blue", &addresses, lines);
    setup.route("app", "split = { blue = 100 }", NONE)
}

/// What status says of an endpoint.
fn state(gate: &Gate, server: &Mortal) -> Value {
    let status = gate.admin_json("/v1/status");
    let backends = status["backends"].as_array().expect("backends").iter();
    let mut endpoints = backends.flat_map(|b| b["endpoints"].as_array().expect("endpoints"));
    let address = server.address.to_string();
    endpoints.find(|known| known["address"] == address.as_str()).expect("its endpoint").clone()
}

fn await_state(gate: &Gate, server: &Mortal, wanted: &str) -> Value {
    eventually(wanted, || {
        let found = state(gate, server);
        (found["state"] == wanted).then_some(found)
    })
}

/// Sends so many requests one after the other; all must be answered with 200.
fn ask(gate: &Gate, times: usize) {
    let mut client = gate.client();
    (0..times).for_each(|_| assert_eq!(client.get("/").status(), 200));
}

/// Clients that send GETs without a pause, and remember what was no 200.
struct Crowd {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Crowd {
    fn start(gate: &Gate, clients: usize) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = |_| {
            let (stop, answered, address) = (stop.clone(), answered.clone(), gate.address());
            std::thread::spawn(move || {
                let (mut client, mut faults) = (Client::connect(address), Vec::new());
                while !stop.load(SeqCst) {
                    match client.try_get("/", "") {
                        Ok(answer) if answer.status() == 200 => {}
                        Ok(answer) => faults.push(answer.text()),
                        Err(broken) => {
                            faults.push(broken);
                            client = Client::connect(address);
                        }
                    }
                    answered.fetch_add(1, SeqCst);
                }
                faults
            })
        };
        let threads = (0..clients).map(client).collect();
        Self { stop, answered, threads }
    }

    /// Waits until so many more requests have been answered.
    fn wait_for(&self, more: u64) {
        let wanted = self.answered.load(SeqCst) + more;
        eventually("requests", || (self.answered.load(SeqCst) >= wanted).then_some(()));
    }

    fn finish(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("a client")).collect()
    }
}

/// Three endpoints, of which one dies and comes back again and again, each time for a hundred requests or more.
fn one_of_three_dies_and_returns(lines: &str) -> Gate {
    const DEATHS: u32 = 20;
    let (mut mortal, second, third) = (Mortal::start(), Mortal::start(), Mortal::start());
    let gate = Gate::start(&one_backend(&[&mortal, &second, &third], lines));
    let crowd = Crowd::start(&gate, 4);
    for _ in 0..DEATHS {
        crowd.wait_for(100);
        mortal.kill();
        crowd.wait_for(100);
        mortal.restart();
    }
    let faults = crowd.finish();
    assert!(faults.is_empty(), "{} clients saw a failure: {:?}", faults.len(), &faults[..1]);
    assert!(gate.metric("tidegate_retries_total", &[]) > 0.0);
    gate
}

#[test]
fn no_client_sees_one_of_three_endpoints_die_with_the_defaults() {
    let gate = one_of_three_dies_and_returns("");
    assert!(gate.metric("tidegate_requests_total", &[("class", "failure")]) > 0.0);
}

#[test]
fn no_client_sees_it_when_the_endpoint_is_tried_again_every_second() {
    let gate = one_of_three_dies_and_returns(
        "ejection = { consecutive_failures = 2, base_time = \"500ms\", max_time = \"1s\", slow_start = \"off\" }",
    );
    assert!(gate.metric("tidegate_endpoint_ejections_total", &[("result", "ejected")]) > 0.0);
}

#[test]
fn an_unhealthy_endpoint_gets_nothing_until_it_is_well_again() {
    let (one, two) = (Mortal::start(), Mortal::start());
    one.say(503);
    let check = "ejection = { slow_start = \"off\" }\n[backend.blue.health_check]\npath = \"/health\"\n\
                 interval = \"1s\"\nhealthy_after = 1\nunhealthy_after = 2";
    let setup = one_backend(&[&one, &two], check);
    let gate = Gate::start(&setup);
    // The first result decides at once.
    let found = await_state(&gate, &one, "unhealthy");
    assert_eq!(found["detail"], "GET /health gives 503, not 200-399");
    let shown = gate.run_ok(&["status"]);
    assert!(shown.contains("unhealthy") && shown.contains("gives 503"), "{shown}");
    let address = one.address.to_string();
    assert!(gate.metric("tidegate_endpoint_healthy", &[("endpoint", &address)]) < 0.5);
    ask(&gate, 50);
    gate.replace_config(&setup.route("other", "path = \"/other\"\nsplit = { blue = 100 }", NONE));
    gate.run_ok(&["reload"]);
    assert_eq!(state(&gate, &one)["state"], "unhealthy", "a reload keeps what is known");
    ask(&gate, 50);
    one.say(404);
    eventually("the reason is that of the last check", || {
        (state(&gate, &one)["detail"] == "GET /health gives 404, not 200-399").then_some(())
    });
    one.say(200);
    await_state(&gate, &one, "ready");
    one.say(503);
    await_state(&gate, &one, "unhealthy");
    let told = |kind: &str| gate.events().iter().filter(|event| event["kind"] == kind).count();
    eventually("the events", || (told("endpoint_unhealthy") == 2).then_some(()));
    assert_eq!(told("endpoint_healthy"), 1);
}

#[test]
fn a_backend_whose_checks_all_fail_is_tried_all_the_same() {
    let one = Mortal::start();
    one.say(404);
    let gate = Gate::start(&one_backend(&[&one], "health_check = { path = \"/nowhere\" }"));
    await_state(&gate, &one, "unhealthy");
    let told = eventually("the event", || event(&gate, "backend_unusable"));
    assert_eq!(told["subject"], "blue");
    assert_eq!(gate.client().get("/").status(), 404, "the application's own answer");
}

#[test]
fn a_canary_that_is_not_well_leaves_its_requests_to_the_baseline_for_as_long_as_it_may() {
    let (blue, green) = (Mortal::start(), Mortal::start());
    green.say(404);
    let setup = Setup::empty().backend("blue", blue.address, "");
    let setup = setup.backend("green", green.address, "health_check = { path = \"/health\" }");
    let fallback = format!("{NONE}\n[route.fallback]\non = [\"connect\"]\nbudget = \"0.01%\"");
    let setup = setup.route("app", "split = { blue = 0, green = 100 }", &fallback);
    let gate = Gate::start(&setup.rollout(&format!("{QUICK}{}", steps(&[100], "1h", ""))));
    await_state(&gate, &green, "unhealthy");
    let mut client = gate.client();
    let statuses: Vec<_> = (0..12).map(|_| client.get("/").status()).collect();
    // Ten fallbacks are there from the beginning. After them an answer of the canary's own is better than none.
    assert_eq!((&statuses[..10], &statuses[10..]), (&[200; 10][..], &[404; 2][..]));
    gate.await_count("tidegate_fallbacks_total", &[("from", "green")], 10);
}

#[test]
fn a_canary_that_is_down_is_rolled_back_without_a_single_request() {
    let (blue, mut green) = (Mortal::start(), Mortal::start());
    let plan = format!(
        "{QUICK}{}[[rollout.app.rollback]]\nwhen = \"healthy_endpoints < 1\"\nfor = \"0s\"\n",
        steps(&[10], "1h", "")
    );
    let check = "health_check = { interval = \"1s\", unhealthy_after = 1 }";
    let setup = Setup::empty().backend("blue", blue.address, "");
    let setup = setup.backend("green", green.address, check);
    let gate =
        Gate::start(&setup.route("app", "split = { blue = 100, green = 0 }", NONE).rollout(&plan));
    gate.run_ok(&["start", "app", "--reason", "release 7"]);
    await_phase(&gate, "baking");
    green.kill();
    await_phase(&gate, "rolled_back");
    let tried = gate.metric("tidegate_requests_total", &[("backend", "green")]);
    assert!(tried < 0.5, "nobody had to find out");
}

#[test]
fn an_ejected_endpoint_is_shown_and_comes_back_by_itself() {
    let (one, two) = (Mortal::start(), Mortal::start());
    let rules = |base| {
        format!(
            "balance = \"round_robin\"\n[backend.blue.ejection]\nconsecutive_failures = 3\n\
             base_time = \"{base}\"\nslow_start = \"off\""
        )
    };
    let gate = Gate::start(&one_backend(&[&one, &two], &rules("5m")));
    one.say(500);
    let mut client = gate.client();
    (0..6).for_each(|_| drop(client.get("/")));
    let found = await_state(&gate, &one, "ejected");
    assert!(
        found["detail"].as_str().is_some_and(|text| text.starts_with("for another")),
        "{found}"
    );
    assert!(gate.run_ok(&["status"]).contains("ejected"));
    let before = one.answered();
    ask(&gate, 50);
    assert_eq!(one.answered(), before);
    let told = eventually("the event", || event(&gate, "endpoint_ejected"));
    assert!(told["message"].as_str().is_some_and(|text| text.contains("3 failures in a row")));

    gate.run_ok(&["endpoint", "blue", &one.address.to_string(), "ready"]);
    assert_eq!(state(&gate, &one)["state"], "ready", "an operator knows better");
    (0..20).for_each(|_| drop(client.get("/")));
    await_state(&gate, &one, "ejected");

    // The last one stays, and it is said what would have been.
    two.say(500);
    (0..3).for_each(|_| drop(client.get("/")));
    let told = eventually("the event", || event(&gate, "ejection_withheld"));
    assert_eq!(told["subject"], format!("blue/{}", two.address));
    gate.await_count("tidegate_endpoint_ejections_total", &[("result", "withheld")], 1);

    let gate = Gate::start(&one_backend(&[&one, &two], &rules("300ms")));
    two.say(200);
    let mut client = gate.client();
    (0..6).for_each(|_| drop(client.get("/")));
    eventually("it was out", || event(&gate, "endpoint_ejected"));
    one.say(200);
    eventually("it is back", || event(&gate, "endpoint_readmitted"));
    let before = one.answered();
    eventually("it is asked again", || {
        ask(&gate, 10);
        (one.answered() > before).then_some(())
    });
}

#[test]
fn an_endpoint_starts_slowly_only_beside_another() {
    let (one, two) = (Mortal::start(), Mortal::start());
    let gate = Gate::start(&one_backend(&[&one, &two], "ejection = { slow_start = \"1h\" }"));
    let [first, second] = [&one, &two].map(|server| server.address.to_string());
    let set = |address: &str, verb: &str| gate.run_ok(&["endpoint", "blue", address, verb]);
    set(&first, "drain");
    set(&first, "ready");
    let slow = state(&gate, &one)["detail"].clone();
    assert!(slow.as_str().is_some_and(|text| text.starts_with("starts slowly, full share in")));
    set(&second, "drain");
    assert_eq!(state(&gate, &one)["detail"], Value::Null);
    let before = one.answered();
    ask(&gate, 20);
    assert_eq!(one.answered() - before, 20, "alone it gets all");
}

/// A folder for sockets, and an upstream behind the one named `app.sock`.
fn behind_a_socket(upstream: &Upstream) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let relay = UnixRelay::bind(&folder.path().join("app.sock"), upstream.address());
    (folder, relay.address())
}

/// What status says of the endpoint at `address`.
fn state_at(gate: &Gate, address: &str) -> Value {
    let status = gate.admin_json("/v1/status");
    let endpoints = status["backends"][0]["endpoints"].as_array().expect("endpoints").clone();
    endpoints.into_iter().find(|known| known["address"] == address).expect("its endpoint")
}

#[test]
fn an_endpoint_on_a_unix_socket_is_checked_and_drained_by_its_name() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let (folder, address) = behind_a_socket(&one);
    let lines = "[backend.blue.health_check]\npath = \"/health\"\ninterval = \"1s\"\n\
                 unhealthy_after = 1\nhealthy_after = 1\n[backend.blue.ejection]\nslow_start = \"off\"";
    let endpoints = [address.clone(), two.address().to_string()];
    let setup = Setup::empty().backend_of("blue", &endpoints, lines);
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    let explained = gate.run_ok(&["check", "-c", gate.config_path().to_str().unwrap()]);
    assert!(explained.contains(&address), "{explained}");
    one.wait_until("a check", |log| log.targets().contains(&"/health"));
    let check = one.take_requests().remove(0);
    assert_eq!(check.headers.only("host"), Some("localhost"));

    let told = gate.run_ok(&["endpoint", "blue", &address, "drain", "--reason", "disk"]);
    assert!(told.starts_with(&format!("blue/{address} takes no new requests")), "{told}");
    assert!(gate.run_ok(&["status"]).contains(&format!("{address}  drained")));
    let mut client = gate.client();
    (0..20).for_each(|_| assert_eq!(client.get("/").text(), "two"));
    let drained = eventually("the event", || event(&gate, "endpoint_drained"));
    assert_eq!(drained["subject"], format!("blue/{address}"));
    gate.run_ok(&["endpoint", "blue", &address, "ready"]);
    eventually("it is asked again", || (client.get("/").text() == "one").then_some(()));

    // Unhealthy once its file is gone, and back with it.
    let path = folder.path().join("app.sock");
    std::fs::rename(&path, folder.path().join("aside")).unwrap();
    let found = eventually("it is found out", || {
        let found = state_at(&gate, &address);
        (found["state"] == "unhealthy").then_some(found)
    });
    assert!(found["detail"].as_str().unwrap().contains("No such file"), "{found}");
    std::fs::rename(folder.path().join("aside"), &path).unwrap();
    eventually("it is well again", || {
        (state_at(&gate, &address)["state"] == "ready").then_some(())
    });
}

#[test]
fn a_check_that_only_connects_does_so_at_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let address = format!("unix:{}", path.display());
    let check = "health_check = { interval = \"1s\", unhealthy_after = 1, healthy_after = 1 }";
    let setup = Setup::empty().backend("blue", &address, check);
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    let await_at = |wanted: &str| {
        eventually(wanted, || (state_at(&gate, &address)["state"] == wanted).then_some(()));
    };
    await_at("unhealthy");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    await_at("ready");
    drop(listener);
    await_at("unhealthy");
}

#[test]
fn a_name_is_resolved_before_it_is_asked_for() {
    let one = Mortal::start();
    let name = format!("localhost:{}", one.address.port());
    let backend = format!(
        "[backend.named]\nendpoints = [\"{name}\", \"nowhere.invalid:1\"]\nresolve_every = \"50ms\"\n"
    );
    let setup = Setup::empty().route("app", "split = { named = 100 }", NONE);
    let gate = Gate::start(&setup.more(&backend));
    // The other name has no address: that costs one retry at most, and is told once.
    ask(&gate, 50);
    eventually("the event", || event(&gate, "resolve_failed"));
    let failures = gate.events().iter().filter(|event| event["kind"] == "resolve_failed").count();
    assert_eq!(failures, 1);
}
