//! `[rollout.NAME]`, key by key.

use std::time::Duration;

use super::leaf::{ConditionText, CountOrOff, DurationOrZero, GateWord};
use crate::{
    config::{
        collection::List,
        defaults,
        leaf::{DurationOrOff, Whole},
        outside::raw::{Check, Hook},
        section::section,
    },
    domain::{
        BackendName, RouteName, Severity, StepName, Weight,
        plan::{ExternalSources, OnFailure, OnThinTraffic},
    },
};

/// Most rollouts of one file.
pub(in crate::config) const MAX_ROLLOUTS: usize = 1_000;

/// Conditions that must all be true.
type Conditions = List<ConditionText, 0, 32>;

/// Names of steps.
type StepNames = List<StepName, 0, 64>;

section! {
    /// A rollout: moves a route's split from one backend to another, step by step, and back at once.
    Rollout {
        /// The route whose split it moves.
        required route: RouteName;
        /// The backend known to be good.
        required baseline: BackendName;
        /// The backend under trial.
        required canary: BackendName;
        /// Begin by itself when the process starts or the section appears.
        default auto_start: bool = false;
        /// Over which a rate or percentile is taken, unless a condition says its own.
        default window: Duration = defaults::ROLLOUT_WINDOW;
        /// Judged requests in the window, below which a rate or latency says nothing.
        default min_requests: Whole<0, 1_000_000_000> = Whole(defaults::MIN_REQUESTS);
        /// Not judged, after a change of weight.
        default settle: DurationOrZero = DurationOrZero(defaults::SETTLE);
        /// When a step's time is over and there were too few requests: "hold" until there are
        /// enough, or "advance".
        default on_thin_traffic: OnThinTraffic = OnThinTraffic::Hold;
        /// When the canary fails: "rollback", or "pause" for what cannot be undone.
        default on_failure: OnFailure = OnFailure::Rollback;
        /// A metric source out of reach: "required" holds, "optional" leaves its conditions out.
        default external: ExternalSources = ExternalSources::Required;
        /// Longest time for the whole rollout, pauses included; past it `on_failure` applies.
        default deadline: DurationOrOff = DurationOrOff(None);
        /// Weights in the order in which the canary gets them.
        required step: List<Step, 1, 64>;
        /// Any of them true for its whole time turns the rollout back.
        default rollback: List<RollbackRule, 0, 64> = List::unwritten([]);
        /// They tell somebody and change nothing.
        default alert: List<AlertRule, 0, 64> = List::unwritten([]);
        /// The reflex, decided without waiting for a window.
        section breaker: Breaker;
        /// Hard limits, held in the data path.
        section budget: Budget;
        /// Synthetic transactions.
        default check: List<Check, 0, 256> = List::unwritten([]);
        /// Programs and addresses called on the way.
        default hook: List<Hook, 0, 64> = List::unwritten([]);
    }
    later { "judge"; }
}

section! {
    /// A weight, a time, and what it takes to leave.
    Step {
        /// Unique name.
        required name: StepName;
        /// The canary's percentage, at most two decimals; never less than the step's before.
        required weight: Weight;
        /// Shortest time at this weight.
        required hold: DurationOrZero;
        /// "manual" waits for `tidegate advance` once the criteria are met; "none" does not.
        default gate: GateWord = GateWord::None;
        /// Conditions that must be true at the end.
        default require: Conditions = List::unwritten([]);
    }
}

section! {
    /// A condition that turns the rollout back.
    RollbackRule {
        /// The condition.
        required when: ConditionText;
        /// It must be true for this long without a break.
        default r#for: DurationOrZero = DurationOrZero(Duration::ZERO);
        /// Steps at which it is looked at; all of them without it.
        default steps: StepNames = List::unwritten([]);
    }
}

section! {
    /// A condition that somebody is told of.
    AlertRule {
        /// The condition.
        required when: ConditionText;
        /// It must be true for this long without a break.
        default r#for: DurationOrZero = DurationOrZero(Duration::ZERO);
        /// Steps at which it is looked at; all of them without it.
        default steps: StepNames = List::unwritten([]);
        /// "warning" or "critical"; "info" too.
        default severity: Severity = Severity::Warning;
    }
}

section! {
    /// The reflex, decided without waiting for a window.
    Breaker {
        /// Failures of the canary in a row; "off" for any number.
        default consecutive_failures: CountOrOff = CountOrOff(Some(defaults::BREAKER_FAILURES));
        /// Share of failures among the canary's last attempts, while the baseline is below 5%.
        default failure_share: Weight = defaults::BREAKER_SHARE;
        /// Fewer attempts than this say nothing.
        default of_at_least: Whole<1, 1_000_000> = Whole(defaults::BREAKER_ATTEMPTS);
        /// How far back it looks.
        default within: Duration = defaults::BREAKER_WITHIN;
    }
}

section! {
    /// Hard limits, held in the data path.
    Budget {
        /// Failures of the canary, after which it gets nothing more; "off" for any number.
        default max_bad_responses: CountOrOff = CountOrOff(None);
        /// Split keys that may ever see the canary; "off" for any number.
        default max_exposed_keys: CountOrOff = CountOrOff(None);
    }
}
