//! What never comes to an end: a log that nobody reads, a key that nobody writes.

use std::{
    fs,
    io::{self, Write as _},
    process::Command,
};

use crate::support::{
    gate::{BINARY, Gate, run_with},
    setup::{NONE, Setup},
    upstream::Upstream,
};

/// Of the 65 536 bytes that a pipe holds, all but a few lines.
const ALMOST_A_PIPE: usize = 65_000;

#[test]
fn a_log_that_nobody_reads_holds_up_neither_operators_nor_the_end() {
    let upstream = Upstream::saying("blue");
    let setup = Setup::to(upstream.address());
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    let (unread, mut log) = io::pipe().unwrap();
    log.write_all(&vec![b'\n'; ALMOST_A_PIPE]).unwrap();
    let mut gate = Gate::start_by(Command::new(BINARY), folder, |command| {
        command.stderr(log);
    });
    for turn in 0..50 {
        assert!(gate.run_ok(&["reload"]).contains("unchanged"), "reload {turn}");
    }
    assert_eq!(gate.client().get("/").status(), 200);
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    drop(unread);
}

#[test]
fn a_pipe_in_the_place_of_a_key_is_refused_at_once() {
    let upstream = Upstream::saying("blue");
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    let pipe = gate.folder().join("key");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let signed = format!("[route.affinity]\nby = \"cookie\"\nsecret_file = {pipe:?}");
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    gate.replace_config(&setup.clone().route("app", "split = { blue = 100 }", &signed));
    let refused = gate.run(&["reload"]);
    assert_eq!(refused.code, 65, "{refused:?}");
    assert!(refused.stderr.contains("not a regular file"), "{refused:?}");
    let config = gate.config_path();
    let checked = run_with(&["check", "-c", config.to_str().unwrap()], &[]);
    assert_eq!(checked.code, 78, "{checked:?}");
    assert!(checked.stderr.contains("not a regular file"), "{checked:?}");

    gate.replace_config(&setup.route("app", "split = { blue = 100 }", NONE));
    gate.run_ok(&["reload"]);
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_token_that_cannot_be_had_is_a_faulty_configuration() {
    let upstream = Upstream::saying("blue");
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let admin = format!("listen = \"127.0.0.1:0\"\ntoken_file = {token:?}");
    let setup = Setup::to(upstream.address()).admin(&admin);
    let config = folder.path().join("tidegate.toml");
    fs::write(&config, setup.text(folder.path())).unwrap();
    for command in ["check", "run"] {
        let ran = run_with(&[command, "-c", config.to_str().unwrap()], &[]);
        assert_eq!(ran.code, 78, "{command}: {ran:?}");
        assert!(ran.stderr.contains("admin.token_file"), "{command}: {ran:?}");
    }
}
