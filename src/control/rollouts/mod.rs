//! Rollouts: what keeps, drives and shows them.

mod run;
mod sample;
mod status;

pub(in crate::control) use run::{Run, Runs};
pub use sample::{Sample, SideSample};
pub use status::{ConditionStatus, Exposure, RolloutStatus, StepStatus, VerdictStatus};
