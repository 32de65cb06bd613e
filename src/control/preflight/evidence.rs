//! What a preflight has looked at, before anything is said about it.

use std::{path::PathBuf, time::Duration};

use crate::{
    config::model::{Check, Config, Hook},
    domain::{EndpointAddress, MetricName, Plan, SinkName},
};

/// Everything that was looked at.
#[derive(Debug, Clone)]
pub(super) struct Evidence {
    pub(super) plan: Plan,
    pub(super) checks: Vec<Check>,
    pub(super) hooks: Vec<Hook>,
    pub(super) config: Config,
    /// Whether the last reading of the configuration was refused.
    pub(super) reload_rejected: bool,
    pub(super) draining: bool,
    /// The rollout's phase, when it is on the board.
    pub(super) phase: Option<String>,
    /// Whether the trail's last entries are on disk.
    pub(super) durable: bool,
    pub(super) baseline: SideEvidence,
    pub(super) canary: SideEvidence,
    pub(super) samples: Vec<Sample>,
    /// Tidegate's own listener, asked for the route's path.
    pub(super) listener: Result<Brief, String>,
    pub(super) machine: Machine,
    /// Programs of hooks and checks: who wants it, and whether it can be run.
    pub(super) programs: Vec<(String, Result<(), String>)>,
    /// Addresses of hooks: whose, and whether somebody listens.
    pub(super) addresses: Vec<(String, Result<(), String>)>,
    pub(super) sinks: Vec<(SinkName, Result<(), String>)>,
    pub(super) metrics: Vec<(MetricName, Result<f64, String>)>,
    /// Certificates that Tidegate shows: whose, and the seconds for which each is still good.
    pub(super) certificates: Vec<(String, i64)>,
}

/// A backend.
#[derive(Debug, Clone, Default)]
pub(super) struct SideEvidence {
    pub(super) name: String,
    pub(super) endpoints: Vec<EndpointEvidence>,
    pub(super) in_flight: u32,
    pub(super) max_in_flight: u32,
    pub(super) requests_per_s: f64,
    pub(super) failures_per_s: f64,
    /// Of the first path, asked several times of one endpoint.
    pub(super) latency: Option<Duration>,
}

/// An endpoint.
#[derive(Debug, Clone)]
pub(super) struct EndpointEvidence {
    pub(super) address: EndpointAddress,
    pub(super) drained: bool,
    /// Why it gets no requests, being unhealthy or ejected.
    pub(super) ill: Option<String>,
    /// How many addresses its name has.
    pub(super) resolved: Result<usize, String>,
    pub(super) connected: Result<Duration, String>,
    /// Seconds for which its certificate is still good, or why it is not taken; `None` in the clear.
    pub(super) certificate: Option<Result<i64, String>>,
}

/// One path, as both sides answer it: each endpoint's name with its answer.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) path: String,
    pub(super) baseline: Vec<(String, Result<Brief, String>)>,
    pub(super) canary: Vec<(String, Result<Brief, String>)>,
}

/// What matters of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Brief {
    pub(super) status: u16,
    pub(super) content_type: Option<String>,
    /// The first header that names a version: its name and value.
    pub(super) version: Option<(&'static str, String)>,
    /// Seconds by which its clock is ahead of ours.
    pub(super) clock_ahead_s: Option<i64>,
}

/// The machine and what Tidegate has of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    pub(super) state_folder: PathBuf,
    /// Whether a file can be made beside the state file.
    pub(super) writable: Option<Result<(), String>>,
    pub(super) free_bytes: Option<u64>,
    pub(super) free_files: Option<u64>,
    /// The limit of open files; `None` when there is none.
    pub(super) descriptors: Option<u64>,
    pub(super) available_memory: Option<u64>,
    /// Processes that want a core, over the last minute.
    pub(super) load: Option<f64>,
    pub(super) cores: usize,
}

impl Evidence {
    /// Whether there is a path that both sides have answered.
    pub(super) fn has_comparable_answers(&self) -> bool {
        let good = |answers: &[(String, Result<Brief, String>)]| {
            answers.iter().any(|(_, answer)| answer.is_ok())
        };
        self.samples.iter().any(|sample| good(&sample.baseline) && good(&sample.canary))
    }
}

impl SideEvidence {
    /// Endpoints that take requests.
    pub(super) fn in_use(&self) -> impl Iterator<Item = &EndpointEvidence> {
        self.endpoints.iter().filter(|endpoint| !endpoint.drained)
    }
}
