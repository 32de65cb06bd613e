//! What the data plane reads: one immutable [`Table`] of routes, weights and endpoints, swapped whole.

mod addresses;
mod allowance;
mod availability;
mod build;
mod candidates;
mod edge;
mod endpoint;
mod guard;
mod handle;
mod hash;
mod key_set;
mod latency;
mod limiter;
mod matcher;
mod mirror;
mod pages;
mod rollout;
mod sketch;
mod table;

pub use addresses::{Addresses, Home, MAX_ADDRESSES};
pub use allowance::{Allowance, RetryAllowance};
pub use availability::{Availability, Bench, Ejection, Health};
pub use build::{BuildError, Ingredients, build};
pub use candidates::Asking;
pub use edge::{Edge, HeaderRules, Setting, SettingValue};
pub use endpoint::{Endpoint, EndpointId, WorkerGauge};
pub use guard::{Bell, Guard, GuardLimits, Spent};
pub use handle::{LocalTable, TablePublisher, TableReader, TableView};
pub use hash::BuildXxh3;
pub use limiter::{Limited, Limiter};
pub use matcher::Matcher;
pub use mirror::{Finding, Findings, Mirror};
pub use pages::{ErrorPages, Page};
pub use rollout::{Detour, Rollout, RolloutTraffic, Side};
pub use table::{Affinity, Backend, Override, Route, Table, Target};
