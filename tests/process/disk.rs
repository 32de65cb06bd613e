//! A state file that is damaged, taken, or on a disk that is full: traffic and operators go on.

use std::{fs, path::Path, process::Command};

use crate::{
    load::{Lean, pair},
    resources::prlimit,
    state::{green_percent, kinds},
    support::{
        eventually,
        gate::{BINARY, Gate, run_with},
        setup::{BY_SID, Setup},
    },
};

const STATE: &str = "tidegate.db";

fn setup(sides: &(Lean, Lean)) -> Setup {
    Setup::blue_green((sides.0.address, sides.1.address), 10, BY_SID)
}

fn await_event(gate: &Gate, kind: &str) {
    eventually(kind, || kinds(gate).iter().any(|known| known == kind).then_some(()));
}

fn keep_of_file(folder: &Path, part: usize) {
    let mut bytes = fs::read(folder.join(STATE)).unwrap();
    bytes.truncate(bytes.len() / part);
    fs::write(folder.join(STATE), bytes).unwrap();
}

#[test]
fn a_damaged_state_file_is_set_aside() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("text", |folder| {
            fs::write(folder.join(STATE), "this is no database ".repeat(500)).unwrap();
        }),
        ("half of it", |folder| keep_of_file(folder, 2)),
        ("zeros in the middle", |folder| {
            let mut bytes = fs::read(folder.join(STATE)).unwrap();
            bytes[2_000..10_000].fill(0);
            fs::write(folder.join(STATE), bytes).unwrap();
        }),
        ("a folder", |folder| {
            fs::remove_file(folder.join(STATE)).unwrap();
            fs::create_dir(folder.join(STATE)).unwrap();
            fs::write(folder.join(STATE).join("full"), "of something").unwrap();
        }),
    ];
    for (name, damage) in damages {
        let sides = pair();
        let gate = Gate::start(&setup(&sides));
        gate.run_ok(&["split", "app", "blue=50", "green=50"]);
        let folder = gate.stop();
        damage(folder.path());
        let bytes = fs::read(folder.path().join(STATE)).ok();

        let gate = Gate::start_as_it_is(folder);
        assert_eq!(gate.client().get("/").status(), 200, "{name}");
        assert_eq!(green_percent(&gate), (10.0, "config".into()), "{name}");
        await_event(&gate, "state_damaged");
        let entries = fs::read_dir(gate.folder()).unwrap().map(|entry| entry.unwrap());
        let aside = entries
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().contains(".damaged-"))
            .unwrap_or_else(|| panic!("{name}: nothing was set aside"));
        assert_eq!(fs::read(aside).ok(), bytes, "{name}: it is kept as it was");

        gate.run_ok(&["split", "app", "blue=30", "green=70", "--reason", "on-new-ground"]);
        gate.await_stored("on-new-ground");
        let gate = Gate::start_as_it_is(gate.kill());
        assert_eq!(green_percent(&gate), (70.0, "admin".into()), "{name}");
    }
}

/// A gate whose split has been set once, and which bears a limit on the size of its files.
///
/// Such a limit stands in for the full disk: each write fails, the log's too. The shell sees to it that it fails with an
/// error, as a full disk does, and not with a signal.
fn before_it_is_full(setup: &Setup) -> Gate {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY]);
    let gate = Gate::start_by(shell, folder, |_| {});
    gate.run_ok(&["split", "app", "blue=80", "green=20", "--reason", "before-it-was-full"]);
    gate.await_stored("before-it-was-full");
    gate
}

#[test]
fn a_full_disk_stops_neither_traffic_nor_operators_and_loses_nothing() {
    let sides = pair();
    let gate = before_it_is_full(&setup(&sides));

    prlimit(gate.process_id(), &["--fsize=0:unlimited"]);
    gate.run_ok(&["split", "app", "blue=40", "green=60", "--reason", "in-memory-alone"]);
    await_event(&gate, "state_write_failed");
    assert_eq!(green_percent(&gate), (60.0, "admin".into()));
    for _ in 0..100 {
        assert_eq!(gate.client().get("/").status(), 200);
    }
    gate.run_ok(&["reload"]);
    assert_eq!(green_percent(&gate), (60.0, "admin".into()));

    prlimit(gate.process_id(), &["--fsize=unlimited:unlimited"]);
    await_event(&gate, "state_recovered");
    // It was told last, so all that was told before is written with it or earlier.
    gate.await_stored("state_recovered");
    let gate = Gate::start_as_it_is(gate.kill());
    assert_eq!(green_percent(&gate), (60.0, "admin".into()));
    let reasons = format!("{:?}", gate.events());
    for reason in ["before-it-was-full", "in-memory-alone"] {
        assert!(reasons.contains(reason), "{reason} is not in the trail: {reasons}");
    }
}

#[test]
fn a_disk_on_the_brink_does_not_fill_the_trail_with_its_ups_and_downs() {
    let sides = pair();
    let gate = before_it_is_full(&setup(&sides));
    // The journal takes a few changes, and then no more until it is begun anew, which each try does.
    let journal = fs::metadata(gate.folder().join(format!("{STATE}-wal"))).unwrap().len();
    prlimit(gate.process_id(), &[&format!("--fsize={}:unlimited", journal + 16 * 1024)]);
    for green in 1..=30 {
        let split = [format!("blue={}", 100 - green), format!("green={green}")];
        let reason = format!("{}{green}", "long ".repeat(40));
        gate.run_ok(&["split", "app", &split[0], &split[1], "--reason", &reason]);
    }
    let told = kinds(&gate);
    for kind in ["state_write_failed", "state_recovered"] {
        let count = told.iter().filter(|known| *known == kind).count();
        // A slow machine may need two minutes.
        assert!((1..=2).contains(&count), "{kind} {count} times: {told:?}");
    }
    prlimit(gate.process_id(), &["--fsize=unlimited:unlimited"]);
    gate.run_ok(&["split", "app", "blue=50", "green=50", "--reason", "there-is-room-again"]);
    gate.await_stored("there-is-room-again");
    let gate = Gate::start_as_it_is(gate.kill());
    assert_eq!(green_percent(&gate), (50.0, "admin".into()));
}

#[test]
fn without_a_place_for_its_state_it_serves_from_memory() {
    let sides = pair();
    let folder = tempfile::tempdir().unwrap();
    let text = setup(&sides).text(folder.path()).replace(STATE, "tidegate.toml/state.db");
    fs::write(folder.path().join("tidegate.toml"), text).unwrap();
    let gate = Gate::start_as_it_is(folder);
    await_event(&gate, "state_write_failed");
    let answer = gate.admin("PUT", "/v1/routes/app/split", r#"{"blue": 40, "green": 60}"#);
    assert!(answer.text().contains(r#""durable":false"#), "{}", answer.text());
    assert_eq!(green_percent(&gate), (60.0, "admin".into()));
    assert_eq!(gate.client().get("/").status(), 200);
    gate.stop();
}

#[test]
fn a_second_process_does_not_take_the_state() {
    let sides = pair();
    let gate = Gate::start(&setup(&sides));
    gate.run_ok(&["split", "app", "blue=40", "green=60", "--reason", "of-the-first"]);
    let file = gate.folder().join("second.toml");
    let text = setup(&sides).text(gate.folder()).replace("admin.sock", "second.sock");
    fs::write(&file, text).unwrap();
    let ran = run_with(&["run", "-c", file.to_str().unwrap()], &[]);
    assert_eq!(ran.code, 71, "{ran:?}");
    assert!(ran.stderr.contains(STATE) && ran.stderr.contains("another"), "{ran:?}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    gate.run_ok(&["split", "app", "blue=30", "green=70"]);
    // The file is free again as soon as its owner has ended, however it did.
    let gate = Gate::start_as_it_is(gate.stop());
    assert_eq!(green_percent(&gate), (70.0, "admin".into()));
}
