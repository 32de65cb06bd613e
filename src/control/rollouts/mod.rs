//! Rollouts: what keeps, drives and shows them.

mod run;
mod sample;

pub(in crate::control) use run::{Run, Runs};
pub use sample::{Sample, SideSample};
