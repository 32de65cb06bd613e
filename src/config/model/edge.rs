//! Duties at the edge: the access log, and what a route does to heads and bodies on their way.

use std::{fmt, path::PathBuf, time::Duration};

use http::HeaderName;

pub use crate::config::edge::{
    template::{Segment, Template},
    variable::Variable,
};
use crate::domain::Weight;

/// `[log.access]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go.
    pub path: AccessPath,
    /// What a line says.
    pub format: AccessFormat,
    /// Share of requests that get one.
    pub sample: Weight,
}

/// `log.access.path`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessPath {
    /// `"-"`
    Stdout,
    /// A file that is appended to.
    File(PathBuf),
    /// `"off"`
    Off,
}

/// `log.access.format`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object a line.
    Json,
    /// `"combined"`, or text with variables.
    Template(Template),
}

impl fmt::Display for AccessPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("-"),
            Self::File(path) => path.display().fmt(f),
            Self::Off => f.write_str("off"),
        }
    }
}

impl fmt::Display for AccessFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json => f.write_str("json"),
            Self::Template(template) => template.fmt(f),
        }
    }
}

/// What a route does to heads and bodies on their way; each part is rare.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Edge {
    /// `[route.headers]`
    pub headers: Option<HeaderRules>,
    /// `[route.rewrite]`
    pub rewrite: Option<Rewrite>,
    /// `[route.redirect]`
    pub redirect: Option<Redirect>,
    /// `[route.rate_limit]`
    pub rate_limit: Option<RateLimit>,
    /// `[route.compress]`
    pub compress: Option<Compress>,
}

/// `[route.headers]` that asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderRules {
    /// Headers of the request that get these values.
    pub request_set: Vec<(HeaderName, Template)>,
    /// Headers of the request that are removed.
    pub request_remove: Vec<HeaderName>,
    /// Headers of the answer that get these values.
    pub response_set: Vec<(HeaderName, Template)>,
    /// Headers of the answer that are removed.
    pub response_remove: Vec<HeaderName>,
    /// Headers of the request that values need.
    pub noted: Vec<HeaderName>,
}

/// `[route.rewrite]`
#[derive(Debug, Clone, PartialEq)]
pub enum Rewrite {
    /// One prefix for another; neither ends with a slash.
    Prefix {
        /// Taken away, by segment.
        strip: Box<str>,
        /// Put before what is left.
        add: Box<str>,
    },
    /// By a regular expression.
    Regex {
        /// What the path must hold.
        regex: Expression,
        /// The path instead; names nothing but groups, and begins with a slash.
        to: Template,
    },
}

/// A regular expression, equal to one that is written alike.
#[derive(Debug, Clone)]
pub struct Expression(pub regex::Regex);

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// `[route.redirect]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// A path, or an address whose host nothing that a client sends can lengthen.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `[route.rate_limit]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Who shares a limit.
    pub per: LimitKey,
    /// Requests in a period.
    pub count: u32,
    /// The period.
    pub period: Duration,
    /// Requests at once.
    pub burst: u32,
}

/// `rate_limit.per`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitKey {
    /// `"client_ip"`
    Client,
    /// `"header:NAME"`
    Header(HeaderName),
    /// `"route"`
    Route,
}

/// `[route.compress]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// What is offered, the best first.
    pub algorithms: Vec<Algorithm>,
    /// A smaller answer goes out as it is.
    pub min_size: u64,
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RFC 8878
    Zstd,
    /// RFC 7932
    Brotli,
    /// RFC 1952
    Gzip,
}

impl Algorithm {
    /// Its name in `accept-encoding` and `content-encoding`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// A page for an answer of Tidegate's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// Which answers it is for.
    pub status: StatusPattern,
    /// Where it is read from.
    pub file: PathBuf,
}

/// A status code, or all of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StatusPattern {
    /// `"404"`
    Code(u16),
    /// `"5xx"`: the hundreds.
    Class(u16),
}

impl StatusPattern {
    /// Whether `status` is meant.
    pub const fn fits(self, status: u16) -> bool {
        match self {
            Self::Code(code) => status == code,
            Self::Class(hundreds) => status / 100 == hundreds,
        }
    }
}

impl fmt::Display for StatusPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => code.fmt(f),
            Self::Class(hundreds) => write!(f, "{hundreds}xx"),
        }
    }
}

impl fmt::Display for HeaderRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |rules: &[(HeaderName, Template)]| {
            let texts = rules.iter().map(|(name, value)| format!("set {name} = \"{value}\""));
            texts.collect::<Vec<_>>()
        };
        let removed = |names: &[HeaderName]| {
            names.iter().map(|name| format!("remove {name}")).collect::<Vec<_>>()
        };
        let request = [set(&self.request_set), removed(&self.request_remove)].concat();
        let response = [set(&self.response_set), removed(&self.response_remove)].concat();
        write!(f, "request [{}] response [{}]", request.join(", "), response.join(", "))
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix { strip, add } => write!(f, "{strip:?} to {add:?}"),
            Self::Regex { regex, to } => write!(f, "~ {} to {to}", regex.0),
        }
    }
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.status, self.to)
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, seconds, burst) = (self.count, self.period.as_secs(), self.burst);
        write!(f, "{count} in {seconds} s, {burst} at once, per {}", self.per)
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client_ip"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Route => f.write_str("route"),
        }
    }
}

impl fmt::Display for Compress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.algorithms.iter().map(|algorithm| algorithm.token()).collect();
        write!(f, "{} from {} B", names.join(", "), self.min_size)
    }
}

impl fmt::Display for ErrorPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.file.display())
    }
}
