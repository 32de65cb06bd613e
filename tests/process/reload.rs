//! A changed configuration: found, checked, and applied whole or not at all.

use std::{fs, os::unix::fs::symlink};

use crate::support::{
    client::Client,
    eventually,
    gate::{Gate, run_with},
    setup::{NONE, Setup},
    upstream::{Reserved, Upstream, ok},
};

fn to(upstream: &Upstream, path: &str) -> Setup {
    let lines = format!("split = {{ blue = 100 }}\npath = \"{path}\"");
    Setup::empty().backend("blue", upstream.address(), "").route("app", &lines, NONE)
}

fn await_status(gate: &Gate, path: &str, status: u16) {
    eventually("the change is applied", || {
        (gate.client().get(path).status() == status).then_some(())
    });
}

#[test]
fn a_file_that_is_replaced_is_applied() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&to(&upstream, "/old"));
    for round in 0..3 {
        let path = format!("/new{round}");
        gate.replace_config(&to(&upstream, &path));
        await_status(&gate, &path, 200);
        assert_eq!(gate.client().get("/old").status(), 404);
    }
}

#[test]
fn what_is_odd_about_a_file_is_in_the_log_at_the_start_and_at_a_reload() {
    let upstream = Upstream::saying("blue");
    let with = |unused: &str| to(&upstream, "/").backend(unused, upstream.address(), "");
    let await_warning = |gate: &Gate, unused: &str| {
        let warning = format!("backend {unused}: no route uses it");
        eventually("the warning", || gate.log().contains(&warning).then_some(()));
    };
    let gate = Gate::start(&with("spare"));
    await_warning(&gate, "spare");
    gate.replace_config(&with("other"));
    await_warning(&gate, "other");
}

#[test]
fn a_file_that_is_written_in_place_is_applied() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&to(&upstream, "/old"));
    fs::write(gate.config_path(), to(&upstream, "/new").text(gate.folder())).unwrap();
    await_status(&gate, "/new", 200);
}

#[test]
fn a_swapped_symbolic_link_is_applied() {
    // As Kubernetes mounts a ConfigMap: the file is a link through `..data`, which is a link to a folder with a date.
    let upstream = Upstream::saying("blue");
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str, setup: &Setup| {
        let dated = folder.path().join(name);
        fs::create_dir(&dated).unwrap();
        fs::write(dated.join("tidegate.toml"), setup.text(folder.path())).unwrap();
        symlink(name, folder.path().join("..data.new")).unwrap();
        fs::rename(folder.path().join("..data.new"), folder.path().join("..data")).unwrap();
    };
    place("..2026_01", &to(&upstream, "/old"));
    symlink("..data/tidegate.toml", folder.path().join("tidegate.toml")).unwrap();
    let root = folder.path().to_owned();
    let gate = Gate::start_as_it_is(folder);
    assert_eq!(gate.client().get("/old").status(), 200);
    let dated = root.join("..2026_02");
    fs::create_dir(&dated).unwrap();
    fs::write(dated.join("tidegate.toml"), to(&upstream, "/new").text(&root)).unwrap();
    symlink("..2026_02", root.join("..data.new")).unwrap();
    fs::rename(root.join("..data.new"), root.join("..data")).unwrap();
    await_status(&gate, "/new", 200);
}

#[test]
fn hup_applies_the_file() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&to(&upstream, "/old"));
    gate.replace_config(&to(&upstream, "/new"));
    gate.signal("HUP");
    await_status(&gate, "/new", 200);
}

#[test]
fn a_reload_says_what_it_did() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&to(&upstream, "/old"));
    let reload = || -> serde_json::Value {
        serde_json::from_slice(&gate.admin("POST", "/v1/reload", "").body).unwrap()
    };
    assert_eq!(reload()["outcome"], "unchanged");
    let loaded = || gate.admin_json("/v1/status")["config"].clone();
    let before = loaded();
    gate.replace_config(&to(&upstream, "/new"));
    // The watcher may have been faster.
    assert!(matches!(reload()["outcome"].as_str(), Some("applied" | "unchanged")));
    assert_ne!(loaded()["hash"], before["hash"]);
    assert_eq!(gate.client().get("/new").status(), 200);
}

#[test]
fn a_faulty_file_changes_nothing() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&to(&upstream, "/app"));
    let faulty =
        to(&upstream, "/new").route("bad", "split = { blue = 50, nowhere = 40 }\ncolour = 1", NONE);
    gate.replace_config(&faulty);
    let answer = gate.admin("POST", "/v1/reload", "");
    let text = answer.text();
    assert!(text.contains("rejected") || answer.status() == 422, "{text}");
    assert!(text.contains("nowhere") && text.contains("colour"), "all faults at once: {text}");
    let ran = gate.run(&["reload"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("tidegate: "), "{ran:?}");
    assert_eq!(gate.client().get("/app").status(), 200);
    assert_eq!(gate.client().get("/new").status(), 404);
    assert!(gate.metric("tidegate_config_last_reload_successful", &[]) < 0.5);
    let last = gate.admin_json("/v1/status")["config"]["last_reload"]["outcome"].clone();
    assert_eq!(last, "rejected");

    gate.replace_config(&to(&upstream, "/new"));
    gate.run_ok(&["reload"]);
    assert_eq!(gate.client().get("/new").status(), 200);
    assert!(gate.metric("tidegate_config_last_reload_successful", &[]) > 0.5);
}

#[test]
fn listeners_come_and_go() {
    let upstream = Upstream::saying("blue");
    let reserved = Reserved::bind();
    let extra = reserved.address;
    let base = to(&upstream, "/").listener("");
    let gate = Gate::start(&base);
    let mut kept = gate.client();
    assert_eq!(kept.get("/").status(), 200);

    gate.replace_config(&base.clone().listener(&format!("bind = \"{extra}\"")));
    gate.run_ok(&["reload"]);
    let mut on_extra = Client::connect(extra);
    assert_eq!(on_extra.get("/").status(), 200);

    gate.replace_config(&base);
    gate.run_ok(&["reload"]);
    eventually("the listener is closed", || Client::try_connect(extra).err());
    assert_eq!(kept.get("/").status(), 200, "a connection of the listener that stays");
}

#[test]
fn a_listener_that_goes_answers_what_it_took() {
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let released = std::sync::Mutex::new(released);
    let upstream = Upstream::answering(move |request| {
        if request.target() == "/hold" {
            released.lock().unwrap().recv().ok();
        }
        ok("blue")
    });
    let reserved = Reserved::bind();
    let base = to(&upstream, "/").listener("");
    let gate = Gate::start(&base.clone().listener(&format!("bind = \"{}\"", reserved.address)));
    let mut idle = Client::connect(reserved.address);
    assert_eq!(idle.get("/").status(), 200);
    let mut held = Client::connect(reserved.address);
    held.send("GET /hold HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_until("the request arrives", |log| log.requests.len() == 2);
    gate.replace_config(&base);
    gate.run_ok(&["reload"]);
    eventually("the listener is closed", || Client::try_connect(reserved.address).err());
    release.send(()).unwrap();
    let answer = held.answer();
    assert_eq!((answer.status(), answer.headers.only("connection")), (200, Some("close")));
    held.assert_closed();
    // Its next request may cross the close, so an idle connection is either served to its end or closed in silence.
    if let Ok(last) = idle.try_get("/", "") {
        assert_eq!((last.status(), last.headers.only("connection")), (200, Some("close")));
    }
    idle.assert_closed();
}

#[test]
fn counters_go_on_over_a_reload() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&to(&upstream, "/"));
    let await_count = |count| {
        gate.await_count("tidegate_requests_total", &[("route", "app")], count);
    };
    for round in 1..=5 {
        assert_eq!(gate.client().get("/").status(), 200);
        await_count(round);
        let other = format!("path = \"/other{round}\"\nsplit = {{ blue = 100 }}");
        gate.replace_config(&to(&upstream, "/").route(&format!("other{round}"), &other, NONE));
        gate.run_ok(&["reload"]);
        await_count(round);
        assert_eq!(gate.client().get(&format!("/other{round}")).status(), 200);
    }
    let text = gate.admin("GET", "/metrics", "").text();
    assert!(text.contains("other5") && !text.contains("other4"), "series go with their route");
}

#[test]
fn a_listener_that_cannot_be_bound_rejects_the_whole_file() {
    let upstream = Upstream::saying("blue");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let gate = Gate::start(&to(&upstream, "/old"));
    let both = to(&upstream, "/new").listener("").listener(&format!("bind = \"{address}\""));
    gate.replace_config(&both);
    let ran = gate.run(&["reload"]);
    assert_eq!(ran.code, 65, "{ran:?}");
    assert!(ran.stderr.contains(&address), "{ran:?}");
    assert_eq!(gate.client().get("/old").status(), 200);
    assert_eq!(gate.client().get("/new").status(), 404);

    drop(taken);
    gate.run_ok(&["reload"]);
    assert_eq!(gate.client().get("/new").status(), 200);
}

#[test]
fn the_level_of_the_log_and_the_time_for_a_drain_follow_the_file() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.until_closed();
    });
    let quiet = to(&upstream, "/").log("level = \"error\"");
    let mut gate = Gate::start(&quiet.process("shutdown_timeout = \"1h\""));
    assert!(!gate.log().contains("started"), "{}", gate.log());
    gate.replace_config(
        &to(&upstream, "/").log("level = \"info\"").process("shutdown_timeout = \"100ms\""),
    );
    let said = gate.run_ok(&["reload"]);
    assert!(!said.contains("restart"), "{said}");
    eventually("the log speaks", || {
        gate.run_ok(&["reload"]);
        gate.log().contains("reload_").then_some(())
    });
    let mut held = gate.client();
    held.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_until("the request arrives", |log| log.requests.len() == 1);
    gate.signal("TERM");
    gate.wait();
}

#[test]
fn values_come_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    let text = "[[listener]]\nbind = \"${BIND:-127.0.0.1:0}\"\n[backend.blue]\n\
                endpoints = [\"${UPSTREAM}\"]\n[[route]]\nname = \"app\"\nsplit = { blue = 100 }\n";
    fs::write(&file, text).unwrap();
    let check = ["check", "-c", file.to_str().unwrap()];
    assert_eq!(run_with(&check, &[("UPSTREAM", "127.0.0.1:9001")]).code, 0);
    let missing = run_with(&check, &[]);
    assert_eq!(missing.code, 78, "{missing:?}");
    assert!(missing.stderr.contains("UPSTREAM"), "{missing:?}");
}
