//! Commands that go on, and readers who leave before the end.

use std::{
    io::{BufRead as _, BufReader, Read as _, pipe},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::Receiver,
};

use serde_json::Value;

use crate::{
    load::pair,
    support::{
        PATIENCE, eventually,
        gate::{BINARY, Gate, lines_of, send_signal},
        setup::{BY_SID, Setup},
    },
};

/// An operator's command while it runs.
struct Viewer(Child);

impl Viewer {
    fn start(gate: &Gate, arguments: &[&str]) -> Self {
        let child = Command::new(BINARY)
            .args(arguments)
            .env("TIDEGATE_SOCKET", gate.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.expect("the binary starts"))
    }

    fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("a pipe that was not taken before")
    }

    fn wait(&mut self) -> ExitStatus {
        eventually("the command ends", || self.0.try_wait().expect("a child"))
    }

    /// Reads one line, leaves, and lets `more` happen: the command must end well and in silence.
    fn leave_after_a_line(mut self, more: impl FnOnce()) {
        let mut reader = BufReader::new(self.stdout());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{line:?}");
        drop(reader);
        more();
        assert_eq!(self.wait().code(), Some(0));
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn gate() -> Gate {
    let (blue, green) = pair();
    Gate::start(&Setup::blue_green((blue.address, green.address), 10, BY_SID))
}

fn await_event(lines: &Receiver<String>, kind: &str) -> Value {
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no event {kind}"));
        let event: Value = serde_json::from_str(&line).expect("one JSON object a line");
        if event["kind"] == kind {
            return event;
        }
    }
}

#[test]
fn events_are_followed_as_they_happen() {
    let gate = gate();
    gate.run_ok(&["split", "app", "blue=80", "green=20"]);
    let mut viewer = Viewer::start(&gate, &["events", "--follow", "--json"]);
    let lines = lines_of(viewer.stdout());
    let first = await_event(&lines, "split_changed");
    assert_eq!(first["after"]["green"].as_f64(), Some(20.0), "what was before is shown first");
    for percent in [30, 40] {
        let (blue, green) = (format!("blue={}", 100 - percent), format!("green={percent}"));
        gate.run_ok(&["split", "app", &blue, &green]);
        let next = await_event(&lines, "split_changed");
        assert_eq!(next["after"]["green"].as_f64(), Some(f64::from(percent)), "each one once");
    }
    gate.stop();
    assert_eq!(viewer.wait().code(), Some(69), "the proxy has ended");
}

#[test]
fn ctrl_c_ends_a_view_well() {
    let gate = gate();
    for arguments in [&["events", "--follow"][..], &["status", "--watch"]] {
        let mut viewer = Viewer::start(&gate, arguments);
        let lines = lines_of(viewer.stdout());
        lines.recv_timeout(PATIENCE).expect("a line");
        send_signal(viewer.0.id(), "INT");
        assert_eq!(viewer.wait().code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn a_reader_may_leave_at_any_time() {
    let gate = gate();
    Viewer::start(&gate, &["status", "--watch"]).leave_after_a_line(|| {});
    Viewer::start(&gate, &["status", "--watch", "--json"]).leave_after_a_line(|| {});
    Viewer::start(&gate, &["events", "--follow"]).leave_after_a_line(|| {
        gate.run_ok(&["split", "app", "blue=70", "green=30"]);
    });
}

#[test]
fn a_status_is_watched_as_it_changes() {
    let gate = gate();
    let mut viewer = Viewer::start(&gate, &["status", "--watch", "--json"]);
    let lines = lines_of(viewer.stdout());
    let green = || {
        let line = lines.recv_timeout(PATIENCE).expect("a line");
        let status: Value = serde_json::from_str(&line).expect("one JSON object a line");
        status["routes"][0]["split"]["green"].as_f64()
    };
    assert_eq!(green(), Some(10.0));
    gate.run_ok(&["split", "app", "blue=25", "green=75"]);
    eventually("the change is shown", || (green() == Some(75.0)).then_some(()));
}

#[test]
fn a_failure_that_nobody_reads_keeps_its_code() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let status = Command::new(BINARY)
        .args(["status", "--socket", "/nonexistent/admin.sock"])
        .stderr(writer)
        .status();
    assert_eq!(status.unwrap().code(), Some(69));
}

#[test]
fn a_log_that_nobody_reads_hinders_nothing() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let (blue, green) = pair();
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::blue_green((blue.address, green.address), 10, BY_SID);
    std::fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    let gate = Gate::start_by(Command::new(BINARY), folder, |command| {
        command.stderr(writer);
    });
    gate.run_ok(&["split", "app", "blue=70", "green=30"]);
    assert_eq!(gate.client().get("/").status(), 200);
    gate.stop();
}
