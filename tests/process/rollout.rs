//! A rollout as operators and clients see it, from its start to either end.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    load::{Lean, Load, pair},
    state::{green_percent, kinds},
    support::{
        eventually,
        gate::{Gate, Ran},
        setup::{NONE, Setup},
    },
};

/// Seconds for hours.
pub(crate) const QUICK: &str = "window = \"1s\"\nmin_requests = 5\nsettle = \"100ms\"\n";

/// Steps of these weights, each held for so long, with more lines in each.
pub(crate) fn steps(weights: &[u32], hold: &str, lines: &str) -> String {
    let step = |(number, weight): (usize, &u32)| {
        format!(
            "[[rollout.app.step]]\nname = \"step-{}\"\nweight = {weight}\nhold = \"{hold}\"\n{lines}\n",
            number + 1
        )
    };
    weights.iter().enumerate().map(step).collect()
}

pub(crate) fn setup(sides: &(Lean, Lean), rollout: &str) -> Setup {
    Setup::blue_green((sides.0.address, sides.1.address), 0, NONE).rollout(rollout)
}

/// The rollout's part of the status.
pub(crate) fn rollout(gate: &Gate) -> Value {
    gate.admin_json("/v1/rollouts/app")
}

/// Waits for a phase, and no longer than until the rollout has ended otherwise.
pub(crate) fn await_phase(gate: &Gate, phase: &str) -> Value {
    const ENDS: [&str; 3] = ["promoted", "rolled_back", "failed"];
    eventually(phase, || {
        let status = rollout(gate);
        let present = status["phase"].as_str().unwrap_or_default().to_owned();
        let lost = present != phase && ENDS.contains(&present.as_str());
        assert!(!lost, "{status:#} instead of {phase}");
        (present == phase).then_some(status)
    })
}

pub(crate) fn event(gate: &Gate, kind: &str) -> Option<Value> {
    gate.events().into_iter().rfind(|event| event["kind"] == kind)
}

#[test]
fn a_healthy_canary_is_promoted_and_no_request_fails() {
    let sides = pair();
    let criteria = "require = [\"requests >= 20\", \"error_rate < 1%\"]";
    let plan = format!("{QUICK}{}", steps(&[10, 50, 100], "1s", criteria));
    let gate = Gate::start(&setup(&sides, &plan));
    assert_eq!(rollout(&gate)["phase"], "idle");
    assert_eq!(green_percent(&gate), (0.0, "config".into()));
    let load = Load::start(gate.address());
    let shown = gate.run_ok(&["start", "app", "--reason", "release 7"]);
    assert!(shown.contains("rollout app"), "{shown}");
    let baking = await_phase(&gate, "baking");
    assert_eq!(
        (&baking["step"], &baking["weight"], &baking["run"]),
        (&"step-1".into(), &10.into(), &1.into())
    );
    assert_eq!(green_percent(&gate), (10.0, "rollout".into()));
    assert_eq!(gate.metric("tidegate_rollout_weight", &[("rollout", "app")]), 0.1);
    let refused = gate.run(&["split", "app", "blue=50", "green=50"]);
    assert_eq!(refused.code, 65, "{refused:?}");
    assert!(refused.stderr.contains("the rollout app decides this split"), "{refused:?}");
    assert_eq!(gate.admin("PUT", "/v1/routes/app/split", r#"{"blue": 100}"#).status(), 409);

    let promoted = await_phase(&gate, "promoted");
    assert_eq!((&promoted["weight"], &promoted["step"]), (&100.into(), &Value::Null));
    assert_eq!(green_percent(&gate), (100.0, "rollout".into()));
    let (blue, green) = (sides.0.answered(), sides.1.answered());
    for _ in 0..50 {
        assert_eq!(gate.client().get("/").body, b"green");
    }
    load.finish();
    assert!(sides.0.answered() <= blue + 4, "only what was under way may still go to blue");
    assert!(sides.1.answered() >= green + 50);

    let wanted = ["started", "advanced", "advanced", "advanced", "promoted"]
        .map(|kind| format!("rollout_{kind}"));
    let told: Vec<_> = kinds(&gate).into_iter().filter(|kind| wanted.contains(kind)).collect();
    assert_eq!(told, wanted);
    let started = event(&gate, "rollout_started").unwrap();
    assert!(started["message"].as_str().unwrap().ends_with(": release 7"), "{started}");
    assert!(started["actor"].as_str().unwrap().starts_with("uid:"), "{started}");
    let promoted = [("rollout", "app"), ("phase", "promoted")];
    assert_eq!(gate.metric("tidegate_rollout_phase", &promoted), 1.0);
    assert_eq!(gate.metric("tidegate_rollout_phase", &promoted[..1]), 1.0, "one phase at a time");
    assert_eq!(gate.metric("tidegate_verdict", &promoted[..1]), 1.0);
    told_in_reports(&gate);
}

/// The report of a rollout that was promoted.
fn told_in_reports(gate: &Gate) {
    let markdown = gate.run_ok(&["report", "app"]);
    assert!(markdown.starts_with("# Rollout app: promoted\n"), "{markdown}");
    assert!(markdown.contains("rollout\\_promoted"), "{markdown}");
    let report: Value =
        serde_json::from_str(&gate.run_ok(&["report", "app", "--format", "json"])).unwrap();
    assert_eq!(report["complete"], true);
    let samples = report["samples"].as_array().unwrap();
    assert!(samples.len() >= 2, "{report}");
    assert!(samples.iter().any(|sample| sample["canary"]["p95_us"].as_u64() > Some(0)), "{report}");
    let file = gate.folder().join("report.html");
    gate.run_ok(&["report", "app", "--format", "html", "-o", file.to_str().unwrap()]);
    let page = std::fs::read_to_string(file).unwrap();
    assert!(page.contains("<path class=\"canary\" d=\"M"), "{page}");
}

#[test]
fn a_canary_that_breaks_loses_all_traffic_at_once() {
    let sides = pair();
    let note = tempfile::NamedTempFile::new().unwrap();
    let hook = format!(
        "[[rollout.app.hook]]\non = \"rollback\"\nlevel = 3\nname = \"undo\"\n\
         exec = [\"sh\", \"-c\", \"echo $TIDEGATE_CANARY >> {}; echo undone\"]\n",
        note.path().display()
    );
    let plan = format!("{QUICK}{}{hook}", steps(&[50, 100], "1h", ""));
    let gate = Gate::start(&setup(&sides, &plan));
    let load = Load::start(gate.address());
    let none = "tidegate_rollbacks_total{rollout=\"app\",cause=\"breaker\"} 0";
    assert!(gate.admin("GET", "/metrics", "").text().contains(none), "an increase begins at 0");
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    eventually("the canary gets traffic", || (sides.1.answered() > 50).then_some(()));
    let began = Instant::now();
    sides.1.set_failing(true);
    eventually("all traffic is back", || (green_percent(&gate).0 == 0.0).then_some(()));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    let answered = sides.1.answered();
    for _ in 0..100 {
        assert_eq!(gate.client().get("/").body, b"blue");
    }
    assert_eq!(sides.1.answered(), answered, "a request went to a canary without weight");
    let tally = load.end();
    assert!(tally.faults.iter().all(|fault| fault.contains(" 500 ")), "{:?}", tally.faults);

    let status = await_phase(&gate, "rolled_back");
    assert!(status["because"].as_str().unwrap().contains("breaker"), "{status}");
    assert_eq!(status["fits"], serde_json::json!(["start"]));
    let labels = [("rollout", "app"), ("cause", "breaker")];
    assert_eq!(gate.metric("tidegate_rollbacks_total", &labels), 1.0);
    eventually("the last byte is told", || event(&gate, "rollout_last_byte"));
    let hook = eventually("the hook is told", || event(&gate, "hook_ended"));
    assert_eq!((&hook["after"]["ok"], &hook["after"]["level"]), (&true.into(), &3.into()));
    assert_eq!(hook["after"]["output"], "undone");
    assert_eq!(std::fs::read_to_string(note.path()).unwrap(), "green\n");
    let report = gate.run_ok(&["report", "app"]);
    assert!(report.contains("| undo | rollback | 3 | done |"), "{report}");

    sides.1.set_failing(false);
    gate.run_ok(&["start", "app"]);
    assert_eq!(await_phase(&gate, "baking")["run"], 2);
    assert_eq!(green_percent(&gate).0, 50.0);
}

/// Clients that are less patient than `first_byte` leave no failure behind: that they leave is what tells.
#[test]
fn a_canary_that_hangs_until_clients_leave_is_rolled_back() {
    let sides = pair();
    let plan = format!("{QUICK}{}", steps(&[50, 100], "1h", ""));
    let gate = Gate::start(&setup(&sides, &plan));
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    sides.1.hang();
    let mut left = 0;
    let status = eventually("the canary is cut off", || {
        let mut clients: Vec<_> = (0..16).map(|_| gate.client()).collect();
        for client in &mut clients {
            let patience = Some(Duration::from_millis(50));
            client.stream().set_read_timeout(patience).unwrap();
            left += u32::from(client.try_get("/", "").is_err());
        }
        let status = rollout(&gate);
        (status["phase"] == "rolled_back").then_some(status)
    });
    let because = status["because"].as_str().unwrap();
    assert!(because.contains("given up by their clients"), "{because}");
    assert!(left >= 20, "{left} clients left");
    let canary = [("backend", "green")];
    assert!(gate.metric("tidegate_abandoned_total", &canary) >= 20.0);
    assert_eq!(gate.metric("tidegate_requests_total", &[canary[0], ("class", "failure")]), 0.0);
}

#[test]
fn a_verb_that_does_not_fit_says_what_would() {
    const VERBS: [&str; 6] = ["start", "pause", "resume", "advance", "promote", "rollback"];
    let sides = pair();
    let more =
        "[[rollout.app.step]]\nname = \"last\"\nweight = 100\nhold = \"1h\"\ngate = \"manual\"\n";
    let gate = Gate::start(&setup(&sides, &format!("{QUICK}{}{more}", steps(&[10], "1h", ""))));
    let refused_all_but = |phase: &str, fits: &[&str]| {
        assert_eq!(rollout(&gate)["fits"], serde_json::json!(fits), "{phase}");
        for verb in VERBS.iter().filter(|verb| !fits.contains(*verb)) {
            let Ran { code, stderr, .. } = gate.run(&[verb, "app"]);
            assert_eq!(code, 65, "{verb} in {phase}: {stderr}");
            let said = format!("{verb} does not fit: the rollout app is {phase}");
            assert!(stderr.contains(&said) && stderr.contains("what fits: "), "{stderr}");
            let answer = gate.admin("POST", &format!("/v1/rollouts/app/{verb}"), "");
            assert_eq!(answer.status(), 409, "{}", answer.text());
            assert!(answer.text().contains("\"code\":\"conflict\""), "{}", answer.text());
        }
        assert_eq!(rollout(&gate)["phase"], phase, "a refusal changes nothing");
    };
    let running = ["pause", "advance", "promote", "rollback"];
    refused_all_but("idle", &["start"]);
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    refused_all_but("baking", &running);
    gate.run_ok(&["pause", "app", "--reason", "lunch"]);
    refused_all_but("paused", &["resume", "promote", "rollback"]);
    gate.run_ok(&["resume", "app"]);
    let shown = gate.run_ok(&["advance", "app"]);
    assert!(shown.contains("last"), "answered when it has moved: {shown}");
    assert_eq!(green_percent(&gate).0, 100.0, "and in force");
    gate.run_ok(&["rollback", "app", "--reason", "enough"]);
    assert_eq!(green_percent(&gate).0, 0.0);
    refused_all_but("rolled_back", &["start"]);
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    gate.run_ok(&["promote", "app"]);
    assert_eq!(green_percent(&gate), (100.0, "rollout".into()));
    refused_all_but("promoted", &["rollback"]);
    gate.run_ok(&["rollback", "app"]);
    assert_eq!(green_percent(&gate), (0.0, "rollout".into()), "the way back stays open");
    let paused = event(&gate, "rollout_paused").unwrap();
    assert!(paused["message"].as_str().unwrap().contains("lunch"), "{paused}");
    assert_eq!(gate.run(&["start", "nobody"]).code, 65);
    assert_eq!(gate.admin("POST", "/v1/rollouts/app/dance", "").status(), 404);
}

#[test]
fn thresholds_change_while_it_runs_all_or_none() {
    let sides = pair();
    let gate = Gate::start(&setup(&sides, &format!("{QUICK}{}", steps(&[10, 100], "1h", ""))));
    let early = gate.run(&["set", "app", "min_requests", "1"]);
    assert_eq!(early.code, 65, "{early:?}");
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    let bad = r#"{"step.step-1.hold": "1s", "min_requests": "many"}"#;
    let answer = gate.admin("PATCH", "/v1/rollouts/app", bad);
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert_eq!(rollout(&gate)["steps"][0]["hold_s"], 3600.0);
    let unknown = gate.run(&["set", "app", "step.step-1.hodl", "1s"]);
    assert!(unknown.code == 65 && unknown.stderr.contains("step.step-1.hold"), "{unknown:?}");
    let good =
        r#"{"min_requests": 1, "window": "2s", "reason": "a quiet night", "actor": "alice"}"#;
    let answer = gate.admin("PATCH", "/v1/rollouts/app", good);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let shown = gate.run_ok(&["set", "app", "step.step-1.hold", "1s", "--reason", "enough"]);
    assert!(shown.contains("step.step-1.hold 1h → 1s"), "{shown}");
    let load = Load::start(gate.address());
    eventually("the next step", || (rollout(&gate)["step"] == "step-2").then_some(()));
    load.finish();
    let changed = rollout(&gate)["changed"].clone();
    assert_eq!(changed.as_array().unwrap().len(), 3, "{changed}");
    let set = event(&gate, "rollout_threshold_set").unwrap();
    assert_eq!((&set["before"], &set["after"]), (&"1h".into(), &"1s".into()));
}

#[test]
fn a_running_rollout_keeps_its_plan_and_what_it_needs_over_reloads() {
    let sides = pair();
    let plan = |hold: &str| format!("{QUICK}{}", steps(&[10, 100], hold, ""));
    let gate = Gate::start(&setup(&sides, &plan("1h")));
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    gate.replace_config(&setup(&sides, &plan("2h")));
    gate.run_ok(&["reload"]);
    let status = rollout(&gate);
    assert_eq!((&status["plan_differs"], &status["phase"]), (&true.into(), &"baking".into()));
    assert_eq!((&status["steps"][0]["hold_s"], green_percent(&gate).0), (&3600.0.into(), 10.0));
    assert!(gate.run_ok(&["status"]).contains("the file's plan is another one"));

    let lone = Setup::to(sides.0.address);
    gate.replace_config(&lone);
    let refused = gate.run(&["reload"]);
    assert!(refused.code == 65 && refused.stderr.contains("backend green"), "{refused:?}");
    let without = Setup::blue_green((sides.0.address, sides.1.address), 0, NONE);
    gate.replace_config(&without);
    gate.run_ok(&["reload"]);
    assert_eq!(rollout(&gate)["phase"], "baking", "without its section it runs to its end");

    gate.run_ok(&["promote", "app"]);
    gate.replace_config(&setup(&sides, &plan("2h")));
    gate.run_ok(&["reload"]);
    assert_eq!(green_percent(&gate), (100.0, "rollout".into()), "the file's split has not changed");
    let next = Setup::blue_green((sides.0.address, sides.1.address), 60, NONE);
    gate.replace_config(&next.rollout(&plan("2h")));
    gate.run_ok(&["reload"]);
    assert_eq!(green_percent(&gate), (60.0, "config".into()), "now the file has spoken");
    assert!(event(&gate, "rollout_released").is_some());
    let gate = Gate::start_as_it_is(gate.stop());
    assert_eq!(green_percent(&gate), (60.0, "config".into()));
}
