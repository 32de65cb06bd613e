//! The nouns of Tidegate: names, weights, splits, outcomes. No behaviour beyond their own invariants, no clock, no I/O.

mod backend;
mod check;
mod hook;
mod id;
mod moment;
mod notification;
mod outcome;
mod reason;
mod text;
mod weight;

pub use backend::{Balance, EndpointAddress, EndpointAddressError};
pub use check::{CheckCategory, CheckResult, CheckStage};
pub use hook::{HookPoint, HookResult};
pub use id::{BackendName, InvalidName, MetricName, RolloutName, RouteName, SeriesId, SinkName};
pub use moment::Moment;
pub use notification::{Notification, NotificationKind, Severity};
pub use outcome::{Blame, Class, Outcome};
pub use reason::{ErrorReason, Queue};
pub use text::is_steering;
pub use weight::{Split, SplitError, Weight, WeightError};
