//! What never comes to an end: a log that nobody reads, a key that nobody writes.

use std::{
    fs,
    io::{self, Write as _},
    process::Command,
};

use crate::support::{
    eventually,
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
fn an_access_log_into_a_pipe_that_nobody_reads_is_refused_at_once() {
    let upstream = Upstream::saying("blue");
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let to_pipe = format!("[log.access]\npath = {pipe:?}");
    let config = folder.path().join("tidegate.toml");
    let setup = Setup::to(upstream.address());
    fs::write(&config, setup.clone().log(&to_pipe).text(folder.path())).unwrap();
    let config = config.to_str().unwrap();
    let ran = run_with(&["run", "-c", config], &[]);
    assert_eq!(ran.code, 71, "{ran:?}");
    assert!(ran.stderr.contains("a named pipe that nobody reads"), "{ran:?}");
    let checked = run_with(&["check", "-c", config], &[]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let warned = format!("{}{}", checked.stdout, checked.stderr);
    assert!(warned.contains("is a named pipe"), "{checked:?}");

    // By a reload it stays where it was, and goes on.
    let file = folder.path().join("access.log");
    let to_file = format!("[log.access]\npath = {file:?}\nformat = \"$uri\"");
    let mut gate = Gate::start_in(folder, &setup.clone().log(&to_file));
    gate.replace_config(&setup.clone().log(&to_pipe));
    gate.run_ok(&["reload"]);
    eventually("it is said", || gate.log().contains("that nobody reads").then_some(()));
    gate.client().get("/one");
    eventually("a line", || fs::read_to_string(&file).ok()?.contains("/one").then_some(()));

    // What can never be one is refused whole.
    let folder_as_log = format!("[log.access]\npath = {:?}", gate.folder());
    gate.replace_config(&setup.log(&folder_as_log));
    let refused = gate.run(&["reload"]);
    assert_eq!(refused.code, 65, "{refused:?}");
    assert!(refused.stderr.contains("log.access.path: "), "{refused:?}");
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
