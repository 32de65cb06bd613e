//! `[backend.NAME.health_check]`: its keys, and what these mean together.

use std::{fmt, time::Duration};

use http::Uri;
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::{
    defaults,
    fault::{Refusal, quote},
    leaf::{Leaf, Line, Whole, text},
    model::{self, BackendProtocol, Probe, StatusSet},
    reader::{At, Reader},
    section::section,
    source::Span,
    units::format_duration,
};

section! {
    /// Active checks of each endpoint of a backend: an unhealthy one gets no new requests.
    HealthCheck {
        /// What is asked. "http": a GET for `path`. "tcp": a connection. "grpc": the endpoint's own word,
        /// by the protocol grpc.health.v1. Without it "http" where there is a path, else "tcp".
        optional kind: HealthKind;
        /// Ask for this path with GET.
        optional path: HealthPath;
        /// Host of the request, by HTTP or gRPC; without it the endpoint's address, or "localhost" at a
        /// unix socket.
        optional host: Line;
        /// Name of the gRPC service that is asked about; empty: the whole server.
        default service: ServiceName = ServiceName(Box::default());
        /// Status codes of a healthy endpoint.
        default expect_status: StatusSet = StatusSet::below_400();
        /// From one check of an endpoint to the next, give or take a tenth.
        default interval: Duration = defaults::HEALTH_INTERVAL;
        /// A check without a result after this has failed.
        default timeout: Duration = defaults::HEALTH_TIMEOUT;
        /// Good results in a row that make an endpoint healthy again.
        default healthy_after: Whole<1, 1_000> = Whole(defaults::HEALTHY_AFTER);
        /// Bad results in a row that make it unhealthy.
        default unhealthy_after: Whole<1, 1_000> = Whole(defaults::UNHEALTHY_AFTER);
    }
}

/// What a health check asks, as `kind` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HealthKind {
    Http,
    Tcp,
    Grpc,
}

impl HealthKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Grpc => "grpc",
        }
    }
}

/// Name of a gRPC service: at most 256 characters, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceName(pub(super) Box<str>);

impl Leaf for ServiceName {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let name = text(value, "a service such as \"shop.Cart\"")?;
        if name.chars().count() > 256 || name.chars().any(|c| c.is_control() || c == ' ') {
            let refusal = Refusal::new(format!("{} is no service", quote(name)));
            let hint = "write its full name: \"shop.Cart\", or nothing for the whole server";
            return Err(refusal.hint(hint));
        }
        Ok(Self(name.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": 256 })
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

/// What a health check asks for: a path with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HealthPath(Box<str>);

impl Leaf for HealthPath {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let path = text(value, "a path such as \"/health\"")?;
        let whole = path.parse::<Uri>().ok().is_some_and(|uri| uri.authority().is_none());
        if !path.starts_with('/') || !whole || path.contains('#') {
            let refusal = Refusal::new(format!("{} is no path", quote(path)));
            return Err(refusal.hint("write it as it is asked for: \"/health\""));
        }
        Ok(Self(path.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/[^#]*$" })
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

/// The checks that `section` asks for; `key` is that of the section, and `protocol` what the endpoints speak.
pub(super) fn health_check(
    section: HealthCheck,
    protocol: BackendProtocol,
    key: &str,
    reader: &mut Reader<'_>,
) -> model::HealthCheck {
    let kind = kind(&section, protocol, key, reader);
    let (interval, timeout) = (section.interval, section.timeout);
    if timeout.value > interval.value {
        let (span, at) = match timeout.written {
            true => (timeout.span, "timeout"),
            false => (interval.span, "interval"),
        };
        let refusal = Refusal::new(format!(
            "a timeout of {} is longer than the interval of {}: checks would pile up",
            format_duration(timeout.value),
            format_duration(interval.value)
        ));
        let hint = "a timeout is at most as long as the interval";
        reader.fault(span, format!("{key}.{at}"), refusal.hint(hint));
    }
    let host = section.host.and_then(|host| checked_host(host, key, reader));
    let probe = match (kind, section.path) {
        (HealthKind::Http, Some(path)) => {
            Probe::Http { path: path.value.0, host, expect_status: section.expect_status.value }
        }
        (HealthKind::Grpc, _) => Probe::Grpc { service: section.service.value.0, host },
        // Without a path HTTP is a fault, which has been told.
        (HealthKind::Tcp, _) | (HealthKind::Http, None) => Probe::Tcp,
    };
    model::HealthCheck {
        probe,
        interval: interval.value,
        timeout: timeout.value,
        healthy_after: section.healthy_after.value.0 as u32,
        unhealthy_after: section.unhealthy_after.value.0 as u32,
    }
}

/// What is asked, with a fault for each key that then means nothing.
fn kind(
    section: &HealthCheck,
    protocol: BackendProtocol,
    key: &str,
    reader: &mut Reader<'_>,
) -> HealthKind {
    let at = |name: &str| format!("{key}.{name}");
    // A key that is faulty is not there, but was meant to be.
    let path_is_faulty = reader.has_fault_at(&at("path"));
    let has_path = section.path.is_some() || path_is_faulty;
    let kind = match &section.kind {
        Some(kind) => kind.value,
        None if has_path => HealthKind::Http,
        None => HealthKind::Tcp,
    };
    if reader.has_fault_at(&at("kind")) {
        return kind;
    }
    if let Some(At { span, .. }) = section.kind {
        if kind == HealthKind::Http && !has_path {
            let refusal = Refusal::new("there is no path to ask for");
            reader.fault(span, at("kind"), refusal.hint("add path = \"/health\""));
        }
        if kind == HealthKind::Grpc && protocol == BackendProtocol::Http1 {
            let refusal = Refusal::new("gRPC is spoken over HTTP/2 alone");
            let hint = "add protocol = \"h2\" to the backend";
            reader.fault(span, at("kind"), refusal.hint(hint));
        }
    }
    for (name, span, kinds) in written(section) {
        let Some(span) = span.filter(|_| !kinds.contains(&kind)) else { continue };
        reader.fault(span, at(name), no_effect(name, section.kind.is_some().then_some(kind)));
    }
    kind
}

/// Keys that mean something to some kinds alone, where they are written, and those kinds.
fn written(section: &HealthCheck) -> [(&'static str, Option<Span>, &'static [HealthKind]); 4] {
    let HealthCheck { path, host, service, expect_status, .. } = section;
    let (status, service) = (expect_status, service);
    [
        ("path", path.as_ref().map(|at| at.span), &[HealthKind::Http]),
        ("host", host.as_ref().map(|at| at.span), &[HealthKind::Http, HealthKind::Grpc]),
        ("expect_status", status.written.then_some(status.span), &[HealthKind::Http]),
        ("service", service.written.then_some(service.span), &[HealthKind::Grpc]),
    ]
}

/// Why the key `name` means nothing to `kind`; `None`: the file names none.
fn no_effect(name: &str, kind: Option<HealthKind>) -> Refusal {
    match kind {
        Some(kind) => {
            let refusal = Refusal::new(format!("has no effect with kind = {:?}", kind.word()));
            match (kind, name) {
                (HealthKind::Grpc, "path") => refusal.hint(
                    "gRPC has a method of its own for this; `service` says what is asked about",
                ),
                _ => refusal.hint("leave it out"),
            }
        }
        None if name == "service" => {
            Refusal::new("has no effect without kind = \"grpc\"").hint("add kind = \"grpc\"")
        }
        None => Refusal::new("has no effect without path").hint("add path = \"/health\""),
    }
}

fn checked_host(host: At<Line>, key: &str, reader: &mut Reader<'_>) -> Option<Box<str>> {
    if host.value.0.parse::<http::uri::Authority>().is_ok() && !host.value.0.contains('@') {
        return Some(host.value.0);
    }
    let refusal = Refusal::new(format!("{} is no host", quote(&host.value.0)));
    let hint = "write a name, with a port where it has one";
    reader.fault(host.span, format!("{key}.host"), refusal.hint(hint));
    None
}

impl fmt::Display for model::HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { probe, interval, timeout, healthy_after, unhealthy_after } = self;
        match probe {
            Probe::Tcp => f.write_str("a connection")?,
            Probe::Grpc { service, host } => {
                f.write_str("gRPC health")?;
                if !service.is_empty() {
                    write!(f, " of service {service}")?;
                }
                host.iter().try_for_each(|host| write!(f, " at host {host}"))?;
                f.write_str(" is SERVING")?;
            }
            Probe::Http { path, host, expect_status } => {
                write!(f, "GET {path}")?;
                host.iter().try_for_each(|host| write!(f, " of host {host}"))?;
                write!(f, " gives {expect_status}")?;
            }
        }
        let (interval, timeout) = (format_duration(*interval), format_duration(*timeout));
        write!(f, " within {timeout}, every {interval}; unhealthy after {unhealthy_after}")?;
        write!(f, " in a row, healthy after {healthy_after}")
    }
}
