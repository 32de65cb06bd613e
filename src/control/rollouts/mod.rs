//! Rollouts: what keeps, drives and shows them.

mod board;
mod run;
mod sample;
mod status;
mod verb;

pub(in crate::control) use board::{Board, Shown};
pub(in crate::control) use run::{Run, Runs};
pub use sample::{Sample, SideSample};
pub use status::{ConditionStatus, Exposure, RolloutStatus, StepStatus, VerdictStatus};
pub use verb::Verb;
