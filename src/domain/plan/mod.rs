//! A rollout's plan: by which steps traffic goes to the canary, what it takes, and what turns it back.
//!
//! A plan is kept as JSON with the rollout that runs it, so that a restart or a changed file leaves a running rollout with
//! the plan it began with. Thresholds may be changed by hand while it runs, see [`Plan::set`].
//!
//! Invariants: at least one step; steps have different names; `rollback` and `alerts` name steps that exist.

mod set;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use set::{PlanFault, ThresholdChange};

use super::{
    BackendName, Condition, RolloutName, RouteName, Severity, StepName, Weight,
    duration::{duration_text, format_duration},
};

/// One rollout as it was planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Unique name.
    pub name: RolloutName,
    /// The route whose split it moves.
    pub route: RouteName,
    /// The backend known to be good.
    pub baseline: BackendName,
    /// The backend under trial.
    pub canary: BackendName,
    /// Begins by itself when the process starts or the plan appears.
    #[serde(default)]
    pub auto_start: bool,
    /// Over which a rate or percentile is taken, unless a condition says its own.
    #[serde(with = "duration_text")]
    pub window: Duration,
    /// Judged requests in the window, below which a rate or latency says nothing.
    pub min_requests: u64,
    /// Not judged, after a change of weight.
    #[serde(with = "duration_text")]
    pub settle: Duration,
    /// What happens when a step's time is over and there were too few requests.
    #[serde(default)]
    pub on_thin_traffic: OnThinTraffic,
    /// What happens when the canary fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What a metric source out of reach means.
    #[serde(default)]
    pub external: ExternalSources,
    /// Longest time for the whole rollout, pauses included.
    #[serde(default = "off")]
    pub deadline: Limit<Span>,
    /// In order; at least one.
    pub steps: Vec<Step>,
    /// Any of them turns back.
    pub rollback: Vec<Rule>,
    /// They say so and change nothing.
    #[serde(default)]
    pub alerts: Vec<Alert>,
    /// The reflex that waits for no window.
    pub breaker: Breaker,
    /// Hard limits, held in the data path.
    #[serde(default)]
    pub budget: Budget,
}

/// A weight, a time, and what it takes to leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique among the steps.
    pub name: StepName,
    /// The canary's share.
    pub weight: Weight,
    /// Shortest time at this weight.
    #[serde(with = "duration_text")]
    pub hold: Duration,
    /// Waits for an operator once the criteria are met.
    #[serde(default)]
    pub gate: bool,
    /// All must be true at the end.
    pub require: Vec<Condition>,
}

/// A condition that must be true without a break for some time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What must be true.
    pub when: Condition,
    /// For how long; zero acts at once.
    #[serde(rename = "for", with = "duration_text")]
    pub lasting: Duration,
    /// Steps at which it is looked at; empty for all.
    #[serde(default)]
    pub steps: Vec<StepName>,
}

impl Rule {
    /// Whether it is looked at during `step`.
    pub fn applies_to(&self, step: &StepName) -> bool {
        self.steps.is_empty() || self.steps.contains(step)
    }
}

/// A rule that somebody is told of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// When it is raised.
    pub rule: Rule,
    /// How much it matters.
    pub severity: Severity,
}

/// When the canary is cut off without waiting for a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    /// Failures in a row.
    pub consecutive_failures: Limit<u64>,
    /// Failures among the attempts of the last `within`, 0 to 1.
    pub failure_share: f64,
    /// Fewer attempts than this say nothing.
    pub of_at_least: u64,
    /// How far back it looks.
    #[serde(with = "duration_text")]
    pub within: Duration,
}

/// Hard limits on what a rollout may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Failures of the canary; once spent it gets nothing more.
    pub max_bad_responses: Limit<u64>,
    /// Split keys that may ever see the canary.
    pub max_exposed_keys: Limit<u64>,
}

/// A limit that may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit<T> {
    /// There is none.
    #[default]
    Off,
    /// At most this.
    At(T),
}

/// What stands in for a limit that a kept plan lacks.
const fn off() -> Limit<Span> {
    Limit::Off
}

impl<T> Limit<T> {
    /// The limit, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::At(value) => Some(value),
        }
    }
}

impl<T> From<Option<T>> for Limit<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Off, Self::At)
    }
}

/// A duration that is written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(#[serde(with = "duration_text")] pub Duration);

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}

impl<T: std::fmt::Display> std::fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(limit) => limit.fmt(f),
        }
    }
}

/// A word of the configuration that stands for a choice.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$about])* $value,)*
        }

        impl $name {
            /// Every word, in the order of the choices.
            pub const WORDS: &[&str] = &[$($word),*];

            /// The configuration's word for it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }

            /// What `word` stands for.
            pub fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$value),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

choice! {
    /// What happens when a step's time is over and there were too few requests.
    OnThinTraffic {
        /// The step goes on until there are enough.
        #[default]
        Hold = "hold",
        /// The next step begins.
        Advance = "advance",
    }
}

choice! {
    /// What happens when the canary fails.
    OnFailure {
        /// All traffic goes back to the baseline.
        #[default]
        Rollback = "rollback",
        /// The weights stay as they are, for what cannot be undone.
        Pause = "pause",
    }
}

choice! {
    /// What a metric source out of reach means.
    ExternalSources {
        /// Nothing goes forward without it.
        #[default]
        Required = "required",
        /// Conditions on it are left out meanwhile.
        Optional = "optional",
    }
}

impl Plan {
    /// The last step's place.
    pub fn last_step(&self) -> usize {
        self.steps.len().saturating_sub(1)
    }

    /// Every condition: of the steps, of `rollback`, of the alerts.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let steps = self.steps.iter().flat_map(|step| &step.require);
        let rules = self.rollback.iter().chain(self.alerts.iter().map(|alert| &alert.rule));
        steps.chain(rules.map(|rule| &rule.when))
    }

    /// The longest window that anything is measured over.
    pub fn longest_window(&self) -> Duration {
        let own = self.conditions().filter_map(Condition::longest_window).max();
        own.unwrap_or_default().max(self.window)
    }

    /// The shortest time from its begin to Promoted.
    pub fn shortest(&self) -> Duration {
        self.steps
            .iter()
            .fold(Duration::ZERO, |sum, step| sum.saturating_add(self.shortest_stay(step)))
    }

    /// The shortest time at `step`: its hold, which its settling is part of.
    pub fn shortest_stay(&self, step: &Step) -> Duration {
        step.hold.max(self.settle)
    }
}

#[cfg(test)]
pub(crate) mod tests;
