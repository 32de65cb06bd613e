//! One attempt to move traffic, as the state file keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    control::report::{CheckRun, HookRun},
    decision::{judge::Spent, rollout::State},
    domain::{BackendName, CheckResult, Plan, RolloutName, Split, Weight},
};

/// The newest run of every rollout that ever ran.
pub(in crate::control) type Runs = BTreeMap<RolloutName, Run>;

/// Checks and hooks that a run remembers, the newest.
const MAX_REMEMBERED: usize = 200;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::control) struct Run {
    /// Counts the runs of this rollout from 1.
    pub(in crate::control) number: u64,
    pub(in crate::control) record: Record,
}

/// All that a restart must know of a run to go on where it was, and a report to tell what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::control) struct Record {
    /// The machine's whole state, with the plan that it follows.
    pub(in crate::control) state: State,
    pub(in crate::control) log: RunLog,
}

/// What the controller knows of a run beside the machine's state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::control) struct RunLog {
    /// The plan as the file had it when the run began.
    pub(super) planned: Plan,
    /// What the file said of the route's split then.
    #[serde(default)]
    pub(super) file_split: BTreeMap<BackendName, Weight>,
    /// When it began, in Unix milliseconds; 0 before the first run.
    #[serde(default)]
    pub(super) started_at_ms: u64,
    /// When it came into its phase.
    #[serde(default)]
    pub(super) since_ms: u64,
    /// When it ended.
    #[serde(default)]
    pub(super) ended_at_ms: Option<u64>,
    /// Whether the route's split is somebody else's again.
    #[serde(default)]
    pub(super) released: bool,
    /// The last thing that was decided.
    #[serde(default)]
    pub(super) because: String,
    /// Attempts of the canary.
    #[serde(default)]
    pub(super) requests: u64,
    /// Sessions that saw it.
    #[serde(default)]
    pub(super) sessions: u64,
    /// The bound up to which the budget may be spent, and counts as spent after a kill.
    #[serde(default)]
    pub(super) reserved: Spent,
    /// Thresholds changed by hand.
    #[serde(default)]
    pub(super) changed: Vec<String>,
    #[serde(default)]
    pub(super) checks: Vec<CheckRun>,
    #[serde(default)]
    pub(super) hooks: Vec<HookRun>,
}

impl RunLog {
    /// Of a rollout that never ran.
    pub(super) fn none(plan: &Plan) -> Self {
        Self {
            planned: plan.clone(),
            file_split: BTreeMap::new(),
            started_at_ms: 0,
            since_ms: 0,
            ended_at_ms: None,
            released: false,
            because: String::new(),
            requests: 0,
            sessions: 0,
            reserved: Spent::default(),
            changed: Vec::new(),
            checks: Vec::new(),
            hooks: Vec::new(),
        }
    }

    /// Of a run of `planned` that begins now.
    pub(super) fn begin(planned: &Plan, file_split: &Split, now_ms: u64) -> Self {
        Self {
            file_split: file_split.shares().iter().cloned().collect(),
            started_at_ms: now_ms,
            since_ms: now_ms,
            ..Self::none(planned)
        }
    }

    /// Remembers how a check went; of those that went alike in a row, the last is enough.
    pub(super) fn remember_check(&mut self, check: CheckRun) {
        let repeats = |known: &CheckRun| {
            known.name == check.name && known.stage == check.stage && known.ok == check.ok
        };
        self.checks.retain(|known| !repeats(known));
        self.checks.push(check);
        shorten(&mut self.checks);
    }

    /// Whether a check of the stage `during` goes otherwise than the last time that it was remembered.
    pub(super) fn is_news(&self, result: &CheckResult) -> bool {
        let same =
            |known: &&CheckRun| known.name == result.name && known.stage == result.stage.label();
        self.checks.iter().rfind(same).is_none_or(|known| known.ok != result.passed)
    }

    /// Remembers thresholds that were changed by hand.
    pub(super) fn note_changes(&mut self, changes: Vec<String>) {
        self.changed.extend(changes);
        shorten(&mut self.changed);
    }

    /// Remembers how a hook went.
    pub(super) fn remember_hook(&mut self, hook: HookRun) {
        self.hooks.push(hook);
        shorten(&mut self.hooks);
    }
}

fn shorten<T>(list: &mut Vec<T>) {
    let surplus = list.len().saturating_sub(MAX_REMEMBERED);
    list.drain(..surplus);
}

#[cfg(test)]
pub(in crate::control) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        decision::rollout::{Phase, Stay},
        domain::plan::tests::plan,
    };

    /// A run at the first step of a plan, for so long.
    pub(in crate::control) fn record(served: Duration) -> Record {
        let mut state = State::idle(plan());
        state.phase = Phase::Baking(Stay { served, ..Stay::at(0) });
        Record { state, log: RunLog::none(&plan()) }
    }

    #[test]
    fn a_record_survives_its_json() {
        let mut record = record(Duration::from_millis(1_250));
        record.log.changed.push("min_requests 50 → 5".to_owned());
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    /// What a version may have lacked, or a later one adds; nothing else can be guessed.
    #[test]
    fn a_record_of_another_version_is_read_where_something_sane_stands_in() {
        let whole = serde_json::to_value(record(Duration::from_secs(9))).unwrap();
        let mut older = whole.clone();
        let gone = [
            ("/state", vec!["elapsed", "clocks", "spent", "overdue"]),
            ("/state/phase/baking", vec!["served", "errands", "hurried", "told"]),
            ("/state/plan", vec!["auto_start", "alerts", "deadline", "budget", "external"]),
            ("/state/plan/steps/0", vec!["gate"]),
            ("/log", vec!["file_split", "released", "because", "sessions", "checks", "hooks"]),
        ];
        for (place, keys) in gone {
            let object = older.pointer_mut(place).unwrap().as_object_mut().unwrap();
            for key in keys {
                assert!(object.remove(key).is_some(), "{place}/{key}");
            }
        }
        let read: Record = serde_json::from_value(older).unwrap();
        assert_eq!(read.state.phase, Phase::Baking(Stay::at(0)), "the hold begins anew");
        assert!(!read.log.released, "it keeps the word on its route");
        let mut newer = whole.clone();
        for place in
            ["", "/state", "/state/phase/baking", "/state/plan", "/state/plan/steps/0", "/log"]
        {
            newer.pointer_mut(place).unwrap()["of tomorrow"] = serde_json::json!({ "x": [1] });
        }
        assert_eq!(
            serde_json::from_value::<Record>(newer).unwrap(),
            record(Duration::from_secs(9))
        );
        for key in ["steps", "rollback", "canary"] {
            let mut broken = whole.clone();
            broken["state"]["plan"].as_object_mut().unwrap().remove(key);
            assert!(serde_json::from_value::<Record>(broken).is_err(), "{key} cannot be guessed");
        }
    }

    #[test]
    fn of_checks_that_go_alike_the_last_is_remembered() {
        let mut log = RunLog::none(&plan());
        let check = |ok, took_ms| CheckRun {
            name: "reads".to_owned(),
            category: "api".to_owned(),
            stage: "during".to_owned(),
            ok,
            detail: String::new(),
            took_ms,
        };
        for (ok, took_ms) in [(true, 1), (true, 2), (false, 3), (true, 4)] {
            log.remember_check(check(ok, took_ms));
        }
        assert_eq!(log.checks, [check(false, 3), check(true, 4)]);
        (0..1_000).for_each(|_| log.note_changes(vec!["x".to_owned()]));
        assert_eq!(log.changed.len(), MAX_REMEMBERED);
    }
}
