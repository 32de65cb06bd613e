//! The checks of the stage `during`: each runs again and again for as long as this value lives.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{task::AbortHandle, time::MissedTickBehavior};

use super::{CheckTargets, run_check};
use crate::{
    config::model::Check,
    control::Outbound,
    domain::{CheckResult, CheckStage},
    lifecycle::Tasks,
    routing::TableView,
};

/// Checks that run while a rollout does. They end with this value.
#[derive(Debug)]
pub struct RunningChecks {
    /// The last result of each, by its place in the file.
    results: Results,
    /// Checks that must have run before anything can be said.
    required: Vec<usize>,
    tasks: Vec<AbortHandle>,
}

type Results = Arc<Mutex<BTreeMap<usize, CheckResult>>>;

impl RunningChecks {
    /// Begins with those of `checks` that have the stage `during`; each time they ask the endpoints that are in use then.
    /// Needs a runtime.
    pub fn start(
        checks: &[Check],
        (targets, table): (&CheckTargets, &TableView),
        tasks: &Tasks,
        outbound: &Outbound,
    ) -> Self {
        let results = Results::default();
        let during =
            checks.iter().enumerate().filter(|(_, c)| c.stages.contains(&CheckStage::During));
        let during: Vec<_> = during.collect();
        let required = during.iter().filter(|(_, check)| check.required).map(|(at, _)| *at);
        let required = required.collect();
        let start = |(at, check): (usize, &Check)| {
            let running = Running {
                at,
                check: check.clone(),
                targets: targets.clone(),
                table: table.clone(),
                outbound: outbound.clone(),
                results: results.clone(),
            };
            tasks.keep("check", move || running.clone().run()).abort_handle()
        };
        let tasks = during.into_iter().map(start).collect();
        Self { results, required, tasks }
    }

    /// How many required checks failed when they last ran; `None` until each of them has run once.
    pub fn failed(&self) -> Option<u64> {
        let results = locked(&self.results);
        let mut failed = 0;
        for at in &self.required {
            failed += u64::from(!results.get(at)?.passed);
        }
        Some(failed)
    }

    /// The last result of each check that has run, in the order of the file.
    pub fn results(&self) -> Vec<CheckResult> {
        locked(&self.results).values().cloned().collect()
    }
}

impl Drop for RunningChecks {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// One check and what it needs.
#[derive(Debug, Clone)]
struct Running {
    at: usize,
    check: Check,
    targets: CheckTargets,
    table: TableView,
    outbound: Outbound,
    results: Results,
}

impl Running {
    async fn run(mut self) {
        let mut turns = tokio::time::interval(self.check.interval);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.targets.follow(&self.table.current());
            let Self { check, targets, outbound, .. } = &self;
            let result = run_check(check, CheckStage::During, targets, outbound).await;
            locked(&self.results).insert(self.at, result);
        }
    }
}

fn locked(results: &Results) -> MutexGuard<'_, BTreeMap<usize, CheckResult>> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}
