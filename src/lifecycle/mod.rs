//! How the process lives: its clock, its signals, its tasks, and how it ends.

pub mod clock;
pub mod descriptors;
mod drain;
pub mod handover;
mod passed;
mod regular_file;
mod signal;
mod taken_address;
mod tasks;

pub use drain::{Drain, DrainState, DrainWatch};
pub use passed::{PassedSockets, PassedUnix};
pub use regular_file::read_regular;
pub use signal::{Signal, Signals};
pub use taken_address::way_to_listen;
pub use tasks::{TaskEnd, TaskFailure, Tasks};
