//! How the process lives: its clock, its signals, its tasks, and how it ends.

pub mod clock;
pub mod descriptors;
mod drain;
mod signal;
mod tasks;

pub use drain::{Drain, DrainState, DrainWatch};
pub use signal::{Signal, Signals};
pub use tasks::{TaskEnd, TaskFailure, Tasks};
