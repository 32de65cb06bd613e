//! `[backend.NAME.health_check]` and `[backend.NAME.ejection]`: their keys, and what these mean together.

use std::{fmt, time::Duration};

use http::Uri;
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::{
    collection::List,
    defaults,
    fault::{Refusal, quote},
    leaf::{DurationOrOff, Leaf, Line, Whole, text},
    model::{self, Probe, RetryCause, StatusSet},
    reader::{At, Reader},
    section::section,
    units::format_duration,
    validate::refuse_repeated,
};
use crate::domain::{EjectionRules, Weight};

section! {
    /// Active checks of each endpoint of a backend: an unhealthy one gets no new requests.
    HealthCheck {
        /// Ask for this path with GET; without it an endpoint is healthy if it takes a connection.
        optional path: HealthPath;
        /// Host header of that request; the endpoint's address without it.
        optional host: Line;
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
    later { "kind"; }
}

section! {
    /// Endpoints are taken out for a while because of what became of their own requests.
    Ejection {
        /// False: none, whatever else stands here but slow_start.
        default enabled: bool = true;
        /// Failures in a row after which an endpoint is ejected.
        default consecutive_failures: Whole<1, 10_000> = Whole(defaults::EJECTION_FAILURES);
        /// Length of an ejection; doubles at each one that follows soon.
        default base_time: Duration = defaults::EJECTION_TIME;
        /// Longest ejection.
        default max_time: Duration = defaults::EJECTION_MAX_TIME;
        /// Largest share of a backend's endpoints that may be ejected at once; one always may, where
        /// another is left that takes requests.
        default max_share: Weight = Weight::HALF;
        /// An endpoint that was ejected, unhealthy or drained, or is new in its backend, gets its full
        /// share only after this, and less until then; "off": at once.
        default slow_start: DurationOrOff = DurationOrOff(Some(defaults::SLOW_START));
    }
}

section! {
    /// A request that an endpoint failed before its answer began goes once more, to another endpoint of
    /// the same backend, where that is safe.
    Retry {
        /// How often; 0: never.
        default attempts: Whole<0, 10> = Whole(defaults::RETRY_ATTEMPTS);
        /// Failures that lead there. "connect": no connection. "refused": the connection ended before a
        /// byte of the request was sent. "reset_before_response": it ended before a byte of the answer
        /// came; only for requests without a body whose method may be repeated.
        default on: List<RetryCause, 0, 3> = List::unwritten(defaults::RETRY_ON);
        /// Largest share of the route's requests; a few a second may always go.
        default budget: Weight = defaults::RETRY_BUDGET;
    }
}

/// A number of requests; `None` is `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CountOrUnlimited(pub(super) Option<u32>);

type Count = Whole<1, 1_000_000>;

impl Leaf for CountOrUnlimited {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match value.as_str() {
            Some("unlimited") => Ok(Self(None)),
            _ => Count::parse(value).map(|count| Self(Some(count.0 as u32))),
        }
    }

    fn schema() -> Json {
        json!({ "oneOf": [{ "const": "unlimited" }, <Count as Leaf>::schema()] })
    }

    fn json(&self) -> Json {
        self.0.map_or_else(|| "unlimited".into(), Into::into)
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

/// The checks that `section` asks for; `key` is that of the section.
pub(super) fn health_check(
    section: HealthCheck,
    key: &str,
    reader: &mut Reader<'_>,
) -> model::HealthCheck {
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
    let no_effect = |span, at: &str, reader: &mut Reader<'_>| {
        let refusal = Refusal::new("has no effect without path").hint("add path = \"/health\"");
        reader.fault(span, format!("{key}.{at}"), refusal);
    };
    let probe = match section.path {
        Some(path) => Probe::Http {
            path: path.value.0,
            host: section.host.and_then(|host| checked_host(host, key, reader)),
            expect_status: section.expect_status.value,
        },
        None => {
            let path_is_faulty = reader.has_fault_at(&format!("{key}.path"));
            if let Some(host) = section.host.filter(|_| !path_is_faulty) {
                no_effect(host.span, "host", reader);
            }
            if section.expect_status.written && !path_is_faulty {
                no_effect(section.expect_status.span, "expect_status", reader);
            }
            Probe::Tcp
        }
    };
    model::HealthCheck {
        probe,
        interval: interval.value,
        timeout: timeout.value,
        healthy_after: section.healthy_after.value.0 as u32,
        unhealthy_after: section.unhealthy_after.value.0 as u32,
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

/// What `section` says; `key` is that of the section.
pub(super) fn ejection(section: &Ejection, key: &str, reader: &mut Reader<'_>) -> model::Ejection {
    let (base_time, max_time) = (&section.base_time, &section.max_time);
    if base_time.value > max_time.value {
        let at = if max_time.written { max_time } else { base_time };
        let name = if max_time.written { "max_time" } else { "base_time" };
        let refusal = Refusal::new("base_time is longer than max_time");
        let hint = "ejections begin with base_time and double up to max_time";
        reader.fault(at.span, format!("{key}.{name}"), refusal.hint(hint));
    }
    let rules = EjectionRules {
        consecutive_failures: section.consecutive_failures.value.0 as u32,
        base_time: base_time.value,
        max_time: max_time.value,
        max_share: section.max_share.value,
    };
    model::Ejection {
        rules: section.enabled.value.then_some(rules),
        slow_start: section.slow_start.value.0,
    }
}

/// What `section` asks for, at `key`; `None` where it asks for nothing.
pub(super) fn retry(
    section: Retry,
    key: impl Fn(&str) -> String,
    reader: &mut Reader<'_>,
) -> Option<model::Retry> {
    let (attempts, on) = (section.attempts.value.0 as u32, section.on.value);
    refuse_repeated(&on.0, |at| key(&format!("retry.on[{at}]")), reader);
    (attempts > 0 && !on.0.is_empty()).then(|| model::Retry {
        attempts,
        on: on.into_values(),
        budget: section.budget.value,
    })
}

impl fmt::Display for model::Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempts, on, budget } = self;
        let words: Vec<_> = on.iter().map(|cause| cause.word()).collect();
        write!(f, "{attempts} on {}, {budget} % at most", words.join(", "))
    }
}

impl fmt::Display for model::HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { probe, interval, timeout, healthy_after, unhealthy_after } = self;
        match probe {
            Probe::Tcp => f.write_str("a connection")?,
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

impl fmt::Display for EjectionRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consecutive_failures, base_time, max_time, max_share } = self;
        let (base, max) = (format_duration(*base_time), format_duration(*max_time));
        write!(f, "after {consecutive_failures} failures in a row for {base} to {max}, ")?;
        write!(f, "{max_share} % of the endpoints at most")
    }
}
