//! A configuration's parts as short texts by key, for people: `diff` compares them, `explain` shows
//! them.
//!
//! Each struct is taken apart field by field, so that a new field cannot be forgotten here.

use std::time::Duration;

use super::{
    model::{
        AccessLog, Admin, Affinity, Backend, Edge, Ejection, ErrorPage, Fallback, FallbackCause,
        Listener, Log, LogFormat, LogLevel, Override, OverrideSource, Process, Route, State,
        Timeouts,
    },
    tls,
    units::{format_duration, format_size},
};
use crate::domain::{Balance, Split};

/// A key of the file and what stands there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fact<'c> {
    pub(super) key: &'static str,
    pub(super) value: Value<'c>,
}

/// What a fact says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'c> {
    Text(String),
    Split(&'c Split),
}

/// A part of the configuration that is told fact by fact.
pub(super) trait Facts {
    /// Every key with its value, in the order of the file.
    fn facts(&self) -> Vec<Fact<'_>>;
}

pub(super) fn fact(key: &'static str, text: &dyn ToString) -> Fact<'static> {
    Fact { key, value: Value::Text(text.to_string()) }
}

impl Facts for Process {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { workers, shutdown_timeout } = self;
        vec![
            fact("workers", &workers.map_or_else(|| "auto".to_owned(), |count| count.to_string())),
            fact("shutdown_timeout", &format_duration(*shutdown_timeout)),
        ]
    }
}

impl Facts for Admin {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { socket, socket_mode, listen, token_file, tls, hosts } = self;
        vec![
            fact("socket", &socket.display()),
            fact("socket_mode", &format!("{socket_mode:04o}")),
            fact("listen", &listen.map_or_else(|| "off".to_owned(), |address| address.to_string())),
            fact(
                "token_file",
                &token_file.as_ref().map_or("none".into(), |path| path.to_string_lossy()),
            ),
            fact("hosts", &list(hosts.iter())),
            fact("tls", &list(tls.iter())),
        ]
    }
}

impl Facts for State {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { file } = self;
        vec![fact("file", &file.display())]
    }
}

impl Facts for Log {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { level, format, summary_every, access } = self;
        let AccessLog { path, format: access_format, sample } = access;
        vec![
            fact("level", &level_name(*level)),
            fact(
                "format",
                &match format {
                    LogFormat::Json => "json",
                    LogFormat::Text => "text",
                },
            ),
            fact("summary_every", &duration_or_off(*summary_every)),
            fact("access.path", path),
            fact("access.format", access_format),
            fact("access.sample", sample),
        ]
    }
}

impl Facts for Listener {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self {
            bind,
            max_connections,
            trusted_proxies,
            forwarded,
            header_timeout,
            idle_timeout,
            max_header_bytes,
            max_headers,
            protocols,
            max_connections_per_client,
            proxy_protocol,
            min_rate,
            tls: _,
            redirect_to_https: _,
        } = self;
        let each = max_connections_per_client.map_or("off".to_owned(), |most| most.to_string());
        let rate = min_rate.map_or("off".to_owned(), format_size);
        let mut facts = vec![
            fact("bind", bind),
            fact("max_connections", max_connections),
            fact("trusted_proxies", &list(trusted_proxies.iter())),
            fact("forwarded", forwarded),
            fact("header_timeout", &format_duration(*header_timeout)),
            fact("idle_timeout", &format_duration(*idle_timeout)),
            fact("max_header_bytes", &format_size(*max_header_bytes as u64)),
            fact("max_headers", max_headers),
            fact("protocols", &list(protocols.iter().map(|protocol| protocol.name()))),
            fact("max_connections_per_client", &each),
            fact("proxy_protocol", proxy_protocol),
            fact("min_rate", &rate),
        ];
        facts.extend(tls::facts(self));
        facts
    }
}

impl Facts for Backend {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self {
            name: _,
            endpoints,
            protocol,
            balance,
            resolve_every,
            max_in_flight,
            endpoint_max_in_flight,
            pool_idle,
            pool_idle_timeout,
            cache_status_header,
            health_check,
            ejection: Ejection { rules, slow_start },
            tls,
        } = self;
        vec![
            fact("endpoints", &list(endpoints.iter())),
            fact("protocol", &protocol.name()),
            fact("balance", &balance_name(*balance)),
            fact("resolve_every", &format_duration(*resolve_every)),
            fact("max_in_flight", max_in_flight),
            fact(
                "endpoint_max_in_flight",
                &endpoint_max_in_flight.map_or_else(|| "unlimited".to_owned(), |n| n.to_string()),
            ),
            fact("pool_idle", pool_idle),
            fact("pool_idle_timeout", &format_duration(*pool_idle_timeout)),
            fact("cache_status_header", &list(cache_status_header.iter())),
            fact("health_check", &list(health_check.iter())),
            fact("ejection", &list(rules.iter())),
            fact("ejection.slow_start", &duration_or_off(*slow_start)),
            fact("tls", &list(tls.iter())),
        ]
    }
}

impl Facts for Route {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self {
            name: _,
            hosts,
            path,
            split,
            affinity,
            overrides,
            timeouts,
            max_body,
            expose_backend,
            retry,
            fallback,
            edge,
            mirror,
        } = self;
        let Edge { headers, rewrite, redirect, rate_limit, compress } = edge;
        let Timeouts { connect, first_byte, idle, total } = timeouts;
        vec![
            fact("host", &list(hosts.iter())),
            fact("path", path),
            Fact { key: "split", value: Value::Split(split) },
            fact("affinity", affinity),
            fact("override", &list(overrides.iter())),
            fact("timeouts.connect", &format_duration(*connect)),
            fact("timeouts.first_byte", &format_duration(*first_byte)),
            fact("timeouts.idle", &format_duration(*idle)),
            fact("timeouts.total", &duration_or_off(*total)),
            fact("max_body", &max_body.map_or_else(|| "unlimited".to_owned(), format_size)),
            fact("expose_backend", expose_backend),
            fact("retry", &list(retry.iter())),
            fact("fallback", &list(fallback.iter())),
            fact("headers", &list(headers.iter())),
            fact("rewrite", &list(rewrite.iter())),
            fact("redirect", &list(redirect.iter())),
            fact("rate_limit", &list(rate_limit.iter())),
            fact("compress", &list(compress.iter())),
            fact("mirror", &list(mirror.iter())),
        ]
    }
}

impl Facts for ErrorPage {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { status: _, file } = self;
        vec![fact("file", &file.display())]
    }
}

impl std::fmt::Display for Fallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { on, max_body, methods, budget } = self;
        let cause = |cause: &FallbackCause| match cause {
            FallbackCause::Connect => "connect",
            FallbackCause::Timeout => "timeout",
            FallbackCause::Reset => "reset",
            FallbackCause::ServerError => "5xx",
        };
        let (on, methods) = (list(on.iter().map(cause)), list(methods.iter()));
        let max_body = format_size(*max_body);
        write!(f, "on {on} of {methods} with bodies up to {max_body}, {budget} % at most")
    }
}

impl std::fmt::Display for Affinity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cookie { name, ttl, secret_file } => {
                write!(f, "cookie {name:?} for {}", format_duration(*ttl))?;
                secret_file.iter().try_for_each(|path| write!(f, ", signed by {}", path.display()))
            }
            Self::AppCookie { name } => write!(f, "the application's cookie {name:?}"),
            Self::Header { name } => write!(f, "header {name}"),
            Self::ClientIp => f.write_str("client address"),
            Self::None => f.write_str("none"),
        }
    }
}

impl std::fmt::Display for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            OverrideSource::Header(name) => write!(f, "header {name}")?,
            OverrideSource::Cookie(name) => write!(f, "cookie {name}")?,
            OverrideSource::Query(name) => write!(f, "query {name:?}")?,
        }
        write!(f, " = {:?} to {}", self.equals, self.backend)
    }
}

/// `blue 90, green 10`.
pub(super) fn describe_split(split: &Split) -> String {
    list(split.shares().iter().map(|(name, weight)| format!("{name} {weight}")))
}

/// The file's word for `balance`.
pub(super) const fn balance_name(balance: Balance) -> &'static str {
    match balance {
        Balance::LeastInFlight => "least_in_flight",
        Balance::RoundRobin => "round_robin",
        Balance::Ewma => "ewma",
        Balance::Hash => "hash",
    }
}

/// The items between commas; `none` where there are none.
pub(super) fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn duration_or_off(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "off".to_owned(), format_duration)
}

const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}
