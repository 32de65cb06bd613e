//! The nouns of Tidegate: names, weights, splits, outcomes. No behaviour beyond their own invariants, no clock, no I/O.

mod backend;
pub mod duration;
mod id;
mod moment;
mod outcome;
mod reason;
mod spelling;
mod text;
mod weight;

pub use backend::{Balance, EndpointAddress, EndpointAddressError};
pub use duration::{format_duration, parse_duration};
pub use id::{BackendName, InvalidName, RouteName, SeriesId};
pub use moment::Moment;
pub use outcome::{Blame, Class, Outcome};
pub use reason::{ErrorReason, Queue};
pub use spelling::nearest;
pub use text::is_steering;
pub use weight::{Split, SplitError, Weight, WeightError};
