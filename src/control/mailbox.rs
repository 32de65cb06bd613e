//! The way to the controller: commands in a bounded queue, each answered once it has taken effect in the data plane.
//!
//! Looking needs no command: status, events and gauges come from what the controller has published.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::{
    Audit, Outside,
    candidate::{Candidate, Refused},
    preflight::{self, Preflight, Subject},
    report::{self, Report},
    rollouts::{Board, RolloutStatus, Shown, Verb},
    status::{self, EndpointStatus, Rate, Rates, ReloadOutcome, RouteStatus, Standing, Status},
    succession::Loan,
};
use crate::{
    config::{Config, model::Rollout},
    domain::{BackendName, Moment},
    lifecycle::{DrainWatch, clock},
    routing::{Table, TableView},
    telemetry::{CertificateGauge, EndpointGauge, Gauges, Recorder, SplitWeight},
    tls::Certificate,
};

/// Actor of a reload that a signal asked for.
pub const SIGNAL_ACTOR: &str = "signal HUP";
/// Time to read the configuration and the files that it names: less than whoever asks for a reload waits.
const READING: Duration = Duration::from_secs(5);
/// Commands that wait at most: many more than there are operators.
pub(super) const MAILBOX: usize = 64;

/// A split to be set by hand.
#[derive(Debug, Clone)]
pub struct SetSplit {
    /// Whose split.
    pub route: String,
    /// Backends and percents, `None` where something else was given; those left out get nothing.
    pub shares: Vec<(String, Option<f64>)>,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

/// An endpoint to be taken out, or back in.
#[derive(Debug, Clone)]
pub struct SetEndpoint {
    /// Whose endpoint.
    pub backend: String,
    /// Its address as the configuration writes it.
    pub address: String,
    /// Out or in.
    pub verb: EndpointVerb,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

/// A verb for a rollout.
#[derive(Debug, Clone)]
pub struct Operate {
    /// Which rollout.
    pub rollout: String,
    /// What to do with it.
    pub verb: Verb,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

/// Thresholds to be changed while a rollout runs: all of them, or none.
#[derive(Debug, Clone)]
pub struct SetThresholds {
    /// Whose thresholds.
    pub rollout: String,
    /// Keys of the plan and their new values, as in `rollback.0.for` and `5s`.
    pub changes: Vec<(String, String)>,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
}

/// What to do with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointVerb {
    /// No new requests; running ones finish.
    Drain,
    /// New requests again.
    Ready,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// In one word.
    pub outcome: ReloadOutcome,
    /// What differs from before.
    pub changes: Vec<String>,
    /// Why it was rejected.
    pub errors: Vec<String>,
    /// Whether what it was rejected for may pass by itself: then the same file may be good later.
    #[serde(skip)]
    pub may_pass: bool,
}

/// Why a command was not carried out; nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is nothing of that name.
    #[error("{what}; {hint}")]
    NotFound {
        /// What was not found.
        what: String,
        /// What there is instead.
        hint: String,
    },
    /// The command makes no sense.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// It does not fit how things stand.
    #[error("{what}; {hint}")]
    Conflict {
        /// How things stand.
        what: String,
        /// What would fit.
        hint: String,
    },
    /// It cannot be kept: nothing goes forward that a restart would not know of.
    #[error("{0}")]
    NotDurable(String),
    /// Too many commands wait already.
    #[error("too many commands wait already; try again")]
    Busy,
    /// The process is ending.
    #[error("the control plane has ended; restart the process if it does not end by itself")]
    Stopped,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, CommandError>>;

/// A command and where its answer goes.
#[derive(Debug)]
pub(super) enum Command {
    SetSplit(SetSplit, Answer<RouteStatus>),
    SetEndpoint(SetEndpoint, Answer<EndpointStatus>),
    Operate(Operate, Answer<RolloutStatus>),
    SetThresholds(SetThresholds, Answer<RolloutStatus>),
    Lend(Loan),
    Take { read: Result<Box<Candidate>, Refused>, actor: String, answer: Answer<Reloaded> },
}

/// A way to the controller, for any thread.
#[derive(Debug, Clone)]
pub struct ControlHandle {
    pub(super) mailbox: mpsc::Sender<Command>,
    pub(super) table: TableView,
    pub(super) config: watch::Receiver<Arc<Config>>,
    pub(super) standing: watch::Receiver<Arc<Standing>>,
    pub(super) rates: watch::Receiver<Arc<Rates>>,
    pub(super) board: watch::Receiver<Board>,
    pub(super) audit: Audit,
    pub(super) recorder: Arc<Recorder>,
    pub(super) drain: DrainWatch,
    pub(super) outside: Outside,
    pub(super) path: Arc<Path>,
    /// Of two reloads, the one that read the file later must be taken later.
    pub(super) reloading: Arc<Mutex<()>>,
}

impl ControlHandle {
    /// Sets a route's split; answered when every new request follows it.
    ///
    /// # Errors
    /// [`CommandError`] with every fault of the wish.
    pub async fn set_split(&self, wish: SetSplit) -> Result<RouteStatus, CommandError> {
        self.ask(|answer| Command::SetSplit(wish, answer)).await
    }

    /// Takes an endpoint out, or back in.
    ///
    /// # Errors
    /// [`CommandError`] when there is no such endpoint.
    pub async fn set_endpoint(&self, wish: SetEndpoint) -> Result<EndpointStatus, CommandError> {
        self.ask(|answer| Command::SetEndpoint(wish, answer)).await
    }

    /// Starts, pauses, resumes, advances, promotes or rolls back; answered when every new request follows it.
    ///
    /// # Errors
    /// [`CommandError::Conflict`] when the verb does not fit the phase.
    pub async fn operate(&self, wish: Operate) -> Result<RolloutStatus, CommandError> {
        self.ask(|answer| Command::Operate(wish, answer)).await
    }

    /// Changes thresholds of a running rollout.
    ///
    /// # Errors
    /// [`CommandError`] with every fault of the wish.
    pub async fn set_thresholds(&self, wish: SetThresholds) -> Result<RolloutStatus, CommandError> {
        self.ask(|answer| Command::SetThresholds(wish, answer)).await
    }

    /// Reads the configuration again and takes it if it is good. A rejected file is an answer, not an error.
    ///
    /// # Errors
    /// [`CommandError`] when the controller cannot be reached.
    pub async fn reload(&self, actor: impl Into<String>) -> Result<Reloaded, CommandError> {
        let actor = actor.into();
        let _turn = self.reloading.lock().await;
        let (path, before) = (self.path.clone(), self.table());
        let unread = |why| Err(Refused { errors: vec![why], hash: None });
        let read = tokio::task::spawn_blocking(move || Candidate::read(&path, Some(before.tls())));
        let read = match tokio::time::timeout(READING, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(fault)) => unread(format!("reading failed: {fault}")),
            Err(_) => unread(format!(
                "the file, or one that it names, was not read within {} s",
                READING.as_secs()
            )),
        };
        let read = read.map(Box::new);
        self.ask(|answer| Command::Take { read, actor, answer }).await
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        let standing = self.standing.borrow().clone();
        let table = self.table.current();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: clock::now().since(Moment::default()).as_secs(),
            process_id: std::process::id(),
            draining: self.drain.is_draining(),
            config: standing.config.clone(),
            routes: status::routes(&table, &standing.hand, &self.board.borrow()),
            backends: status::backends(&table, &self.rates.borrow(), clock::now()),
            rollouts: self.board.borrow().iter().map(|shown| shown.status.clone()).collect(),
        }
    }

    /// Everything about a rollout's newest run; `None` when there is no such rollout.
    pub async fn report(&self, rollout: &str) -> Option<Report> {
        let board = self.board.borrow().clone();
        let shown = board.iter().find(|shown| shown.status.name.as_str() == rollout)?;
        let status = shown.status.clone();
        let since_ms = shown.started_at_ms.unwrap_or(u64::MAX);
        let story = self.audit.story(&status.name, status.run, since_ms).await;
        let complete = story.is_some();
        let story = story.unwrap_or_default();
        let failed = shown.hooks.iter().filter(|hook| !hook.ok).map(|hook| hook.name.clone());
        Some(Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_at_ms: clock::wall_millis(),
            started_at_ms: shown.started_at_ms,
            ended_at_ms: shown.ended_at_ms,
            recommendation: report::recommend(&status, &failed.collect::<Vec<_>>()),
            rollout: status,
            checks: shown.checks.clone(),
            hooks: shown.hooks.clone(),
            events: story.events,
            samples: story.samples,
            complete,
        })
    }

    /// The configuration in force, as it changes.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.config.clone()
    }

    /// The configuration's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The audit trail.
    pub const fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The table in force.
    pub fn table(&self) -> Arc<Table> {
        self.table.current()
    }

    /// What `backend` does per second.
    pub(super) fn rate(&self, backend: &BackendName) -> Rate {
        self.rates.borrow().get(backend).copied().unwrap_or_default()
    }

    /// The first listener that serves whoever comes, as it is bound.
    pub(super) fn listener(&self) -> Option<SocketAddr> {
        self.standing.borrow().listener
    }

    /// Metrics, notifications, and the client of checks and hooks.
    pub const fn outside(&self) -> &Outside {
        &self.outside
    }

    /// Looks at everything that `rollout` will need; `None` when there is no such rollout.
    pub async fn preflight(&self, rollout: &str) -> Option<Preflight> {
        let config = self.config.borrow().clone();
        let wanted = config.rollouts.iter().find(|known| known.plan.name.as_str() == rollout)?;
        let Rollout { plan, checks, hooks } = wanted;
        Some(preflight::run(Subject { plan, checks, hooks }, self).await)
    }

    /// Waits until clients can connect; not longer than a start of the process takes.
    pub(super) async fn serving(&self) {
        const SOON: Duration = Duration::from_secs(10);
        let mut standing = self.standing.clone();
        // Without a listener whatever needs one says so.
        let _ = tokio::time::timeout(SOON, standing.wait_for(|now| now.listener.is_some())).await;
    }

    /// What `/metrics` shows beside the counters, but for the listeners' connections.
    pub fn gauges(&self) -> Gauges {
        let table = self.table.current();
        let weights = table.routes().iter().flat_map(|route| {
            route.split.shares().iter().map(|(backend, weight)| SplitWeight {
                route: route.name.clone(),
                backend: backend.clone(),
                weight: *weight,
            })
        });
        let now = clock::now();
        let endpoints = table.backends().iter().flat_map(|backend| {
            backend.endpoints.iter().map(|endpoint| {
                let (ejections, ejections_withheld) = endpoint.availability().ejections();
                EndpointGauge {
                    backend: backend.name.clone(),
                    address: endpoint.address().clone(),
                    healthy: endpoint.is_usable(now),
                    ejections,
                    ejections_withheld,
                    in_flight: endpoint.in_flight().total().into(),
                }
            })
        });
        let standing = self.standing.borrow().clone();
        let rejected = standing.config.last_reload.outcome == ReloadOutcome::Rejected;
        Gauges {
            weights: weights.collect(),
            endpoints: endpoints.collect(),
            connections: Vec::new(),
            rollouts: self.board.borrow().iter().map(Shown::gauge).collect(),
            reload_successful: !rejected,
            reload_success_at_ms: standing.taken_at_ms,
            notifications: self.outside.notifier.counts(),
            certificates: table.tls().certificates().iter().map(certificate_gauge).collect(),
        }
    }

    /// The counters.
    pub const fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Whether the process drains.
    pub fn is_draining(&self) -> bool {
        self.drain.is_draining()
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, CommandError> {
        let (answer, answered) = oneshot::channel();
        self.mailbox.try_send(command(answer)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => CommandError::Busy,
            mpsc::error::TrySendError::Closed(_) => CommandError::Stopped,
        })?;
        answered.await.unwrap_or(Err(CommandError::Stopped))
    }
}

fn certificate_gauge(certificate: &Certificate) -> CertificateGauge {
    let Certificate { owner, file, not_after_s, .. } = certificate;
    CertificateGauge {
        owner: owner.clone(),
        file: file.display().to_string(),
        not_after_s: *not_after_s,
    }
}
