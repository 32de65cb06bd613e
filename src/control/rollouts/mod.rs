//! Rollouts: what drives, keeps and shows them.
//!
//! The machine is [`crate::decision::rollout::Engine`], which does nothing by itself. Here it is given the time, counters and
//! answers (`tick`, `operate`), and what it wants is done (`carry`); `life` takes it over restarts and reloads.

mod board;
mod carry;
mod drive;
mod errands;
mod ladder;
mod life;
mod news;
mod operate;
mod process_meter;
mod reserve;
mod run;
mod sample;
mod sampler;
mod show;
mod status;
mod tick;
mod unknown;

pub(in crate::control) use self::{
    board::{Board, Shown},
    carry::Reply,
    drive::Drive,
    process_meter::ProcessMeter,
    run::{Run, Runs},
    tick::TICK,
};
pub use self::{
    sample::{Sample, SideSample},
    status::{ConditionStatus, Exposure, RolloutStatus, StepStatus, VerdictStatus},
};
pub use crate::decision::rollout::Verb;

#[cfg(test)]
pub(in crate::control) use self::run::tests as run_tests;
#[cfg(test)]
mod tests;
