//! The control plane: owns the weights and the configuration, and alone writes the table.
//!
//! `controller` is its one task and `mailbox` the way there; `reload` takes configurations that `candidate` read and
//! `watcher` noticed; `store` and `audit` remember.

mod audit;
mod candidate;
pub mod checks;
mod controller;
mod data_plane;
mod endpoints;
mod external;
mod hand_split;
mod health;
pub mod hooks;
mod late_read;
mod mailbox;
mod notify;
mod outbound;
mod outside;
pub mod preflight;
mod program;
mod publisher;
mod pulse;
mod reload;
pub mod report;
mod resolver;
pub mod rollouts;
mod shares;
mod state_news;
pub mod status;
mod store;
mod succession;
mod traces;
mod watcher;

pub use audit::Audit;
pub use candidate::check_files;
pub use controller::{ControlError, Controller, Setup};
pub use data_plane::{DataPlane, ListenChange, ListenError};
pub use external::{ExternalMetrics, ExternalReading};
pub use hand_split::{HandSplit, HandSplits, Superseded};
pub use health::HealthChecks;
pub use mailbox::{
    CommandError, ControlHandle, EndpointVerb, Operate, Reloaded, SIGNAL_ACTOR, SetEndpoint,
    SetSplit, SetThresholds,
};
pub use notify::Notifier;
pub use outbound::Outbound;
pub use outside::Outside;
pub use resolver::Resolver;
pub use store::{Kept, LateRead, Past, Store, StoreError};
pub use succession::{DrainedEndpoint, LentState};
pub use traces::TraceExporter;
pub use watcher::watch_config;

#[cfg(test)]
pub(crate) mod tests;
