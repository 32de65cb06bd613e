//! One rollout as the controller drives it: its machine, what the data plane shares with it, and what is known of its run.

use std::{collections::BTreeMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    RolloutStatus, Run,
    ladder::Ladder,
    run::{Record, RunLog},
    sampler::Sampler,
};
use crate::{
    config::model::Rollout,
    control::{checks::RunningChecks, mailbox::Answer},
    decision::{
        judge,
        lease::Lease,
        rollout::{Engine, Hold, Phase, State},
    },
    domain::{Moment, Plan, RolloutName, SeriesId, Split, SplitError, Weight, plan::Budget},
    routing::{Guard, GuardLimits, RolloutTraffic, Side, Spent},
    telemetry::{Recorder, SeriesExhausted},
};

/// A rollout of the configuration, or one that still owns its route.
#[derive(Debug)]
pub(in crate::control) struct Drive {
    pub(super) engine: Engine,
    /// Number of the newest run; 0 before the first.
    pub(super) number: u64,
    pub(super) log: RunLog,
    pub(super) guard: Arc<Guard>,
    pub(super) baseline: Side,
    pub(super) canary: Side,
    fallbacks: SeriesId,
    pub(super) sampler: Sampler,
    /// Attempts of the canary in this run, before this process took it over.
    requests_until_now: u64,
    /// Sessions that had seen the canary then.
    sessions_until_now: u64,
    /// What the counters had then.
    requests_before: u64,
    /// Whoever waits for a move to take effect.
    pub(super) waiting: Vec<Waiting>,
    /// Whether the file has the last move; otherwise why not.
    pub(super) unwritten: Option<String>,
    /// Checks that run as long as the canary has traffic.
    pub(super) during: Option<RunningChecks>,
    /// When the canary was called back, until its last byte has gone out.
    pub(super) recalled_at: Option<Moment>,
    /// Rollbacks since the process began, by cause.
    pub(super) rollbacks: BTreeMap<&'static str, u64>,
    /// Phase and step when it was last looked at.
    pub(super) place: (&'static str, Option<usize>),
    /// How much of the budget may be spent now.
    pub(super) lease: Lease,
    /// Before this no higher bound is asked for: the disk did not take the last one.
    pub(super) lease_rests_until: Moment,
    /// Its section as the file had it last, with checks and hooks: a run needs them also when the section has gone.
    pub(super) written: Option<Rollout>,
    /// Hooks of the last rollback, while they are called.
    pub(super) ladder: Option<Ladder>,
    /// What was in force when the state file could not be read: it has the word as soon as it can.
    pub(super) is_stand_in: bool,
}

/// An operator who waits for a move.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) answer: Answer<RolloutStatus>,
    pub(super) until: Moment,
}

impl Drive {
    /// A rollout that has not begun.
    pub(super) fn idle(
        plan: Plan,
        recorder: &Recorder,
        workers: usize,
    ) -> Result<Self, SeriesExhausted> {
        let log = RunLog::none(&plan);
        Self::new(0, Record { state: State::idle(plan), log }, recorder, workers)
    }

    /// A rollout that goes on from what was kept.
    pub(super) fn resumed(
        run: Run,
        recorder: &Recorder,
        workers: usize,
    ) -> Result<Self, SeriesExhausted> {
        Self::new(run.number, run.record, recorder, workers)
    }

    /// The same with the history of `old`, whose place it takes.
    pub(super) fn after(self, old: Self) -> Self {
        let Self { number, rollbacks, ladder, written, .. } = old;
        Self { number, rollbacks, ladder, written, ..self }
    }

    fn new(
        number: u64,
        record: Record,
        recorder: &Recorder,
        workers: usize,
    ) -> Result<Self, SeriesExhausted> {
        let Record { state, log } = record;
        let side = |backend| -> Result<Side, SeriesExhausted> {
            let plan = &state.plan;
            let series = recorder.series(&plan.route, backend)?;
            let judged = recorder.judged(&plan.route, backend)?;
            Ok(Side { backend: backend.clone(), series, judged })
        };
        let (baseline, canary) = (side(&state.plan.baseline)?, side(&state.plan.canary)?);
        let fallbacks = recorder.fallback(&state.plan.route, &canary.backend, &baseline.backend)?;
        let guard = guard(&state.plan, workers);
        let place = (state.phase.label(), state.phase.stay().map(|stay| stay.step));
        // Of what may have been spent since the last record, nobody knows but this bound.
        let spent = judge::Spent {
            bad_responses: state.spent.bad_responses.max(log.reserved.bad_responses),
            exposed_keys: state.spent.exposed_keys.max(log.reserved.exposed_keys),
        };
        let judge::Spent { bad_responses, exposed_keys } = spent;
        guard.restore(Spent { bad_responses, exposed_keys });
        let drive = Self {
            sampler: Sampler::new(&state.plan),
            requests_until_now: log.requests,
            sessions_until_now: log.sessions,
            requests_before: recorder.totals(canary.series).judged(),
            engine: Engine::new(state),
            number,
            log,
            guard,
            baseline,
            canary,
            fallbacks,
            waiting: Vec::new(),
            unwritten: None,
            during: None,
            recalled_at: None,
            rollbacks: BTreeMap::new(),
            place,
            lease: Lease::of_nothing_beyond(spent),
            lease_rests_until: Moment::default(),
            written: None,
            ladder: None,
            is_stand_in: false,
        };
        drive.set_limits();
        Ok(drive)
    }

    /// Begins a new run of the plan that it has now, of a route that the file splits by `file_split`.
    pub(super) fn begin_run(&mut self, file_split: &Split, recorder: &Recorder, now_ms: u64) {
        let plan = self.plan().clone();
        self.number += 1;
        self.guard = guard(&plan, recorder.workers());
        self.sampler = Sampler::new(&plan);
        (self.requests_until_now, self.sessions_until_now) = (0, 0);
        self.requests_before = recorder.totals(self.canary.series).judged();
        self.log = RunLog::begin(&plan, file_split, now_ms);
        // The canary gets nothing before a record of this run is durable, which holds the bound.
        self.lease = Lease::of_a_new_run(&plan.budget);
        self.log.reserved = self.lease.granted();
        self.set_limits();
        (self.recalled_at, self.during) = (None, None);
        self.is_stand_in = false;
    }

    /// Sessions that saw the canary in this run, at most: who came back after a restart counts again.
    pub(super) fn sessions(&self) -> u64 {
        self.sessions_until_now + self.guard.sessions()
    }

    pub(super) fn state(&self) -> &State {
        self.engine.state()
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.state().plan
    }

    /// Whether it decides its route's split: it runs, or has ended and nobody else has spoken since.
    pub(in crate::control) fn owns_route(&self) -> bool {
        !self.log.released && self.state().weight().is_some()
    }

    /// Whether there is anything to look at.
    pub(super) fn is_busy(&self) -> bool {
        let begins = matches!(self.state().phase, Phase::Idle) && self.plan().auto_start;
        begins || self.state().phase.is_running() || self.recalled_at.is_some()
    }

    /// Whether a move is under way that an operator asked for: it waits for the disk, or for hooks and checks.
    pub(super) fn is_on_its_way(&self) -> bool {
        let runs = |why: &Hold| *why == Hold::Errand;
        self.state().is_moving()
            || matches!(&self.state().phase, Phase::Holding { stay, why } if stay.hurried && runs(why))
    }

    /// Attempts of the canary in this run.
    pub(super) fn requests(&self, recorder: &Recorder) -> u64 {
        let now = recorder.totals(self.canary.series).judged();
        self.requests_until_now + now.saturating_sub(self.requests_before)
    }

    /// What the file is to hold of it.
    pub(super) fn kept(&self, state: State) -> Run {
        Run { number: self.number, record: Record { state, log: self.log.clone() } }
    }

    /// How the data plane is to divide the route from now on.
    pub(super) fn traffic(&self, weight: Weight) -> Result<RolloutTraffic, SplitError> {
        Ok(RolloutTraffic {
            split: split(self.plan(), weight)?,
            salt: salt(&self.plan().name, self.number),
            baseline: self.baseline.clone(),
            canary: self.canary.clone(),
            fallbacks: self.fallbacks,
            guard: self.guard.clone(),
            epoch: self.guard.begin_epoch(),
        })
    }

    /// Holds the data plane to the limits of the plan as it is now. A rollout that has ended has none: a budget that it left
    /// behind would take the traffic of a promoted canary away, long after anybody decided so.
    pub(super) fn set_limits(&self) {
        let runs = self.state().phase.is_running();
        let limits = |plan| limits(plan, &self.lease.allowed(&plan.budget));
        self.guard.set_limits(if runs { limits(self.plan()) } else { GuardLimits::default() });
    }
}

/// The canary gets `weight`, the baseline the rest.
pub(super) fn split(plan: &Plan, weight: Weight) -> Result<Split, SplitError> {
    let rest = Weight::FULL.basis_points() - weight.basis_points();
    let rest = Weight::from_basis_points(rest).unwrap_or(Weight::ZERO);
    Split::new(vec![(plan.baseline.clone(), rest), (plan.canary.clone(), weight)])
}

/// Another for each run, so that the same people are not the first to try each release.
fn salt(name: &RolloutName, number: u64) -> u64 {
    xxh3_64(format!("{name}#{number}").as_bytes())
}

fn guard(plan: &Plan, workers: usize) -> Arc<Guard> {
    Arc::new(Guard::new(workers, limits(plan, &plan.budget)))
}

fn limits(plan: &Plan, budget: &Budget) -> GuardLimits {
    let in_row = plan.breaker.consecutive_failures.value();
    GuardLimits {
        failures_in_row: in_row.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
        max_bad_responses: budget.max_bad_responses.value(),
        max_exposed_keys: budget.max_exposed_keys.value(),
    }
}
