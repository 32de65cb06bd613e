//! The nouns of Tidegate: names, weights, splits, outcomes. No behaviour beyond their own invariants, no clock, no I/O.

mod backend;
mod check;
pub mod condition;
pub mod duration;
mod ejection;
mod handshake;
mod hook;
mod id;
mod mirror;
mod moment;
mod notification;
mod outcome;
pub mod plan;
mod reason;
mod spelling;
mod text;
pub mod verdict;
mod weight;

pub use backend::{Balance, EndpointAddress, EndpointAddressError, Location, MAX_SOCKET_PATH};
pub use check::{CheckCategory, CheckResult, CheckStage};
pub use condition::Condition;
pub use duration::{format_duration, parse_duration};
pub use ejection::EjectionRules;
pub use handshake::Handshake;
pub use hook::{HookPoint, HookResult};
pub use id::{
    BackendName, InvalidName, MetricName, RolloutName, RouteName, SeriesId, SinkName, StepName,
};
pub use mirror::{MirrorDepth, MirrorOutcome, MirrorResult};
pub use moment::Moment;
pub use notification::{Notification, NotificationKind, Severity};
pub use outcome::{Blame, Class, Outcome};
pub use plan::Plan;
pub use reason::{ErrorReason, Queue};
pub use spelling::nearest;
pub use text::is_steering;
pub use verdict::Verdict;
pub use weight::{Split, SplitError, Weight, WeightError};
