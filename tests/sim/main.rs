//! Rollouts on a virtual clock: the same engine as the control loop drives, in a made-up world.
//!
//! `examples` runs the shipped plans with their true hours, `seeded` thousands of random lives with invariants after each
//! step. A failure prints its seed; `TIDEGATE_SIM_SEED` replays it alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod examples;
mod lives;
mod plans;
mod seeded;
mod world;
