//! What Tidegate has to do with the world outside a request: metrics, sinks of notifications, checks and hooks.

use std::{path::PathBuf, time::Duration};

use crate::{
    config::json_path::JsonPath,
    domain::{
        CheckCategory, CheckStage, HookPoint, MetricName, NotificationKind, Severity, SinkName,
        condition::Unit,
    },
};

/// `[metric.NAME]`: a number that a Prometheus server answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Unique name: `external.NAME` in conditions.
    pub name: MetricName,
    /// Base address of the server, without a slash at its end.
    pub prometheus: Box<str>,
    /// The instant query.
    pub query: Box<str>,
    /// What the number is, in the base unit.
    pub unit: MetricUnit,
    /// Time between two queries.
    pub interval: Duration,
    /// A query without an answer by then has none.
    pub timeout: Duration,
    /// File with the bearer token.
    pub token_file: Option<PathBuf>,
}

/// What a metric's number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricUnit {
    /// `"share"`: 1 is all of it.
    Share,
    /// `"duration"`, in seconds.
    Duration,
    /// `"count"`
    Count,
    /// `"bytes"`
    Bytes,
}

impl MetricUnit {
    /// The unit as conditions know it.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Share => Unit::Share,
            Self::Duration => Unit::Duration,
            Self::Count => Unit::Count,
            Self::Bytes => Unit::Bytes,
        }
    }
}

/// `[notify.NAME]`: where notifications go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Unique name: metric label.
    pub name: SinkName,
    /// How they get there.
    pub kind: SinkKind,
    /// Kinds that are sent.
    pub events: Vec<NotificationKind>,
    /// The least that is sent.
    pub min_severity: Severity,
    /// One attempt at sending ends here.
    pub timeout: Duration,
}

/// `notify.kind` with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// An incoming webhook of Slack.
    Slack(Address),
    /// JSON to any address.
    Webhook {
        /// The address.
        url: Address,
        /// File with the key that signs the body.
        secret_file: Option<PathBuf>,
    },
    /// Mail by SMTP.
    Email(Email),
    /// Prometheus' Alertmanager: its base address.
    Alertmanager(Address),
}

/// `url` or `url_file`.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// As it stands in the configuration.
    Url(Box<str>),
    /// In a file, since whoever knows it may use it.
    File(PathBuf),
}

/// Without the path, which may be as good as a password.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => {
                let authority = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
                write!(f, "{authority}/…")
            }
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How mail is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// The server's name, for its certificate too.
    pub host: Box<str>,
    /// The server's port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub security: SmtpSecurity,
    /// Sender.
    pub from: Box<str>,
    /// Receivers, at least one.
    pub to: Vec<Box<str>>,
    /// Name to log in with, and the file with the password.
    pub login: Option<(Box<str>, PathBuf)>,
}

/// The scheme of `smtp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// `smtp://`: in the clear.
    None,
    /// `starttls://`: encrypted before anything is said, or not sent.
    StartTls,
    /// `smtps://`: encrypted from the first byte.
    Tls,
}

/// `[[rollout.NAME.check]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Unique name in its rollout.
    pub name: Box<str>,
    /// Part of the system.
    pub category: CheckCategory,
    /// When it runs; at least one.
    pub stages: Vec<CheckStage>,
    /// Time between two runs of the stage `during`.
    pub interval: Duration,
    /// A run without a result by then has failed.
    pub timeout: Duration,
    /// Whether the rollout may not go on without it.
    pub required: bool,
    /// What is done.
    pub action: CheckAction,
}

/// What a check does.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckAction {
    /// Sends a request, and looks at the answer.
    Http {
        /// Who is asked.
        target: CheckTarget,
        /// What is asked.
        request: CheckRequest,
        /// What must come back.
        expect: Expectations,
    },
    /// Runs a program: it passes with exit code 0.
    Exec(Vec<Box<str>>),
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckTarget {
    /// The canary's endpoints.
    Canary,
    /// The baseline's endpoints.
    Baseline,
    /// Both, and their answers must agree.
    Both,
    /// Tidegate's own listener, as a client would.
    Proxy,
}

/// The request of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    /// Method.
    pub method: http::Method,
    /// Path with query.
    pub path: Box<str>,
    /// Headers beside those of the client's own.
    pub headers: Vec<(http::HeaderName, Box<str>)>,
    /// Body; empty for none.
    pub body: Box<str>,
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectations {
    /// Its status.
    pub status: StatusSet,
    /// The whole of it within this time.
    pub max_latency: Option<Duration>,
    /// Headers with their values.
    pub headers: Vec<(http::HeaderName, Box<str>)>,
    /// A text in the body; empty for any.
    pub body_contains: Box<str>,
    /// Values in a JSON body.
    pub json: Vec<(JsonPath, serde_json::Value)>,
}

/// Status codes, as `"200"`, `"200-399"` or `"200, 301-302"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    /// The set that `text` writes; `None` when it writes none.
    pub fn parse(text: &str) -> Option<Self> {
        const MAX_RANGES: usize = 32;
        let code = |text: &str| text.trim().parse().ok().filter(|code| (100..600).contains(code));
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (code(first)?, code(last)?);
            (first <= last).then_some((first, last))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges.filter(|ranges| ranges.len() <= MAX_RANGES).map(Self)
    }

    /// 200 alone.
    pub fn ok() -> Self {
        Self(vec![(200, 200)])
    }

    /// Whatever is no error.
    pub fn below_400() -> Self {
        Self(vec![(200, 399)])
    }

    /// Whether `status` is one of them.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

impl std::fmt::Display for StatusSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// `[[rollout.NAME.hook]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Unique name in its rollout.
    pub name: Box<str>,
    /// Where it is called.
    pub point: HookPoint,
    /// Its rung of the rollback ladder: 1, 3 or 4, as 2 is the traffic; `None` at the other points.
    pub level: Option<u8>,
    /// What is called.
    pub action: HookAction,
    /// It is ended after this.
    pub timeout: Duration,
    /// Whether its failure holds the rollout.
    pub required: bool,
}

/// What a hook calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAction {
    /// A program with its arguments, without a shell.
    Exec(Vec<Box<str>>),
    /// An address that gets JSON.
    Post(Box<str>),
}
