//! Clients that were written by others: curl, and a WebSocket library.

use std::process::Command;

use crate::{
    python::Script,
    support::{
        gate::Gate,
        setup::{NONE, Setup},
        upstream::{Upstream, ok},
    },
};

/// Runs curl, which must succeed, and gives its output.
fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "60"])
        .args(arguments)
        .output()
        .expect("curl is installed by `make setup`");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

#[test]
fn curl_gets_posts_and_keeps_its_connection() {
    let upstream = Upstream::answering(|request| {
        ok(&format!(
            "{} {}",
            request.first_line.split(' ').next().unwrap_or_default(),
            request.body.len()
        ))
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let url = format!("http://{}/a?b=c", gate.address());
    assert_eq!(curl(&[&url]), b"GET 0");
    assert_eq!(curl(&["--data", "hello", &url]), b"POST 5");
    assert_eq!(curl(&["--http1.0", &url]), b"GET 0");
    assert_eq!(
        curl(&["--write-out", " %{num_connects} ", &url, &url, &url]),
        b"GET 0 1 GET 0 0 GET 0 0 "
    );
}

#[test]
fn curl_sends_a_large_file_in_each_framing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let data: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&file, &data).unwrap();
    let upstream = Upstream::echoing();
    let gate = Gate::start(&Setup::to(upstream.address()));
    let url = format!("http://{}/", gate.address());
    let body = format!("@{}", file.display());
    for extra in [&[][..], &["-H", "transfer-encoding: chunked"], &["-H", "expect: 100-continue"]] {
        let arguments = [&["--data-binary", body.as_str(), url.as_str()][..], extra].concat();
        assert!(curl(&arguments) == data, "{extra:?}: not what was sent");
    }
}

#[test]
fn websockets_pass() {
    let (_server, address) = Script::echo_server("blue");
    let gate = Gate::start(&Setup::to(address));
    let mut client = Script::client(&format!("ws://{}/chat", gate.address()));
    for round in 0..10 {
        assert_eq!(client.ask(&format!("hello {round}")), format!("blue hello {round}"));
    }
    assert_eq!(client.ask("big"), (8 * 1024 * 1024).to_string());
    assert_eq!(client.ask("close"), "closed 1000");
}

#[test]
fn websockets_outlive_reloads_of_other_routes_and_changes_of_weight() {
    let (_blue, blue) = Script::echo_server("blue");
    let (_green, green) = Script::echo_server("green");
    let other = Upstream::saying("other");
    let base = Setup::blue_green((blue, green), 0, NONE).backend("other", other.address(), "");
    let with_other = |path: &str| {
        let lines = format!("path = \"{path}\"\nsplit = {{ other = 100 }}");
        base.clone().route("other", &lines, NONE)
    };
    let gate = Gate::start(&with_other("/other"));
    let url = format!("ws://{}/chat", gate.address());
    let mut old = Script::client(&url);
    assert_eq!(old.ask("one"), "blue one");
    for round in 0..10 {
        gate.replace_config(&with_other(&format!("/other{round}")));
        gate.run_ok(&["reload"]);
        assert_eq!(old.ask("still"), "blue still", "after reload {round}");
    }
    gate.replace_config(&base);
    gate.run_ok(&["reload"]);
    assert_eq!(old.ask("still"), "blue still", "after the other route has gone");
    gate.run_ok(&["split", "app", "blue=0", "green=100"]);
    let mut new = Script::client(&url);
    assert_eq!((new.ask("two"), old.ask("two")), ("green two".into(), "blue two".into()));
    assert_eq!((new.ask("close"), old.ask("close")), ("closed 1000".into(), "closed 1000".into()));
}
