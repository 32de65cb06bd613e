//! The command line as scripts see it: output, and exit codes.

use std::{fs, net::TcpListener, os::unix::net::UnixListener};

use crate::{
    load::pair,
    support::{
        gate::{Gate, Ran, run_with},
        setup::{BY_SID, Setup},
        upstream::Upstream,
    },
};

/// Checks a file with this text.
fn check(text: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, text).unwrap();
    run_with(&["check", "-c", file.to_str().unwrap()], &[])
}

fn setup_text() -> String {
    let setup = Setup::blue_green(
        ("127.0.0.1:9001".parse().unwrap(), "127.0.0.1:9002".parse().unwrap()),
        10,
        BY_SID,
    );
    setup.text("/tmp".as_ref())
}

#[test]
fn a_good_file_is_explained() {
    let ran = check(&setup_text());
    assert_eq!(ran.code, 0, "{ran:?}");
    for word in ["app", "blue", "green", "90", "10"] {
        assert!(ran.stdout.contains(word), "{word} in {}", ran.stdout);
    }
}

#[test]
fn all_faults_of_a_file_are_shown_with_their_places() {
    let ran = check(
        &(setup_text()
            + "split = { blue = 10 }\ncolour = \"red\"\n[backend.x]\nendpoints = [\"nowhere\"]\n"),
    );
    assert_eq!(ran.code, 78, "{ran:?}");
    let text =
        setup_text().replace("blue = 90", "blue = 80").replace("workers = 1", "workers = \"many\"");
    let ran = check(&(text + "[backend.x]\nendpoints = [\"nowhere\"]\ncolour = \"red\"\n"));
    assert_eq!(ran.code, 78, "{ran:?}");
    for part in ["tidegate.toml:2:", "workers", "nowhere", "colour", "route[0].split", "90"] {
        assert!(ran.stderr.contains(part), "{part} in {}", ran.stderr);
    }
}

#[test]
fn a_file_that_is_missing_or_no_toml_is_78() {
    assert_eq!(check("[backend").code, 78);
    let ran = run_with(&["check", "-c", "/nonexistent/tidegate.toml"], &[]);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.starts_with("tidegate: "), "{ran:?}");
    assert_eq!(run_with(&["run", "-c", "/nonexistent/tidegate.toml"], &[]).code, 78);
}

#[test]
fn an_address_in_use_is_71() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidegate.toml");
    let setup = Setup::to("127.0.0.1:9001".parse().unwrap());
    let setup = setup.listener(&format!("bind = \"{}\"", taken.local_addr().unwrap()));
    fs::write(&file, setup.text(folder.path())).unwrap();
    let ran = run_with(&["run", "-c", file.to_str().unwrap()], &[]);
    assert_eq!(ran.code, 71, "{ran:?}");
    assert!(ran.stderr.contains(&taken.local_addr().unwrap().to_string()), "{ran:?}");
}

#[test]
fn a_second_process_does_not_take_the_admin_socket() {
    let upstream = Upstream::saying("blue");
    let setup = Setup::to(upstream.address());
    let gate = Gate::start(&setup);
    let file = gate.folder().join("second.toml");
    let text = setup.text(gate.folder()).replace("tidegate.db", "second.db");
    fs::write(&file, text).unwrap();
    let ran = run_with(&["run", "-c", file.to_str().unwrap()], &[]);
    assert_eq!(ran.code, 71, "{ran:?}");
    assert!(ran.stderr.contains("admin.sock"), "{ran:?}");
    assert_eq!(gate.run(&["status"]).code, 0, "the first one still answers");
}

#[test]
fn the_schema_is_json_and_names_the_keys() {
    let ran = run_with(&["schema"], &[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let schema: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    for key in ["process", "admin", "state", "log", "listener", "backend", "route"] {
        assert!(schema["properties"].get(key).is_some(), "{key} is not in the schema");
    }
}

#[test]
fn completions_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run_with(&["completions", shell], &[]);
        assert!(ran.code == 0 && ran.stdout.contains("tidegate"), "{shell}: {ran:?}");
    }
}

#[test]
fn without_a_proxy_operators_get_69() {
    for arguments in [&["status"][..], &["split", "app", "blue=100"], &["events"], &["reload"]] {
        let ran = run_with(arguments, &[("TIDEGATE_SOCKET", "/nonexistent/admin.sock")]);
        assert_eq!(ran.code, 69, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.starts_with("tidegate: "), "{ran:?}");
    }
}

#[test]
fn status_is_readable_by_people_and_programs() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID));
    let text = gate.run_ok(&["status"]);
    for word in ["app", "blue", "green", "90", "10"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&gate.run_ok(&["status", "--json"])).unwrap();
    assert_eq!(json["routes"][0]["name"], "app");
    assert_eq!(json["routes"][0]["source"], "config");
    assert_eq!(json["routes"][0]["split"]["green"].as_f64(), Some(10.0));
    let endpoints = json["backends"][0]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1);
    assert!(json["uptime_s"].is_number() && json["version"].is_string(), "{json}");
    let socket = gate.socket();
    let named = run_with(&["status", "--socket", socket.to_str().unwrap()], &[]);
    assert_eq!(named.code, 0, "{named:?}");
}

#[test]
fn a_split_that_makes_no_sense_is_refused_and_changes_nothing() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID));
    for arguments in [
        &["split", "app", "blue=50", "green=40"][..],
        &["split", "app", "blue=50", "red=50"],
        &["split", "nowhere", "blue=50", "green=50"],
        &["split", "app", "blue=50", "blue=50"],
        &["split", "app", "blue=-10", "green=110"],
        &["split", "app", "blue=33.333", "green=66.667"],
        &["split", "app", "blue=x", "green=50"],
        &["split", "app", "blue"],
    ] {
        let ran = gate.run(arguments);
        assert_eq!(ran.code, 65, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.starts_with("tidegate: ") && ran.stdout.is_empty(), "{ran:?}");
    }
    let (split, source) = gate.split_of("app");
    assert_eq!((split["green"].as_f64(), source.as_str()), (Some(10.0), "config"));
}

#[test]
fn an_endpoint_that_does_not_exist_is_65() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let address = upstream.address().to_string();
    assert_eq!(gate.run(&["endpoint", "red", &address, "drain"]).code, 65);
    assert_eq!(gate.run(&["endpoint", "blue", "127.0.0.1:1", "drain"]).code, 65);
    assert_eq!(gate.run(&["endpoint", "blue", &address, "drain"]).code, 0);
}

#[test]
fn the_audit_trail_says_who_did_what() {
    let (blue, green) = pair();
    let gate = Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID));
    gate.run_ok(&["split", "app", "blue=75", "green=25"]);
    let output = gate.run_ok(&["events", "--json"]);
    let events: Vec<serde_json::Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let change = events.iter().find(|event| event["kind"] == "split_changed").expect("an event");
    let user = std::os::unix::fs::MetadataExt::uid(&fs::metadata(gate.folder()).unwrap());
    let actor = change["actor"].as_str().unwrap();
    assert!(actor.contains(&user.to_string()), "{actor} does not name user {user}");
    let weight = |side: &str| change[side]["green"].as_f64();
    assert_eq!((weight("before"), weight("after")), (Some(10.0), Some(25.0)));
    assert!(change["id"].is_u64(), "{change}");
    let text = gate.run_ok(&["events"]);
    assert!(text.contains("split_changed") && text.contains("app"), "{text}");
}

#[test]
fn a_proxy_that_never_answers_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let ran = run_with(&["status", "--socket", socket.to_str().unwrap()], &[]);
    assert_eq!(ran.code, 69, "{ran:?}");
    assert!(ran.stderr.contains("not answered within 5 s"), "{ran:?}");
}
