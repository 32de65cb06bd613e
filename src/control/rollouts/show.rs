//! A rollout as everybody sees it.

use std::sync::Arc;

use super::{
    ConditionStatus, Exposure, RolloutStatus, StepStatus, VerdictStatus, board::Shown, drive::Drive,
};
use crate::{
    config::Config,
    control::{Controller, status::rfc3339},
    decision::{
        condition::{Reading, Truth},
        judge::{RuleReading, Source},
        rollout::{Hold, Phase, Verb},
    },
    domain::Plan,
    lifecycle::clock,
    telemetry::Recorder,
};

impl Controller {
    /// Publishes how every rollout stands.
    pub(in crate::control) fn show_rollouts(&mut self) {
        let config = self.config.borrow().clone();
        let shown = self.drives.values();
        let shown = shown.map(|drive| drive.shown(&config, &self.recorder, self.disk_writes));
        self.board.send_replace(Arc::new(shown.collect()));
    }
}

impl Drive {
    fn shown(&self, config: &Config, recorder: &Recorder, disk_writes: bool) -> Shown {
        let log = &self.log;
        Shown {
            status: self.status(config, recorder, disk_writes),
            owns_route: self.owns_route(),
            started_at_ms: (log.started_at_ms > 0).then_some(log.started_at_ms),
            ended_at_ms: log.ended_at_ms,
            rollbacks: self.rollbacks.clone(),
            checks: log.checks.clone(),
            hooks: log.hooks.clone(),
        }
    }

    /// How it stands, beside `config`.
    pub(super) fn status(
        &self,
        config: &Config,
        recorder: &Recorder,
        disk_writes: bool,
    ) -> RolloutStatus {
        let (state, log, plan) = (self.state(), &self.log, self.plan());
        let stay = state.phase.stay();
        let begun = log.started_at_ms > 0;
        let written = config.rollouts.iter().find(|known| known.plan.name == plan.name);
        RolloutStatus {
            name: plan.name.clone(),
            route: plan.route.clone(),
            baseline: plan.baseline.clone(),
            canary: plan.canary.clone(),
            phase: state.phase.label().to_owned(),
            step: state.step_name().map(ToString::to_string),
            weight: state.weight().unwrap_or_default(),
            since: rfc3339(log.since_ms),
            started: begun.then(|| rfc3339(log.started_at_ms)),
            run: self.number,
            step_number: stay.map_or(0, |stay| stay.step + 1),
            steps: steps(plan),
            served_s: stay.map_or(0.0, |stay| stay.served.as_secs_f64()),
            left_s: state.left().map_or(0.0, |left| left.as_secs_f64()),
            because: log.because.clone(),
            missing: self.missing(),
            verdict: self.verdict(),
            conditions: self.conditions(),
            fits: self.fits(),
            exposure: self.exposure(recorder),
            changed: log.changed.clone(),
            plan_differs: self.follows_plan()
                && written.is_none_or(|written| written.plan != log.planned),
            durable: disk_writes && self.unwritten.is_none() && !self.is_stand_in,
        }
    }

    fn verdict(&self) -> VerdictStatus {
        let judgement = self.engine.judgement();
        if self.log.started_at_ms == 0 {
            return VerdictStatus::default();
        }
        VerdictStatus {
            outcome: judgement.verdict.label().to_owned(),
            reasons: judgement.reasons().map(str::to_owned).collect(),
        }
    }

    /// What keeps it from going on, for people.
    fn missing(&self) -> Vec<String> {
        let state = self.state();
        let climbed = self.climbed(clock::now()).map(|climb| climb.to_string());
        let mut missing: Vec<_> = climbed.into_iter().collect();
        let Some(_) = state.phase.stay() else { return missing };
        if let Phase::Holding {
            why: why @ (Hold::Errand | Hold::Writing | Hold::ErrandFailed | Hold::NotWritten),
            ..
        } = &state.phase
        {
            missing.push(why.described().to_owned());
        }
        if self.is_short_of_lease() {
            let text = "what may be spent of the budget must be in the state file first: new requests go to the baseline";
            missing.push(text.to_owned());
        }
        let judgement = self.engine.judgement();
        missing.extend(judgement.doubts(Source::Reflexes));
        let lacking = judgement.criteria.iter().filter(|reading| !reading.is_true());
        missing.extend(lacking.map(ToString::to_string));
        let settling = self.engine.settling();
        if missing.is_empty() && !settling.is_zero() {
            missing
                .push(format!("the weight has only just changed; {:.1} s", settling.as_secs_f64()));
        }
        if missing.is_empty() {
            missing.extend(judgement.doubts(Source::Rules));
            missing.extend(judgement.doubts(Source::Traffic));
        }
        missing
    }

    /// Verbs that fit; none begins a run while the ladder of the last one is climbed.
    fn fits(&self) -> Vec<String> {
        let climbs = self.climbed(clock::now()).is_some();
        let fitting = self.state().fitting().iter();
        let fitting = fitting.filter(|verb| !climbs || **verb != Verb::Start);
        fitting.map(|verb| verb.word().to_owned()).collect()
    }

    fn conditions(&self) -> Vec<ConditionStatus> {
        let judgement = self.engine.judgement();
        let criteria = judgement.criteria.iter().map(|reading| condition("require", reading));
        let rules = judgement.rules.iter().map(|known| rule("rollback", known));
        let alerts = judgement.watched.iter().map(|known| rule("alert", known));
        criteria.chain(rules).chain(alerts).collect()
    }

    fn exposure(&self, recorder: &Recorder) -> Exposure {
        let (budget, spent) = (self.plan().budget, self.guard.spent());
        let max_keys = budget.max_exposed_keys.value();
        Exposure {
            requests: if self.log.started_at_ms > 0 { self.requests(recorder) } else { 0 },
            bad_responses: spent.bad_responses,
            max_bad_responses: budget.max_bad_responses.value(),
            keys: Some(max_keys.map_or_else(|| self.sessions(), |_| spent.exposed_keys)),
            max_keys,
        }
    }

    /// Whether it follows the plan that its run began with.
    pub(super) fn follows_plan(&self) -> bool {
        self.state().phase.is_running()
    }
}

fn steps(plan: &Plan) -> Vec<StepStatus> {
    let status = |step: &crate::domain::plan::Step| StepStatus {
        name: step.name.to_string(),
        weight: step.weight,
        hold_s: step.hold.as_secs_f64(),
        gate: step.gate,
        require: step.require.iter().map(ToString::to_string).collect(),
    };
    plan.steps.iter().map(status).collect()
}

fn rule(role: &str, rule: &RuleReading) -> ConditionStatus {
    ConditionStatus {
        for_s: rule.lasting.as_secs_f64(),
        true_for_s: rule.lasted.as_secs_f64(),
        ..condition(role, &rule.reading)
    }
}

fn condition(role: &str, reading: &Reading) -> ConditionStatus {
    let show = |value: Option<f64>| value.map(|value| reading.unit.show(value));
    let (truth, missing) = match &reading.truth {
        Truth::True => ("true", None),
        Truth::False => ("false", None),
        Truth::Inconclusive(missing) => ("inconclusive", Some(missing.to_string())),
    };
    ConditionStatus {
        role: role.to_owned(),
        condition: reading.condition.clone(),
        truth: truth.to_owned(),
        left: show(reading.left),
        right: show(reading.right),
        missing,
        for_s: 0.0,
        true_for_s: 0.0,
    }
}
