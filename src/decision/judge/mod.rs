//! The judge: several sources of verdicts, of which the worst wins.
//!
//! Sources are the reflexes (breaker and budget), the rules that turn a rollout back, and the criteria of the step. Each
//! says what it thinks as an [`Opinion`]; a new source, such as a test against the baseline, is one opinion more.
//! A rule that is true but has not lasted yet, and whatever cannot be said, lets nothing go forward.

mod clock;
mod evidence;
mod opinion;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use clock::{AlertClock, Clocks, RuleClock};
pub use evidence::{Evidence, Sample, Spent};
pub use opinion::{Opinion, Source};

use super::condition::{Reading, Truth};
use crate::domain::{
    Plan, Severity, Verdict,
    plan::Step,
    verdict::{Cause, Lack},
};

/// What the judge says at one moment, with everything that it looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The worst of all opinions.
    pub verdict: Verdict,
    /// Each source with its reasons.
    pub opinions: Vec<Opinion>,
    /// The step's criteria, in the plan's order.
    pub criteria: Vec<Reading>,
    /// The rules that turn the rollout back, in the plan's order; those of other steps left out.
    pub rules: Vec<RuleReading>,
    /// The rules of its alerts, likewise.
    pub watched: Vec<RuleReading>,
    /// Alerts that came true or ended since the last look.
    pub alerts: Vec<AlertChange>,
}

/// A rule with its present values.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleReading {
    /// Its place in the plan.
    pub index: usize,
    /// Its values.
    pub reading: Reading,
    /// How long it has been true.
    pub lasted: Duration,
    /// How long it must be.
    pub lasting: Duration,
}

/// An alert that came true or ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertChange {
    /// Its values.
    pub reading: Reading,
    /// How much it matters.
    pub severity: Severity,
    /// It came true, rather than ended.
    pub raised: bool,
}

impl Default for Judgement {
    /// Before anything was looked at.
    fn default() -> Self {
        Self {
            verdict: Verdict::Inconclusive(Lack::Settling),
            opinions: Vec::new(),
            criteria: Vec::new(),
            rules: Vec::new(),
            watched: Vec::new(),
            alerts: Vec::new(),
        }
    }
}

impl Judgement {
    /// Why the verdict is what it is: the reasons of every opinion as bad as it.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        let level = self.verdict.level();
        let bad = self.opinions.iter().filter(move |opinion| opinion.verdict.level() == level);
        bad.flat_map(|opinion| opinion.reasons.iter().map(String::as_str))
    }
}

impl Judgement {
    /// What keeps `source` from being content, while it does not turn back.
    pub fn doubts(&self, source: Source) -> impl Iterator<Item = String> {
        let doubtful = move |opinion: &&Opinion| {
            opinion.source == source && matches!(opinion.verdict, Verdict::Inconclusive(_))
        };
        self.opinions.iter().filter(doubtful).flat_map(|opinion| opinion.reasons.clone())
    }
}

/// Looks at `evidence` for the step `step` of its plan, `elapsed` after the last look; `reflex` is what the breaker says.
pub fn judge(
    evidence: &Evidence<'_>,
    step: usize,
    clocks: &mut Clocks,
    elapsed: Duration,
    reflex: Option<Cause>,
) -> Judgement {
    let plan = evidence.plan;
    if !clocks.fit(plan) {
        *clocks = Clocks::new(plan);
    }
    let Some(step) = plan.steps.get(step) else { return Judgement::default() };
    let rules = read_rules(evidence, step, clocks, elapsed);
    let criteria: Vec<_> = step.require.iter().map(|c| Reading::of(c, evidence)).collect();
    let opinions = vec![
        opinion::of_reflexes(evidence, reflex),
        opinion::of_rules(evidence, step, &rules),
        opinion::of_traffic(evidence, step),
        opinion::of_criteria(plan, &criteria),
    ];
    let worst = |worst: Verdict, opinion: &Opinion| worst.worst(opinion.verdict.clone());
    let (watched, alerts) = read_alerts(evidence, step, plan, clocks, elapsed);
    Judgement {
        verdict: opinions.iter().fold(Verdict::Pass, worst),
        alerts,
        opinions,
        criteria,
        rules,
        watched,
    }
}

fn read_rules(
    evidence: &Evidence<'_>,
    step: &Step,
    clocks: &mut Clocks,
    elapsed: Duration,
) -> Vec<RuleReading> {
    let rules = evidence.plan.rollback.iter().zip(&mut clocks.rollback).enumerate();
    let read = |(index, (rule, clock)): (usize, (&crate::domain::plan::Rule, &mut RuleClock))| {
        if !rule.applies_to(&step.name) {
            *clock = RuleClock::default();
            return None;
        }
        let reading = Reading::of(&rule.when, evidence);
        clock.observe(elapsed, &reading.truth);
        Some(RuleReading { index, reading, lasted: clock.lasted, lasting: rule.lasting })
    };
    rules.filter_map(read).collect()
}

fn read_alerts(
    evidence: &Evidence<'_>,
    step: &Step,
    plan: &Plan,
    clocks: &mut Clocks,
    elapsed: Duration,
) -> (Vec<RuleReading>, Vec<AlertChange>) {
    let (mut watched, mut changes) = (Vec::new(), Vec::new());
    for (index, (alert, clock)) in plan.alerts.iter().zip(&mut clocks.alerts).enumerate() {
        let lasting = alert.rule.lasting;
        let reading = Reading::of(&alert.rule.when, evidence);
        let applies = alert.rule.applies_to(&step.name);
        let truth = if applies { &reading.truth } else { &Truth::False };
        if let Some(raised) = clock.observe(elapsed, truth, lasting, plan.window) {
            let reading = reading.clone();
            changes.push(AlertChange { reading, severity: alert.severity, raised });
        }
        if applies {
            watched.push(RuleReading { index, reading, lasted: clock.clock.lasted, lasting });
        }
    }
    (watched, changes)
}
