//! The configuration as the rest of Tidegate sees it: valid by construction, made only by `validate`.

mod edge;
mod mirror;
mod outside;
mod protocol;
mod resilience;
mod rollout;
mod tls;
mod traces;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;

pub use self::edge::{
    AccessFormat, AccessLog, AccessPath, Algorithm, Compress, Edge, ErrorPage, Expression,
    HeaderRules, LimitKey, RateLimit, Redirect, Rewrite, Segment, StatusPattern, Template,
    Variable,
};
pub use self::mirror::Mirror;
pub use self::outside::{
    Address, Check, CheckAction, CheckRequest, CheckTarget, Email, Expectations, Hook, HookAction,
    Metric, MetricUnit, Sink, SinkKind, SmtpSecurity, StatusSet,
};
pub use self::protocol::{BackendProtocol, Protocol};
pub use self::resilience::{Ejection, HealthCheck, Probe, Retry, RetryCause};
pub use self::rollout::Rollout;
pub use self::tls::{BackendTls, CertificateFiles, ClientAuth, ListenerTls};
pub use self::traces::Traces;
use crate::domain::{BackendName, Balance, EndpointAddress, RouteName, Split, Weight};

/// One whole, checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Threads and shutdown.
    pub process: Process,
    /// The operator's side.
    pub admin: Admin,
    /// Where state is kept.
    pub state: State,
    /// Log output.
    pub log: Log,
    /// Sockets that accept clients; `bind` is unique among them.
    pub listeners: Vec<Listener>,
    /// Versions of the application, by unique name.
    pub backends: Vec<Backend>,
    /// Rules in the order of the file, by unique name; every backend they name exists.
    pub routes: Vec<Route>,
    /// Metrics from outside, by unique name.
    pub metrics: Vec<Metric>,
    /// Rollouts by unique name, each of a route of its own.
    pub rollouts: Vec<Rollout>,
    /// Where notifications go, by unique name.
    pub sinks: Vec<Sink>,
    /// Traces of requests, if there are any.
    pub traces: Option<Traces>,
    /// Pages for answers of Tidegate's own, the most exact first.
    pub error_pages: Vec<ErrorPage>,
}

/// `[process]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Data-plane threads; `None` is `"auto"`: the cores available.
    pub workers: Option<usize>,
    /// A drain ends after this.
    pub shutdown_timeout: Duration,
}

/// `[admin]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Unix socket of the API.
    pub socket: PathBuf,
    /// Permission bits of the socket's file.
    pub socket_mode: u32,
    /// TCP listener of the API, if wanted.
    pub listen: Option<SocketAddr>,
    /// File with the bearer token for writes over TCP; without it TCP is read-only.
    pub token_file: Option<PathBuf>,
    /// TCP is encrypted with this certificate.
    pub tls: Option<CertificateFiles>,
    /// Host names taken over TCP beside the address, in lower case.
    pub hosts: Arc<[Box<str>]>,
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// SQLite file.
    pub file: PathBuf,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least severe level written.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
    /// Time between two summary lines; `None` is `"off"`.
    pub summary_every: Option<Duration>,
    /// One line a request.
    pub access: AccessLog,
}

/// Severity, as `log.level` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// `"error"`
    Error,
    /// `"warn"`
    Warn,
    /// `"info"`
    Info,
    /// `"debug"`
    Debug,
    /// `"trace"`
    Trace,
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `[[listener]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Address to listen on.
    pub bind: SocketAddr,
    /// Connections open at once, over all workers.
    pub max_connections: u32,
    /// Connections open at once from one client.
    pub max_connections_per_client: Option<u32>,
    /// Peers whose `X-Forwarded-*` are believed, and `Forwarded` where those are missing.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Write `Forwarded` beside `X-Forwarded-*`.
    pub forwarded: bool,
    /// A request's head must be complete this long after it began.
    pub header_timeout: Duration,
    /// A keep-alive connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// Bytes in a request's head, request line included.
    pub max_header_bytes: usize,
    /// Header lines in a request's head.
    pub max_headers: usize,
    /// What clients may speak; at least one, each once.
    pub protocols: Arc<[Protocol]>,
    /// Connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Bytes a second that a client sends and takes at least.
    pub min_rate: Option<u64>,
    /// Encryption, where the listener has certificates.
    pub tls: Option<ListenerTls>,
    /// Every request is answered with a redirect to https at this port.
    pub redirect_to_https: Option<u16>,
}

impl Listener {
    /// Whether `address` is one of its trusted proxies.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&address))
    }

    /// Whether Tidegate's own requests can come in here: others speak another version of HTTP, are sent
    /// elsewhere, or asked for a certificate.
    pub fn is_for_checks(&self) -> bool {
        let auth = self.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
        let speaks = self.protocols.contains(&Protocol::Http1);
        speaks && self.redirect_to_https.is_none() && !auth.is_some_and(|auth| auth.required)
    }
}

/// `[backend.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// The table's name.
    pub name: BackendName,
    /// Addresses, at least one, each once.
    pub endpoints: Vec<EndpointAddress>,
    /// What they speak.
    pub protocol: BackendProtocol,
    /// How one of them is chosen.
    pub balance: Balance,
    /// Names among the addresses are looked up this often.
    pub resolve_every: Duration,
    /// Requests under way at once, over all workers.
    pub max_in_flight: u32,
    /// The same at each of its endpoints; `None` is `"unlimited"`.
    pub endpoint_max_in_flight: Option<u32>,
    /// Idle connections kept per endpoint and worker.
    pub pool_idle: usize,
    /// An idle connection is closed after this.
    pub pool_idle_timeout: Duration,
    /// Header of an answer whose value begins with `HIT` where it came from a cache.
    pub cache_status_header: Option<http::HeaderName>,
    /// Active checks of its endpoints.
    pub health_check: Option<HealthCheck>,
    /// What takes failing endpoints out, and how they come back.
    pub ejection: Ejection,
    /// Encryption of the connections to its endpoints.
    pub tls: Option<BackendTls>,
}

/// `[[route]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Unique name; metric label and path of the admin API.
    pub name: RouteName,
    /// Hosts it serves; at least one.
    pub hosts: Vec<HostPattern>,
    /// Paths it serves.
    pub path: PathPattern,
    /// Shares of its backends; none where it redirects.
    pub split: Split,
    /// What keeps a session on its backend.
    pub affinity: Affinity,
    /// Exceptions, looked at in order before the split.
    pub overrides: Vec<Override>,
    /// Waiting times.
    pub timeouts: Timeouts,
    /// Largest request body in bytes; `None` is `"unlimited"`.
    pub max_body: Option<u64>,
    /// Name the backend to the client in `x-tidegate-backend`.
    pub expose_backend: bool,
    /// Which failures of an endpoint another one of the backend makes good.
    pub retry: Option<Retry>,
    /// What the baseline answers for the canary; a rollout names the route then, and both.
    pub fallback: Option<Fallback>,
    /// What it does to heads and bodies on their way.
    pub edge: Edge,
    /// Copies of requests for another backend.
    pub mirror: Option<Mirror>,
}

/// `[route.fallback]` that asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Failures that lead to the baseline; at least one, each once.
    pub on: Vec<FallbackCause>,
    /// Largest request body that is kept to be sent again, in bytes.
    pub max_body: u64,
    /// Methods of requests that may be sent again.
    pub methods: Vec<http::Method>,
    /// Largest share of the route's requests that may be answered so.
    pub budget: Weight,
}

/// How a canary fails, as `fallback.on` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FallbackCause {
    /// `"connect"`: no connection, or not in time.
    Connect,
    /// `"timeout"`: no connection or no answer in time.
    Timeout,
    /// `"reset"`: the connection broke, or what came is no HTTP.
    Reset,
    /// `"5xx"`
    ServerError,
}

/// One entry of `route.host`, in lower case and without a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// `"*"`
    Any,
    /// `"*.example.com"`: the part after the asterisk, with its dot: `.example.com`; one or more labels stand before it.
    Suffix(Box<str>),
    /// `"www.example.com"`
    Exact(Box<str>),
}

/// `route.path`
#[derive(Debug, Clone)]
pub enum PathPattern {
    /// `"/api"`: this path and those below it, by segment; without a trailing slash, the root is the empty text.
    Prefix(Box<str>),
    /// `"= /exact"`
    Exact(Box<str>),
    /// `"~ ^/v[0-9]+/"`: searched in the path.
    Regex(regex::Regex),
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(a), Self::Prefix(b)) | (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Prefix(_) | Self::Exact(_) | Self::Regex(_), _) => false,
        }
    }
}

/// `[route.affinity]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Affinity {
    /// A cookie that Tidegate issues and signs.
    Cookie {
        /// Cookie name.
        name: Box<str>,
        /// `Max-Age` of the cookie.
        ttl: Duration,
        /// File with the HMAC key; `None`: a random key kept in the state file.
        secret_file: Option<PathBuf>,
    },
    /// A cookie that the application sets.
    AppCookie {
        /// Cookie name.
        name: Box<str>,
    },
    /// A request header.
    Header {
        /// Header name.
        name: http::HeaderName,
    },
    /// The client's address, behind `trusted_proxies`.
    ClientIp,
    /// Each request by itself, spread evenly.
    None,
}

/// `[[route.override]]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Where to look.
    pub source: OverrideSource,
    /// The value that must stand there.
    pub equals: Box<str>,
    /// Where such a request goes; need not be in the split.
    pub backend: BackendName,
}

/// Part of a request that an override looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverrideSource {
    /// A header's whole value.
    Header(http::HeaderName),
    /// A cookie's value.
    Cookie(Box<str>),
    /// A query parameter's value, percent-decoding not applied.
    Query(Box<str>),
}

/// `[route.timeouts]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Connect to an endpoint.
    pub connect: Duration,
    /// From the end of the request to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two reads or writes of a body.
    pub idle: Duration,
    /// The whole request; `None` is `"off"`.
    pub total: Option<Duration>,
}
