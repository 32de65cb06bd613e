//! The demo: the first thing that a new user runs.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
};

use crate::support::{
    PATIENCE, eventually,
    gate::{BINARY, lines_of},
};

/// A running demo, with temporary files in a folder of the test's own. It is killed when the value is dropped.
struct Demo {
    child: Child,
    lines: Receiver<String>,
}

impl Demo {
    fn start(arguments: &[&str], temporary: &Path) -> Self {
        let mut child = Command::new(BINARY)
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    /// The first line from now on that `fits`.
    fn line(&self, fits: impl Fn(&str) -> bool) -> String {
        let wait = || self.lines.recv_timeout(PATIENCE).expect("the line does not come");
        std::iter::repeat_with(wait).find(|line| fits(line)).expect("lines without end")
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status();
        assert!(sent.expect("a shell").success(), "{name} could not be sent");
    }

    fn wait(&mut self) -> Option<i32> {
        eventually("the demo ends", || self.child.try_wait().expect("a child")).code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

#[test]
fn the_proof_of_a_demo_holds_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&["--once"], temporary.path());
    let last = demo.line(|line| line.ends_with("requests failed; wanted 0"));
    assert!(last.starts_with("ok    0 of "), "{last}");
    assert_eq!(demo.wait(), Some(0));
    assert!(is_empty(temporary.path()), "the demo left something behind");
}

#[test]
fn a_demo_is_steered_from_a_second_terminal_and_ends_on_a_signal() {
    for signal in ["INT", "TERM"] {
        let temporary = tempfile::tempdir().unwrap();
        let mut demo = Demo::start(&[], temporary.path());
        let shown = demo.line(|line| line.starts_with("change the split: "));
        demo.line(|line| line.contains("wanted 90.0%/10.0%"));
        let (_, command) = shown.split_once(": ").unwrap();
        let command = command.replace("blue=50 green=50", "blue=0 green=100");
        let status = Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).status();
        assert!(status.expect("a shell").success(), "{command}");
        demo.line(|line| line.contains("wanted 0.0%/100.0%  seen 0.0%/100.0%"));
        demo.signal(signal);
        let last = demo.line(|line| line.ends_with(" failed"));
        assert!(last.ends_with("requests, 0 failed"), "{last}");
        assert_eq!(demo.wait(), Some(0), "after {signal}");
        assert!(is_empty(temporary.path()), "the demo left something behind");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(BINARY)
        .args(["demo", "--once", "--port", &port])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(71));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
    assert!(is_empty(temporary.path()), "the demo left something behind");
}
