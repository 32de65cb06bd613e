//! Where a rollout is: all that a restart needs to go on where it was.
//!
//! A record of an earlier version may lack whatever has a default here; what another version adds is left out of account.
//!
//! Invariants: a step's place is below the number of the plan's steps; time served only grows while a step lasts, and is
//! counted by the caller's monotonic ticks, so that a clock that is set cuts no hold short.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ticket, errand::Errands};
use crate::{
    decision::judge::{Clocks, Spent},
    domain::{
        Plan, StepName, Weight,
        duration::duration_text,
        verdict::{Cause, Lack},
    },
};

/// A rollout with its plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// As it began, with thresholds changed by hand since.
    pub plan: Plan,
    /// Where it is.
    pub phase: Phase,
    /// Since it began, pauses included.
    #[serde(default, with = "duration_text")]
    pub elapsed: Duration,
    /// How long each rule has been true.
    #[serde(default)]
    pub clocks: Clocks,
    /// What it has cost.
    #[serde(default)]
    pub spent: Spent,
    /// The deadline has passed and was acted upon.
    #[serde(default)]
    pub overdue: bool,
    /// A move that waits to be durable. Never kept: what is kept is where it leads.
    #[serde(skip)]
    pub(super) pending: Option<Pending>,
    /// Until this has passed, nothing is written that a move waits for.
    #[serde(skip)]
    pub(super) blocked: Option<Duration>,
    /// The last ticket given.
    #[serde(skip)]
    pub(super) tickets: u64,
}

/// A stay at a step's weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// The step's place in the plan, from 0.
    pub step: usize,
    /// Time spent at its weight, pauses left out.
    #[serde(default, with = "duration_text")]
    pub served: Duration,
    /// What is to be done before it is left.
    #[serde(default)]
    pub errands: Errands,
    /// An operator wants to go on, whatever is missing.
    #[serde(default)]
    pub hurried: bool,
    /// What somebody was told is missing: each lack is told once a stay, however often it comes and goes.
    #[serde(default)]
    pub told: Vec<Lack>,
}

impl Stay {
    /// The begin of a stay.
    pub fn at(step: usize) -> Self {
        let (served, errands) = (Duration::ZERO, Errands::default());
        Self { step, served, errands, hurried: false, told: Vec::new() }
    }
}

/// The phases of a rollout.
///
/// ```text
///          start                    checks and hooks well, and durable
///  Idle ─────────► Checking ─────────────────────────────┐
///                   │    │ a required one fails          ▼      time served        criteria met
///                   │    └────────► Failed    ┌──► Baking ──────────► Holding ◄──► AwaitingGate
///                   │                         │      │  ▲               │  errands,      │ advance
///                   │                         │      │  └── durable ────┴── then ◄───────┘
///                   │                         │      │      next step   │
///                   │                 resume  │      │ pause            │ last step done, or promote
///                   │                         └── Paused ◄── any of    ▼
///                   │                              the three       Promoted
///                   ▼                                                  │
///               RolledBack ◄── Fail or rollback, from every phase that runs; rollback from Promoted
/// ```
///
/// With `on_failure = "pause"` a Fail leads to Paused instead. `start` begins anew from RolledBack and Failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not begun: the route's weights are not the rollout's.
    Idle,
    /// Checks and hooks before the first step; the canary gets nothing.
    Checking {
        /// What is to be done.
        errands: Errands,
    },
    /// At a step's weight, its time not served yet.
    Baking(Stay),
    /// The time is served and something is missing.
    Holding {
        /// At which step.
        stay: Stay,
        /// What is missing.
        why: Hold,
    },
    /// Everything is well and an operator has the word.
    AwaitingGate(Stay),
    /// Nothing moves by itself but a rollback.
    Paused {
        /// Where it goes on.
        stay: Stay,
        /// Why.
        why: PauseCause,
    },
    /// All traffic is on the canary, which is the baseline now.
    Promoted,
    /// All traffic is on the baseline.
    RolledBack {
        /// Why.
        cause: Cause,
        /// The step that it fell back from; `None` before the first and after the last.
        step: Option<usize>,
    },
    /// It ended before the canary got any traffic.
    Failed {
        /// Why.
        cause: Cause,
    },
}

/// Why a step whose time is served does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The evidence is not good enough.
    Lack(Lack),
    /// A hook or check runs.
    Errand,
    /// All is well, and the next step is on its way to the state file.
    Writing,
    /// A required hook or check failed.
    ErrandFailed,
    /// The next step cannot be made durable.
    NotWritten,
}

impl Hold {
    /// For messages.
    pub const fn described(self) -> &'static str {
        match self {
            Self::Lack(lack) => lack.described(),
            Self::Errand => "hooks or checks are running",
            Self::Writing => "the next step is being written to the state file",
            Self::ErrandFailed => "a required hook or check failed",
            Self::NotWritten => "the state file cannot be written",
        }
    }
}

/// Why a rollout is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseCause {
    /// An operator paused it.
    Operator,
    /// The canary failed and the plan says to pause.
    Failure(Cause),
}

/// A move that waits to be durable.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    pub(super) target: Target,
    /// The operator who wants it; `None` for the rollout's own move.
    pub(super) actor: Option<String>,
    pub(super) reason: String,
}

/// Where a move leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Step(usize),
    Promoted,
}

impl Phase {
    /// Every label, in the order of a rollout's life.
    pub const LABELS: [&'static str; 9] = [
        "idle",
        "checking",
        "baking",
        "holding",
        "awaiting_gate",
        "paused",
        "promoted",
        "rolled_back",
        "failed",
    ];

    /// The word for it in the API and the metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Checking { .. } => "checking",
            Self::Baking(_) => "baking",
            Self::Holding { .. } => "holding",
            Self::AwaitingGate(_) => "awaiting_gate",
            Self::Paused { .. } => "paused",
            Self::Promoted => "promoted",
            Self::RolledBack { .. } => "rolled_back",
            Self::Failed { .. } => "failed",
        }
    }

    /// The stay at a step, where there is one.
    pub const fn stay(&self) -> Option<&Stay> {
        match self {
            Self::Baking(stay)
            | Self::Holding { stay, .. }
            | Self::AwaitingGate(stay)
            | Self::Paused { stay, .. } => Some(stay),
            Self::Idle
            | Self::Checking { .. }
            | Self::Promoted
            | Self::RolledBack { .. }
            | Self::Failed { .. } => None,
        }
    }

    /// Begun and not ended: it owns the route's weights and may move them by itself.
    pub const fn is_running(&self) -> bool {
        matches!(self, Self::Checking { .. }) || self.stay().is_some()
    }
}

impl State {
    /// A rollout that has not begun.
    pub fn idle(plan: Plan) -> Self {
        Self {
            clocks: Clocks::new(&plan),
            plan,
            phase: Phase::Idle,
            elapsed: Duration::ZERO,
            spent: Spent::default(),
            overdue: false,
            pending: None,
            blocked: None,
            tickets: 0,
        }
    }

    /// The canary's weight; `None` while the weights are not the rollout's.
    pub fn weight(&self) -> Option<Weight> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Checking { .. } | Phase::RolledBack { .. } | Phase::Failed { .. } => {
                Some(Weight::ZERO)
            }
            Phase::Promoted => Some(Weight::FULL),
            Phase::Baking(stay)
            | Phase::Holding { stay, .. }
            | Phase::AwaitingGate(stay)
            | Phase::Paused { stay, .. } => Some(self.step_weight(stay.step)),
        }
    }

    /// The name of the step that it is at.
    pub fn step_name(&self) -> Option<&StepName> {
        let stay = self.phase.stay()?;
        self.plan.steps.get(stay.step).map(|step| &step.name)
    }

    /// Time left of the present step's hold.
    pub fn left(&self) -> Option<Duration> {
        let stay = self.phase.stay()?;
        let step = self.plan.steps.get(stay.step)?;
        Some(step.hold.saturating_sub(stay.served))
    }

    /// Whether a move waits to be durable.
    pub fn is_moving(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether the kept state fits its plan: no step beyond the last.
    pub fn is_sound(&self) -> bool {
        let step = if let Phase::RolledBack { step, .. } = &self.phase {
            *step
        } else {
            self.phase.stay().map(|stay| stay.step)
        };
        !self.plan.steps.is_empty() && step.is_none_or(|step| step < self.plan.steps.len())
    }

    /// Takes another plan, where none is being followed; the clocks begin anew with it.
    pub fn replan(&mut self, plan: Plan) -> bool {
        if self.phase.is_running() {
            return false;
        }
        self.clocks = Clocks::new(&plan);
        self.plan = plan;
        true
    }

    /// Weight of a step; nothing for a step that is not there.
    pub(super) fn step_weight(&self, step: usize) -> Weight {
        self.plan.steps.get(step).map_or(Weight::ZERO, |step| step.weight)
    }
}
