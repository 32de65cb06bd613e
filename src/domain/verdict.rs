//! What the evidence says about a canary, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the evidence says at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Good enough to go on.
    Pass,
    /// Neither good enough to go on nor bad enough to turn back.
    Inconclusive(Lack),
    /// Bad: turn back.
    Fail(Cause),
}

impl Verdict {
    /// As the metric `tidegate_verdict` says it: -1, 0 or 1.
    pub const fn level(&self) -> i8 {
        match self {
            Self::Pass => 1,
            Self::Inconclusive(_) => 0,
            Self::Fail(_) => -1,
        }
    }

    /// The word for it in messages.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive(_) => "inconclusive",
            Self::Fail(_) => "fail",
        }
    }

    /// The worse of two; of two that lack something, the one whose lack weighs more.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let rank = |verdict: &Self| match verdict {
            Self::Pass => (0, None),
            Self::Inconclusive(lack) => (1, Some(*lack)),
            Self::Fail(_) => (2, None),
        };
        if rank(&other) > rank(&self) { other } else { self }
    }
}

/// What is missing for a verdict, from what weighs least to what weighs most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// Too few requests.
    Traffic,
    /// The weight has only just changed.
    Settling,
    /// A criterion is not met yet.
    Criteria,
    /// A source of measurements does not answer.
    Source,
    /// No more sessions may see the canary.
    Budget,
}

impl Lack {
    /// For messages: what it waits for.
    pub const fn described(self) -> &'static str {
        match self {
            Self::Traffic => "too few requests",
            Self::Settling => "the weight has only just changed",
            Self::Criteria => "a criterion is not met yet",
            Self::Source => "a source of measurements does not answer",
            Self::Budget => "no more sessions may see the canary",
        }
    }
}

/// What made a rollout turn back or stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its kind, which labels a metric.
    pub kind: CauseKind,
    /// For people: the rule with its values, the operator's reason.
    pub text: String,
}

impl Cause {
    /// A cause with its text.
    pub fn new(kind: CauseKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.text)
    }
}

/// Kinds of causes: a bounded set, for it labels a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// A condition of the plan's `rollback`.
    Rule,
    /// Failures in a row, or too large a share of few.
    Breaker,
    /// The comparison with the baseline.
    Evidence,
    /// Bad responses beyond the budget.
    Budget,
    /// The rollout's longest time is over.
    Deadline,
    /// A required check.
    Check,
    /// A required hook.
    Hook,
    /// A person.
    Operator,
    /// The state kept over a restart could not be used.
    State,
}

impl CauseKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Rule,
        Self::Breaker,
        Self::Evidence,
        Self::Budget,
        Self::Deadline,
        Self::Check,
        Self::Hook,
        Self::Operator,
        Self::State,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Breaker => "breaker",
            Self::Evidence => "evidence",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Check => "check",
            Self::Hook => "hook",
            Self::Operator => "operator",
            Self::State => "state",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_wins_and_among_lacks_the_heaviest() {
        let fail = || Verdict::Fail(Cause::new(CauseKind::Rule, "x"));
        let lacks = |lack| Verdict::Inconclusive(lack);
        assert_eq!(Verdict::Pass.worst(lacks(Lack::Traffic)), lacks(Lack::Traffic));
        assert_eq!(lacks(Lack::Criteria).worst(lacks(Lack::Traffic)), lacks(Lack::Criteria));
        assert_eq!(lacks(Lack::Budget).worst(fail()), fail());
        assert_eq!(fail().worst(Verdict::Pass), fail());
        assert_eq!(
            [fail().level(), lacks(Lack::Source).level(), Verdict::Pass.level()],
            [-1, 0, 1]
        );
    }

    #[test]
    fn labels_are_what_json_says() {
        for kind in CauseKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
        }
    }
}
