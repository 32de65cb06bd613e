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

/// Plays a scenario to its end, which must be as it should; gives what was printed.
fn play(scenario: &str) -> Vec<String> {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&["--scenario", scenario, "--once"], temporary.path());
    let lines: Vec<_> = demo.lines.iter().collect();
    assert_eq!(demo.wait(), Some(0), "{lines:#?}");
    assert!(is_empty(temporary.path()), "the demo left something behind");
    lines
}

fn says(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.starts_with("ok ") && line.contains(text))
}

#[test]
fn a_healthy_green_is_promoted_and_each_step_fits_its_weight() {
    let lines = play("healthy");
    assert!(says(&lines, "at 90/10 green saw "), "{lines:#?}");
    assert!(says(&lines, "at 50/50 green saw "), "{lines:#?}");
    assert!(says(&lines, "ended promoted"), "{lines:#?}");
    assert!(says(&lines, "requests failed; wanted 0"), "{lines:#?}");
}

#[test]
fn a_green_that_fails_is_taken_out() {
    for scenario in ["errors", "down"] {
        let lines = play(scenario);
        assert!(says(&lines, "ended rolled_back"), "{lines:#?}");
        assert!(says(&lines, "afterwards green saw 0 sessions"), "{lines:#?}");
    }
}

#[test]
fn a_green_that_is_slow_is_taken_out_without_an_error() {
    let lines = play("slow");
    assert!(says(&lines, "ended rolled_back"), "{lines:#?}");
    assert!(says(&lines, "requests failed; wanted 0"), "{lines:#?}");
}

#[test]
fn what_fallback_hides_from_clients_it_does_not_hide_from_the_judge() {
    let lines = play("masked");
    assert!(says(&lines, "ended rolled_back"), "{lines:#?}");
    assert!(says(&lines, "requests failed; wanted 0"), "{lines:#?}");
}

#[test]
fn a_rollout_waits_for_traffic() {
    let lines = play("thin");
    assert!(says(&lines, "it is holding"), "{lines:#?}");
    assert!(says(&lines, "ended promoted"), "{lines:#?}");
}

#[test]
fn a_demo_is_steered_from_a_second_terminal_and_ends_on_a_signal() {
    for signal in ["INT", "TERM"] {
        let temporary = tempfile::tempdir().unwrap();
        let mut demo = Demo::start(&[], temporary.path());
        let shown = demo.line(|line| line.starts_with("turn back by hand: "));
        demo.line(|line| line.contains("wanted 90.0%/10.0%"));
        let (_, command) = shown.split_once(": ").unwrap();
        let status = Command::new("sh").args(["-c", command]).stdout(Stdio::null()).status();
        assert!(status.expect("a shell").success(), "{command}");
        demo.line(|line| line.contains("wanted 100.0%/0.0%") && line.contains("rolled_back"));
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
