//! What each source thinks of the canary.

use std::time::Duration;

use super::{Evidence, RuleReading};
use crate::{
    decision::condition::{Missing, Reading, Truth},
    domain::{
        Plan, Verdict, Weight,
        condition::Side,
        format_duration,
        plan::{ExternalSources, OnThinTraffic, Step},
        verdict::{Cause, CauseKind, Lack},
    },
};

/// What one source thinks.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// Which source.
    pub source: Source,
    /// What it thinks.
    pub verdict: Verdict,
    /// Why, a line for each reason; none for what is well.
    pub reasons: Vec<String>,
}

/// A source of verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The breaker and the budget.
    Reflexes,
    /// Conditions that turn a rollout back.
    Rules,
    /// Whether there are enough requests to say anything.
    Traffic,
    /// Conditions that a step must meet.
    Criteria,
}

impl Source {
    /// The word for it in the API.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reflexes => "reflexes",
            Self::Rules => "rules",
            Self::Traffic => "traffic",
            Self::Criteria => "criteria",
        }
    }
}

impl Opinion {
    const fn of(source: Source) -> Self {
        Self { source, verdict: Verdict::Pass, reasons: Vec::new() }
    }

    fn add(&mut self, verdict: Verdict, reason: String) {
        self.verdict = std::mem::replace(&mut self.verdict, Verdict::Pass).worst(verdict);
        self.reasons.push(reason);
    }
}

/// Breaker and budget.
pub(super) fn of_reflexes(evidence: &Evidence<'_>, reflex: Option<Cause>) -> Opinion {
    let mut opinion = Opinion::of(Source::Reflexes);
    if let Some(cause) = reflex {
        let reason = cause.text.clone();
        opinion.add(Verdict::Fail(cause), reason);
    }
    let (budget, spent) = (evidence.plan.budget, evidence.sample.spent);
    if budget.max_bad_responses.value().is_some_and(|most| spent.bad_responses >= most) {
        let text = format!("{} bad responses, the most allowed", spent.bad_responses);
        let cause = Cause::new(CauseKind::Budget, text.clone());
        opinion.add(Verdict::Fail(cause), text);
    }
    if budget.max_exposed_keys.value().is_some_and(|most| spent.exposed_keys >= most) {
        let text =
            format!("{} sessions have seen the canary, the most allowed", spent.exposed_keys);
        opinion.add(Verdict::Inconclusive(Lack::Budget), text);
    }
    opinion
}

/// Rules that turn back. What only compares with a baseline that the step leaves without requests says nothing and is
/// left out; so is what compares answers at a step where none is mirrored any more.
pub(super) fn of_rules(evidence: &Evidence<'_>, step: &Step, rules: &[RuleReading]) -> Opinion {
    let mut opinion = Opinion::of(Source::Rules);
    for rule in rules {
        let text = rule.reading.to_string();
        match &rule.reading.truth {
            Truth::False => {}
            Truth::True if rule.lasted >= rule.lasting => {
                let text = format!("{text}{}", for_as_long_as(rule.lasting));
                let cause = Cause::new(CauseKind::Rule, text.clone());
                opinion.add(Verdict::Fail(cause), text);
            }
            Truth::True => {
                let lasted = format_duration(Duration::from_secs(rule.lasted.as_secs()));
                let text = format!("{text} for {lasted} of {}", format_duration(rule.lasting));
                opinion.add(Verdict::Inconclusive(Lack::Criteria), text);
            }
            Truth::Inconclusive(
                Missing::Traffic { side: Side::Baseline, .. } | Missing::Comparisons { .. },
            ) if step.weight == Weight::FULL => {}
            Truth::Inconclusive(Missing::Unmeasured(_)) => {}
            Truth::Inconclusive(missing) => {
                if let Some(lack) = lack_of(missing, evidence.plan) {
                    opinion.add(Verdict::Inconclusive(lack), text);
                }
            }
        }
    }
    opinion
}

/// Whether there are enough requests to say anything at all.
pub(super) fn of_traffic(evidence: &Evidence<'_>, step: &Step) -> Opinion {
    let mut opinion = Opinion::of(Source::Traffic);
    if step.weight == Weight::ZERO {
        return opinion;
    }
    let plan = evidence.plan;
    if let Err(missing) = evidence.enough(Side::Canary, plan.window)
        && let Some(lack) = lack_of(&missing, plan)
    {
        opinion.add(Verdict::Inconclusive(lack), missing.to_string());
        // Time alone may pass a step that few come to, not one whose few requests go wrong.
        if plan.on_thin_traffic == OnThinTraffic::Advance && evidence.is_unanswered() {
            let text = "most of its few requests had no good answer".to_owned();
            opinion.add(Verdict::Inconclusive(Lack::Criteria), text);
        }
    }
    opinion
}

/// Conditions that the step must meet.
pub(super) fn of_criteria(plan: &Plan, criteria: &[Reading]) -> Opinion {
    let mut opinion = Opinion::of(Source::Criteria);
    for reading in criteria {
        let lack = match &reading.truth {
            Truth::True => None,
            Truth::False => Some(Lack::Criteria),
            Truth::Inconclusive(missing) => lack_of(missing, plan),
        };
        if let Some(lack) = lack {
            opinion.add(Verdict::Inconclusive(lack), reading.to_string());
        }
    }
    opinion
}

/// What weighs on the verdict when `missing`; `None` where the plan does not mind.
fn lack_of(missing: &Missing, plan: &Plan) -> Option<Lack> {
    match missing {
        Missing::Traffic { .. } | Missing::Comparisons { .. } => Some(Lack::Traffic),
        Missing::Settling => Some(Lack::Settling),
        Missing::Source(_) => (plan.external == ExternalSources::Required).then_some(Lack::Source),
        Missing::Unmeasured(_) => Some(Lack::Source),
    }
}

fn for_as_long_as(lasting: Duration) -> String {
    if lasting.is_zero() { String::new() } else { format!(" for {}", format_duration(lasting)) }
}
