//! Metrics, sinks, checks and hooks as short texts by key. Addresses are told without their paths, which may be as good as
//! a password: a short hash stands for the rest, so that a change is seen.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::{
        facts::{Fact, Facts, fact, list},
        model::{
            Address, Check, CheckAction, CheckTarget, Email, Hook, HookAction, Metric, MetricUnit,
            Sink, SinkKind, SmtpSecurity, Traces,
        },
        units::format_duration,
    },
    domain::{CheckStage, NotificationKind},
};

impl Facts for Metric {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { name: _, prometheus, query, unit, interval, timeout, token_file } = self;
        let unit = match unit {
            MetricUnit::Share => "share",
            MetricUnit::Duration => "duration",
            MetricUnit::Count => "count",
            MetricUnit::Bytes => "bytes",
        };
        let token = token_file.as_ref().map_or("none".into(), |path| path.to_string_lossy());
        vec![
            fact("prometheus", prometheus),
            fact("query", query),
            fact("unit", &unit),
            fact("interval", &format_duration(*interval)),
            fact("timeout", &format_duration(*timeout)),
            fact("token_file", &token),
        ]
    }
}

impl Facts for Sink {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { name: _, kind, events, min_severity, timeout } = self;
        vec![
            fact("kind", kind),
            fact("events", &list(events.iter().copied().map(NotificationKind::label))),
            fact("min_severity", &min_severity.label()),
            fact("timeout", &format_duration(*timeout)),
        ]
    }
}

impl Facts for Traces {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { endpoint, sample, service_name, headers, resource, timeout, max_delay } = self;
        // The values may be secrets; a change of one is seen all the same.
        let header = |(name, value): &(http::HeaderName, Box<str>)| {
            format!("{name} ({:08x})", xxh3_64(value.as_bytes()) as u32)
        };
        let attribute = |(name, value): &(Box<str>, Box<str>)| format!("{name} = {value:?}");
        vec![
            fact("endpoint", &discreet(endpoint)),
            fact("sample", &format!("{sample}%")),
            fact("service_name", service_name),
            fact("headers", &list(headers.iter().map(header))),
            fact("resource", &list(resource.iter().map(attribute))),
            fact("timeout", &format_duration(*timeout)),
            fact("max_delay", &format_duration(*max_delay)),
        ]
    }
}

impl fmt::Display for SinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slack(url) => write!(f, "slack at {url}"),
            Self::Webhook { url, secret_file } => {
                write!(f, "webhook at {url}")?;
                secret_file.iter().try_for_each(|path| write!(f, ", signed by {}", path.display()))
            }
            Self::Email(email) => write!(f, "email {email}"),
            Self::Alertmanager(url) => write!(f, "alertmanager at {url}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => f.write_str(&discreet(url)),
            Self::File(path) => write!(f, "what {} says", path.display()),
        }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, security, from, to, login } = self;
        let scheme = match security {
            SmtpSecurity::None => "smtp",
            SmtpSecurity::StartTls => "starttls",
            SmtpSecurity::Tls => "smtps",
        };
        write!(f, "from {from} to {} by {scheme}://{host}:{port}", list(to.iter()))?;
        match login {
            Some((user, file)) => write!(f, " as {user} with {}", file.display()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = list(self.stages.iter().copied().map(CheckStage::label));
        write!(f, "{:?} ({}; {stages}", self.name, self.category.label())?;
        if self.stages.contains(&CheckStage::During) {
            write!(f, " every {}", format_duration(self.interval))?;
        }
        let optional = if self.required { "" } else { ", optional" };
        write!(f, "; {} within {}{optional})", self.action, format_duration(self.timeout))
    }
}

impl fmt::Display for CheckAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { target, request, expect } => {
                let target = match target {
                    CheckTarget::Canary => "canary",
                    CheckTarget::Baseline => "baseline",
                    CheckTarget::Both => "both",
                    CheckTarget::Proxy => "proxy",
                };
                // The whole of it, so that every change is seen; a header or body may hold a secret.
                let rest = xxh3_64(format!("{request:?}{expect:?}").as_bytes()) as u32;
                let (method, path, status) = (&request.method, &request.path, &expect.status);
                write!(f, "{method} {path} of {target} expects {status}, {rest:08x}")
            }
            Self::Exec(words) => write!(f, "{words:?}"),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} (on {}", self.name, self.point.label())?;
        self.level.iter().try_for_each(|level| write!(f, " at level {level}"))?;
        match &self.action {
            HookAction::Exec(words) => write!(f, "; {words:?}")?,
            HookAction::Post(url) => write!(f, "; POST {}", discreet(url))?,
        }
        let required = if self.required { ", required" } else { "" };
        write!(f, " within {}{required})", format_duration(self.timeout))
    }
}

/// Scheme and host of `url`, and a hash of the rest.
pub(in crate::config) fn discreet(url: &str) -> String {
    let start: Vec<_> = url.splitn(4, '/').collect();
    match start.get(3).filter(|path| !path.is_empty()) {
        Some(path) => {
            format!("{}/… ({:08x})", start[..3].join("/"), xxh3_64(path.as_bytes()) as u32)
        }
        None => url.trim_end_matches('/').to_owned(),
    }
}
