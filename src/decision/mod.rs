//! The decision core: pure functions and small state machines.
//!
//! Time and randomness are arguments; nothing here waits, reads a clock or touches the world outside, so that every
//! decision can be replayed and tested on its inputs alone.

pub mod affinity;
pub mod breaker;
pub mod classify;
pub mod condition;
pub mod difference;
pub mod ewma;
pub mod health;
pub mod judge;
pub mod lease;
pub mod outlier;
pub mod pick;
pub mod quota;
pub mod rollout;
pub mod sampling;
pub mod sequence;
pub mod slow_start;
pub mod split;
pub mod stats;
