//! The nouns of Tidegate: names, weights, splits, outcomes. No behaviour beyond their own invariants, no clock, no I/O.

mod backend;
mod id;
mod moment;
mod outcome;
mod reason;
mod text;
mod weight;

pub use backend::{Balance, EndpointAddress, EndpointAddressError};
pub use id::{BackendName, InvalidName, RolloutName, RouteName, SeriesId};
pub use moment::Moment;
pub use outcome::{Blame, Class, Outcome};
pub use reason::{ErrorReason, Queue};
pub use text::is_steering;
pub use weight::{Split, SplitError, Weight, WeightError};
