//! What a rollout knows after a crash, with a disk that takes nothing, and when its state is lost.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    load::{Load, pair},
    resources::prlimit,
    rollout::{QUICK, await_phase, event, rollout, setup, steps},
    state::green_percent,
    support::{
        eventually,
        gate::Gate,
        setup::{NONE, Setup},
    },
};

const KILLS: usize = 50;

/// The state that the file of a killed process holds.
fn durable(folder: &Path) -> Value {
    let connection = rusqlite::Connection::open(folder.join("tidegate.db")).unwrap();
    let sql = "SELECT record FROM runs ORDER BY number DESC LIMIT 1";
    let record: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    serde_json::from_str::<Value>(&record).unwrap()["state"].clone()
}

/// Name of the phase and place of the step.
fn place(state: &Value) -> (String, Option<u64>) {
    let phase = &state["phase"];
    let Some((name, inside)) = phase.as_object().and_then(|phase| phase.iter().next()) else {
        return (phase.as_str().unwrap().to_owned(), None);
    };
    let stay = inside.get("stay").unwrap_or(inside);
    (name.clone(), stay.get("step").and_then(Value::as_u64))
}

fn weight(phase: &str, step: Option<u64>, weights: &[u32]) -> f64 {
    match (phase, step) {
        ("promoted", _) => 100.0,
        ("checking" | "rolled_back" | "failed" | "idle", _) | (_, None) => 0.0,
        (_, Some(step)) => f64::from(weights[step as usize]),
    }
}

#[test]
fn a_rollout_survives_fifty_kills_and_never_gets_ahead_of_its_state() {
    const WEIGHTS: [u32; 8] = [5, 10, 20, 30, 50, 70, 90, 100];
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let sides = pair();
    let plan = format!("on_thin_traffic = \"advance\"\n{QUICK}{}", steps(&WEIGHTS, "300ms", ""));
    let mut gate = Gate::start(&setup(&sides, &plan));
    gate.run_ok(&["start", "app"]);
    for kill in 0..KILLS {
        let wait = Duration::from_millis(random.u64(0..400));
        // The moment is what is random here; nothing is waited for.
        std::thread::sleep(wait);
        let before = rollout(&gate);
        let folder = gate.kill();
        let state = durable(folder.path());
        let (phase, step) = place(&state);
        let kept = weight(&phase, step, &WEIGHTS);
        let told = format!("seed {seed}, kill {kill}: {before} and then {state}");
        assert!(
            before["weight"].as_f64().unwrap() <= kept,
            "in force before it was durable: {told}"
        );

        gate = Gate::start_as_it_is(folder);
        let after = rollout(&gate);
        // It goes on at once, so it may be further by now; but only by what its time allows.
        let (now, _) = green_percent(&gate);
        assert!(now >= kept, "{after}: {told}");
        assert_eq!(after["run"], before["run"], "{told}");
        // A promoted one has left the steps.
        let here = after["step_number"].as_u64().unwrap();
        let ahead = if here == 0 { WEIGHTS.len() as u64 } else { here - 1 };
        assert!(step.is_none_or(|step| (step..=step + 2).contains(&ahead)), "{after}: {told}");
        if after["phase"] == phase.as_str() && here == step.map_or(0, |step| step + 1) {
            assert_eq!(now, kept, "{after}: {told}");
        }
        if after["phase"] == "promoted" {
            gate.run_ok(&["rollback", "app"]);
            gate.run_ok(&["start", "app"]);
        }
    }
}

#[test]
fn time_served_thresholds_and_the_budget_outlive_a_crash() {
    let sides = pair();
    let budget = "[rollout.app.budget]\nmax_bad_responses = 1000\n[rollout.app.breaker]\n\
                  consecutive_failures = \"off\"\nfailure_share = \"100%\"\nof_at_least = 100000\n";
    let plan = format!("{QUICK}{}{budget}", steps(&[50, 100], "1h", ""));
    let gate = Gate::start(&setup(&sides, &plan));
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    gate.run_ok(&["set", "app", "step.step-1.hold", "2h"]);
    sides.1.set_failing(true);
    let load = Load::start(gate.address());
    eventually("some fail", || {
        (rollout(&gate)["exposure"]["bad_responses"].as_u64() > Some(20)).then_some(())
    });
    load.end();
    eventually("some time is served and kept", || {
        let connection = rusqlite::Connection::open(gate.folder().join("tidegate.db")).ok()?;
        let sql = "SELECT record FROM runs";
        let record: String = connection.query_row(sql, [], |row| row.get(0)).ok()?;
        let state = serde_json::from_str::<Value>(&record).ok()?["state"].clone();
        (state["spent"]["bad_responses"].as_u64() > Some(20)).then_some(())
    });
    let before = rollout(&gate);
    gate.run_ok(&["pause", "app"]);
    let paused = rollout(&gate);
    let gate = {
        gate.await_stored("rollout_paused");
        Gate::start_as_it_is(gate.kill())
    };
    let after = rollout(&gate);
    assert_eq!(after["phase"], "paused");
    assert_eq!(green_percent(&gate), (50.0, "rollout".into()));
    let served = |status: &Value| status["served_s"].as_f64().unwrap();
    assert!(served(&after) > 0.0 && served(&paused) - served(&after) < 0.01, "{after}, {paused}");
    assert_eq!(after["steps"][0]["hold_s"], 7200.0);
    assert_eq!(after["changed"], before["changed"]);
    let bad = |status: &Value| status["exposure"]["bad_responses"].as_u64().unwrap();
    // Nobody knows what a killed process spent last: what it may have is taken for it, a fiftieth of the cap at most.
    let may_have = bad(&paused)..=bad(&paused) + 20;
    assert!(bad(&after) > 20 && may_have.contains(&bad(&after)), "{after} after {paused}");
    gate.run_ok(&["rollback", "app"]);
}

#[test]
fn a_disk_that_takes_nothing_stops_the_way_forward_alone() {
    let sides = pair();
    let plan = format!("on_thin_traffic = \"advance\"\n{QUICK}{}", steps(&[10, 50, 100], "1h", ""));
    // A limit on the size of files stands in for the full disk: an error, and no signal that ends the process.
    let gate = Gate::start(&setup(&sides, &plan));
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    assert_eq!(green_percent(&gate).0, 10.0);

    prlimit(gate.process_id(), &["--fsize=0:unlimited"]);
    let refused = gate.run(&["advance", "app"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains("nothing goes forward"), "{refused:?}");
    assert_eq!(green_percent(&gate).0, 10.0, "nothing has moved");
    assert!(event(&gate, "rollout_not_written").is_some(), "{:?}", gate.events());
    assert_eq!(rollout(&gate)["durable"], false);
    gate.run_ok(&["rollback", "app", "--reason", "without a disk"]);
    assert_eq!(green_percent(&gate).0, 0.0, "the way back is open");

    prlimit(gate.process_id(), &["--fsize=unlimited:unlimited"]);
    eventually("the state is written", || event(&gate, "state_recovered"));
    gate.await_stored("without a disk");
    let gate = Gate::start_as_it_is(gate.kill());
    assert_eq!(rollout(&gate)["phase"], "rolled_back");
    assert_eq!(green_percent(&gate), (0.0, "rollout".into()));
}

#[test]
fn lost_state_means_all_traffic_to_the_baseline() {
    let removal = |folder: &Path| {
        for name in ["tidegate.db", "tidegate.db-wal", "tidegate.db-shm"] {
            fs::remove_file(folder.join(name)).ok();
        }
    };
    let damage = |folder: &Path| {
        removal(folder);
        fs::write(folder.join("tidegate.db"), "no database ".repeat(500)).unwrap();
    };
    let nonsense = |folder: &Path| {
        let connection = rusqlite::Connection::open(folder.join("tidegate.db")).unwrap();
        connection.execute("UPDATE runs SET record = '{\"state\": 7}'", []).unwrap();
    };
    type Loss<'l> = &'l dyn Fn(&Path);
    let losses: [(&str, Loss<'_>); 3] =
        [("damaged", &damage), ("nonsense", &nonsense), ("gone", &removal)];
    for (name, lose) in losses {
        let sides = pair();
        let split = Setup::blue_green((sides.0.address, sides.1.address), 30, NONE);
        let plan = format!("{QUICK}{}", steps(&[50, 100], "1h", ""));
        let gate = Gate::start(&split.rollout(&plan));
        assert_eq!(green_percent(&gate), (30.0, "config".into()), "{name}: nothing is lost yet");
        gate.run_ok(&["start", "app"]);
        await_phase(&gate, "baking");
        let folder = gate.kill();
        lose(folder.path());
        let gate = Gate::start_as_it_is(folder);
        assert_eq!(green_percent(&gate), (0.0, "rollout".into()), "{name}");
        assert!(event(&gate, "rollout_state_lost").is_some(), "{name}: {:?}", gate.events());
        gate.await_stored("rollout_state_lost");
        let gate = Gate::start_as_it_is(gate.kill());
        assert_eq!(green_percent(&gate), (0.0, "rollout".into()), "{name}: it stays there");
        gate.run_ok(&["start", "app"]);
        await_phase(&gate, "baking");
    }
}
