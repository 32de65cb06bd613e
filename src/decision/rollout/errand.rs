//! Hooks and checks that stand before a move.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{CheckStage, HookPoint, duration::duration_text};

/// A failed check is asked again after this. A failed hook waits for an operator's `advance`: it may have done half of its work.
pub(super) const RETRY: Duration = Duration::from_secs(30);

/// One thing to be done before a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Errand {
    /// All checks of a stage.
    Checks(CheckStage),
    /// All hooks of a point, in the order of the file; at a step's begin or end, that step.
    Hooks {
        /// Where.
        point: HookPoint,
        /// Which step.
        step: Option<usize>,
    },
}

impl Errand {
    /// Hooks of `point` without a step.
    pub(super) const fn hooks(point: HookPoint) -> Self {
        Self::Hooks { point, step: None }
    }

    const fn at(point: HookPoint, step: usize) -> Self {
        Self::Hooks { point, step: Some(step) }
    }

    /// Before the first step.
    pub(super) fn before_start() -> [Self; 3] {
        [
            Self::Checks(CheckStage::Pre),
            Self::hooks(HookPoint::Start),
            Self::at(HookPoint::BeforeStep, 0),
        ]
    }

    /// Between `step` and the next.
    pub(super) fn between(step: usize) -> [Self; 2] {
        [Self::at(HookPoint::AfterStep, step), Self::at(HookPoint::BeforeStep, step + 1)]
    }

    /// Between the last step and promotion.
    pub(super) fn before_promotion(last: usize) -> [Self; 2] {
        [Self::at(HookPoint::AfterStep, last), Self::Checks(CheckStage::Post)]
    }
}

/// How far a list of errands has come. Kept over restarts; what ran when the process ended is run again, so hooks may be
/// called twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Errands {
    /// How many are done, from the first.
    pub done: usize,
    /// The next one.
    pub next: Progress,
}

/// What is known of one errand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun; the answer is awaited.
    Running,
    /// Failed, and not to be repeated by itself.
    Failed,
    /// Failed, and to be repeated after this.
    Retry(#[serde(with = "duration_text")] Duration),
}

impl Errands {
    /// The errand of `list` to begin now, if one is due; marks it as running.
    pub(super) fn begin(&mut self, list: &[Errand]) -> Option<Errand> {
        let errand = *list.get(self.done)?;
        if self.next != Progress::Waiting {
            return None;
        }
        self.next = Progress::Running;
        Some(errand)
    }

    /// Whether all of `list` are done.
    pub(super) fn are_done(&self, list: &[Errand]) -> bool {
        self.done >= list.len()
    }

    /// Takes the answer to the errand that runs; `false` when another one is meant.
    pub(super) fn answer(&mut self, list: &[Errand], errand: Errand, passed: bool) -> bool {
        if self.next != Progress::Running || list.get(self.done) != Some(&errand) {
            return false;
        }
        self.next = match (passed, errand) {
            (true, _) => {
                self.done += 1;
                Progress::Waiting
            }
            (false, Errand::Checks(_)) => Progress::Retry(RETRY),
            (false, Errand::Hooks { .. }) => Progress::Failed,
        };
        true
    }

    /// Lets `elapsed` pass for what waits to be repeated.
    pub(super) fn wait(&mut self, elapsed: Duration) {
        if let Progress::Retry(left) = &mut self.next {
            *left = left.saturating_sub(elapsed);
            if left.is_zero() {
                self.next = Progress::Waiting;
            }
        }
    }

    /// What failed or was cut off may begin again.
    pub(super) fn again(&mut self) {
        self.next = Progress::Waiting;
    }

    /// Whether the next one has failed.
    pub(super) const fn have_failed(&self) -> bool {
        matches!(self.next, Progress::Failed | Progress::Retry(_))
    }
}
