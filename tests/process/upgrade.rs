//! A new binary takes over while clients are served, and one that cannot leaves everything as it was.

use std::{
    fs, io,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    load::{Lean, Load, pair},
    load_http2::{LoadHttp2, SocketHttp2},
    python::Script,
    rollout::{QUICK, await_phase, event, rollout, setup, steps},
    state::green_percent,
    support::{
        eventually,
        gate::{BINARY, Gate, send_signal},
        setup::Setup,
        upstream::Upstream,
    },
};

/// A gate and the processes that followed it; none outlives the test.
pub(crate) struct Line {
    pub(crate) gate: Gate,
    serving: u32,
    known: Vec<u32>,
    /// When the newest failure was that was meant to be. Not its number: what the failed successor told may come before it once
    /// its events are read.
    failures: Option<u64>,
}

impl Line {
    pub(crate) fn of(gate: Gate) -> Self {
        let serving = gate.process_id();
        Self { gate, serving, known: Vec::new(), failures: None }
    }

    /// Has the present process replaced, and waits until its successor answers operators.
    pub(crate) fn upgrade(&mut self) {
        send_signal(self.serving, "USR2");
        let before = self.serving;
        self.serving = eventually("a successor answers", || {
            let serving = self.serving_now()?;
            let failed = if serving == before { event(&self.gate, "upgrade_failed") } else { None };
            let failures_before = self.failures;
            let is_new = |failed: &Value| failed["at_ms"].as_u64() > failures_before;
            if let Some(failed) = failed.filter(is_new) {
                panic!("{failed}");
            }
            (serving != before).then_some(serving)
        });
        self.known.push(self.serving);
    }

    fn serving_now(&self) -> Option<u32> {
        Some(self.gate.admin_json("/v1/status")["process_id"].as_u64()? as u32)
    }

    fn await_failure(&mut self) -> String {
        let failed = eventually("the upgrade has failed", || event(&self.gate, "upgrade_failed"));
        assert_eq!(self.serving_now(), Some(self.serving));
        self.failures = failed["at_ms"].as_u64();
        failed["message"].as_str().unwrap().to_owned()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        for id in &self.known {
            // Those that have ended have nothing to be sent.
            Command::new("sh")
                .args(["-c", "kill -9 \"$0\" 2>/dev/null", &id.to_string()])
                .status()
                .ok();
        }
    }
}

fn is_alive(process_id: u32) -> bool {
    // A zombie has no memory any more.
    let status = fs::read_to_string(format!("/proc/{process_id}/status")).unwrap_or_default();
    status.contains("VmRSS")
}

/// Starts a copy of the binary, which a test may replace.
fn start_copy(setup: &Setup) -> (Gate, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tidegate");
    fs::copy(BINARY, &copy).unwrap();
    fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    (Gate::start_by(Command::new(&copy), folder, |_| {}), copy)
}

fn replace_by_script(binary: &Path, script: &str) {
    let aside = binary.with_extension("new");
    fs::write(&aside, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(aside, binary).unwrap();
}

#[test]
fn ten_upgrades_in_a_row_under_load_fail_no_request() {
    const UPGRADES: usize = 10;
    let upstream = Lean::saying("blue");
    let (_server, echo) = Script::echo_server("echo");
    let setup = Setup::empty()
        .backend("blue", upstream.address, "")
        .backend("chat", echo, "")
        .route("chat", "path = \"/chat\"\nsplit = { chat = 100 }", crate::support::setup::NONE)
        .route("app", "split = { blue = 100 }", crate::support::setup::NONE)
        .process("workers = 2\nshutdown_timeout = \"1h\"");
    let mut line = Line::of(Gate::start(&setup));
    let mut socket = Script::client(&format!("ws://{}/chat", line.gate.address()));
    assert_eq!(socket.ask("one"), "echo one");
    let mut stream = SocketHttp2::open(line.gate.address(), "/chat");
    assert_eq!(stream.ask("one"), "echo one");
    let load = Load::start(line.gate.address());
    let http2 = LoadHttp2::start(line.gate.address());
    for _ in 0..UPGRADES {
        let seen = upstream.answered();
        line.upgrade();
        eventually("traffic goes on", || (upstream.answered() > seen + 200).then_some(()));
    }
    assert!(load.finish() > 0);
    let http2 = http2.finish();
    // Each process sends away whoever is connected to it.
    assert!(http2.answered > 200 && http2.sent_away >= UPGRADES as u64, "{http2:?}");
    assert_eq!(socket.ask("two"), "echo two", "its process drains, and is not over");
    assert_eq!(stream.ask("two"), "echo two", "the same over a stream");
    assert!(line.gate.is_running());
    assert_eq!(stream.close(), 1000);
    assert_eq!(socket.ask("close"), "closed 1000");
    assert_eq!(line.gate.wait().code(), Some(0));
    for process_id in &line.known[..UPGRADES - 1] {
        eventually("the processes between have ended", || (!is_alive(*process_id)).then_some(()));
    }
    assert_eq!(line.gate.client().get("/").status(), 200);
}

#[test]
fn the_number_of_workers_may_change() {
    let upstream = Lean::saying("blue");
    let of = |workers| Setup::to(upstream.address).process(&format!("workers = {workers}"));
    let mut line = Line::of(Gate::start(&of(2)));
    for workers in [4, 1, 3] {
        let load = Load::start(line.gate.address());
        line.gate.replace_config(&of(workers));
        line.upgrade();
        // Each socket is somebody's: with one forgotten, some of these would wait for ever.
        for _ in 0..50 {
            assert_eq!(line.gate.client().get("/").status(), 200, "{workers} workers");
        }
        load.finish();
    }
}

#[test]
fn an_open_websocket_is_told_before_its_process_ends() {
    let (_server, echo) = Script::echo_server("echo");
    let setup = Setup::to(echo).process("shutdown_timeout = \"2s\"");
    let mut line = Line::of(Gate::start(&setup));
    let mut socket = Script::client(&format!("ws://{}/chat", line.gate.address()));
    assert_eq!(socket.ask("one"), "echo one");
    let mut stream = SocketHttp2::open(line.gate.address(), "/chat");
    assert_eq!(stream.ask("one"), "echo one");
    line.upgrade();
    assert_eq!(stream.await_close(), 1012);
    assert_eq!(line.gate.wait().code(), Some(0));
    assert_eq!(socket.ask("close"), "closed 1012");
    let mut socket = Script::client(&format!("ws://{}/chat", line.gate.address()));
    assert_eq!(socket.ask("two"), "echo two");
}

#[test]
fn the_trail_the_splits_and_the_sessions_go_on() {
    let (blue, green) = pair();
    let cookie = "[route.affinity]\nby = \"cookie\"";
    let setup = Setup::blue_green((blue.address, green.address), 50, cookie);
    let setup = setup.backend("spare", "127.0.0.1:9", "");
    let mut line = Line::of(Gate::start(&setup));
    line.gate.run_ok(&["split", "app", "blue=75", "green=25"]);
    line.gate.run_ok(&["endpoint", "spare", "127.0.0.1:9", "drain"]);
    let first = line.gate.client().get("/");
    let issued = first.headers.only("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    line.upgrade();
    assert_eq!(green_percent(&line.gate), (25.0, "admin".into()));
    let status = line.gate.admin_json("/v1/status");
    let spare =
        status["backends"].as_array().unwrap().iter().find(|known| known["name"] == "spare");
    assert_eq!(spare.unwrap()["endpoints"][0]["state"], "drained", "{status}");
    for _ in 0..20 {
        let again = line.gate.client().try_get("/", &format!("cookie: {issued}\r\n")).unwrap();
        assert_eq!(again.text(), first.text(), "the key of the cookie is the same");
    }
    let told = eventually("the successor tells that it serves", || {
        let events = line.gate.events();
        let told = |event: &Value| event["message"].as_str().unwrap().contains("taken over from");
        events.iter().any(told).then_some(events)
    });
    let ids: Vec<_> = told.iter().map(|event| event["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    for kind in ["split_changed", "upgrade_started"] {
        assert!(told.iter().any(|event| event["kind"] == kind), "{kind} is missing: {told:?}");
    }
    assert!(line.gate.socket().exists());
    send_signal(line.serving, "TERM");
    eventually("its socket goes with the last", || (!line.gate.socket().exists()).then_some(()));
}

#[test]
fn a_rollout_goes_on_where_it_was() {
    let sides = pair();
    let plan = format!("on_thin_traffic = \"advance\"\n{QUICK}{}", steps(&[10, 50, 100], "1h", ""));
    let mut line = Line::of(Gate::start(&setup(&sides, &plan)));
    line.gate.run_ok(&["start", "app"]);
    await_phase(&line.gate, "baking");
    line.gate.run_ok(&["advance", "app"]);
    let load = Load::start(line.gate.address());
    let served = |status: &Value| status["served_s"].as_f64().unwrap();
    let before = eventually("time is served", || {
        let status = rollout(&line.gate);
        (status["step_number"] == 2 && served(&status) > 0.5).then_some(status)
    });
    line.upgrade();
    let after = rollout(&line.gate);
    for same in ["phase", "step", "step_number", "weight", "run"] {
        assert_eq!(after[same], before[same], "{same}: {after} after {before}");
    }
    assert!(served(&before) - served(&after) < 0.01, "{after} after {before}");
    assert_eq!(green_percent(&line.gate), (50.0, "rollout".into()));
    eventually("its time goes on", || {
        (served(&rollout(&line.gate)) > served(&after)).then_some(())
    });
    line.gate.run_ok(&["advance", "app"]);
    eventually("its next step begins", || (green_percent(&line.gate).0 == 100.0).then_some(()));
    line.gate.run_ok(&["rollback", "app"]);
    load.finish();
}

#[test]
fn a_binary_that_does_not_run_leaves_the_old_one_serving() {
    let upstream = Lean::saying("blue");
    let (gate, binary) = start_copy(&Setup::to(upstream.address));
    let mut line = Line::of(gate);
    let load = Load::start(line.gate.address());
    replace_by_script(&binary, "echo 'cannot find its library' >&2; exit 127");
    line.gate.signal("USR2");
    let why = line.await_failure();
    assert!(why.contains("cannot find its library") && why.contains("127"), "{why}");
    fs::remove_file(&binary).unwrap();
    line.gate.signal("USR2");
    eventually("the next one fails as well", || {
        let failed = |event: &&Value| event["kind"] == "upgrade_failed";
        (line.gate.events().iter().filter(failed).count() == 2).then_some(())
    });
    line.gate.run_ok(&["split", "app", "blue=100"]);
    load.finish();
}

#[test]
fn a_successor_that_talks_without_end_takes_neither_memory_nor_its_last_lines() {
    /// The old process needs some 30 MB by itself, unoptimised.
    const MOST_MEMORY: u64 = 100 << 20;
    let upstream = Lean::saying("blue");
    let (gate, binary) = start_copy(&Setup::to(upstream.address));
    let mut line = Line::of(gate);
    replace_by_script(
        &binary,
        "head -c 200000000 /dev/zero | tr '\\0' x >&2\n\
         printf '\\nno text \\377 \\033[31m\\nthe end of it\\n' >&2\nsleep 5 &\nexit 3",
    );
    line.gate.signal("USR2");
    let why = line.await_failure();
    assert!(why.contains("exit status: 3"), "{why}");
    assert!(why.ends_with("| no text \u{fffd} \\u001b[31m | the end of it"), "{why}");
    assert!(why.len() < 1_000, "{} bytes: {why}", why.len());
    let memory = line.gate.memory("VmHWM");
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    let log = line.gate.log();
    assert!(log.contains("the end of it") && log.len() < 100_000, "{} bytes of log", log.len());
}

#[test]
fn a_configuration_that_is_refused_leaves_the_old_one_serving() {
    let upstream = Lean::saying("blue");
    let mut line = Line::of(Gate::start(&Setup::to(upstream.address)));
    fs::write(line.gate.config_path(), "[[listener]]\nbund = \"127.0.0.1:0\"\n").unwrap();
    let load = Load::start(line.gate.address());
    line.gate.signal("USR2");
    let why = line.await_failure();
    assert!(why.contains("bund") && why.contains("78"), "{why}");
    load.finish();
}

#[test]
fn a_successor_that_talks_into_a_log_that_nobody_reads_holds_up_nothing() {
    let upstream = Upstream::saying("blue");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tidegate");
    fs::copy(BINARY, &copy).unwrap();
    let setup = Setup::to(upstream.address());
    fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    let (unread, log) = io::pipe().unwrap();
    let gate = Gate::start_by(Command::new(&copy), folder, |command| {
        command.stderr(log);
    });
    let mut line = Line::of(gate);
    let mark = line.gate.folder().join("said");
    // Several times what its pipe, the log's pipe and the queue between them hold.
    let script = "i=0; while [ $i -lt 8000 ]; do i=$((i+1)); echo \"line $i of many that are of some length\" >&2; done";
    replace_by_script(&copy, &format!("{script}; : > {}; exec sleep 1000", mark.display()));
    line.gate.signal("USR2");
    eventually("all has been said", || mark.exists().then_some(()));
    assert_eq!(line.serving_now(), Some(line.serving));
    assert!(line.gate.metric("tidegate_overflow_total", &[("queue", "log")]) > 0.0);
    line.gate.signal("TERM");
    assert_eq!(line.gate.wait().code(), Some(0));
    drop(unread);
}

/// It fails after it has got the state: an address that is taken shows only when it is bound.
#[test]
fn what_fails_last_gives_the_state_back() {
    let sides = pair();
    let plan = format!("on_thin_traffic = \"advance\"\n{QUICK}{}", steps(&[10, 50], "1h", ""));
    let good = setup(&sides, &plan).listener("");
    let mut line = Line::of(Gate::start(&good));
    line.gate.run_ok(&["start", "app"]);
    await_phase(&line.gate, "baking");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = format!("bind = \"{}\"", taken.local_addr().unwrap());
    line.gate.replace_config(&good.clone().listener(&bind));
    let load = Load::start(line.gate.address());
    line.gate.signal("USR2");
    let why = line.await_failure();
    assert!(why.contains("cannot listen on"), "{why}");
    // It judges, moves and keeps as before.
    let served = |status: &Value| status["served_s"].as_f64().unwrap();
    let before = rollout(&line.gate);
    eventually("time is served", || (served(&rollout(&line.gate)) > served(&before)).then_some(()));
    line.gate.run_ok(&["advance", "app", "--reason", "after the failure"]);
    line.gate.await_stored("after the failure");
    assert_eq!(green_percent(&line.gate).0, 50.0);
    // And the next one is let in.
    drop(taken);
    line.gate.replace_config(&good);
    line.upgrade();
    assert_eq!(green_percent(&line.gate), (50.0, "rollout".into()));
    line.gate.run_ok(&["rollback", "app"]);
    load.finish();
}

#[test]
fn a_successor_that_never_gets_ready_is_ended_by_term() {
    let upstream = Upstream::saying("blue");
    let (gate, binary) = start_copy(&Setup::to(upstream.address()));
    let mut line = Line::of(gate);
    let mark = line.gate.folder().join("started");
    replace_by_script(
        &binary,
        &format!("echo $$ > {0}.part; mv {0}.part {0}; exec sleep 1000", mark.display()),
    );
    line.gate.signal("USR2");
    let successor = eventually("it has started", || fs::read_to_string(&mark).ok());
    let successor: u32 = successor.trim().parse().unwrap();
    line.gate.signal("USR2");
    assert_eq!(line.gate.client().get("/").status(), 200);
    line.gate.signal("TERM");
    assert_eq!(line.gate.wait().code(), Some(0));
    assert!(!is_alive(successor), "it was left behind");
}
