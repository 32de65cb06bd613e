//! What the data plane reads: one immutable [`Table`] of routes, weights and endpoints, swapped whole.

mod allowance;
mod build;
mod endpoint;
mod guard;
mod handle;
mod hash;
mod key_set;
mod matcher;
mod mirror;
mod rollout;
mod sketch;
mod table;

pub use allowance::Allowance;
pub use build::{BuildError, Ingredients, build};
pub use endpoint::{Endpoint, EndpointId, WorkerGauge};
pub use guard::{Bell, Guard, GuardLimits, Spent};
pub use handle::{LocalTable, TablePublisher, TableReader, TableView};
pub use hash::BuildXxh3;
pub use matcher::Matcher;
pub use mirror::{Finding, Findings, Mirror};
pub use rollout::{Detour, Rollout, RolloutTraffic, Side};
pub use table::{Affinity, Backend, Override, Route, SeenBy, Table, Target};
