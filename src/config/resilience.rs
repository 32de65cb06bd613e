//! `[backend.NAME.ejection]` and `[route.retry]`: their keys, and what these mean together.

use std::{fmt, time::Duration};

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::{
    collection::List,
    defaults,
    fault::Refusal,
    leaf::{DurationOrOff, Leaf, Whole},
    model::{self, RetryCause},
    reader::Reader,
    section::section,
    units::format_duration,
    validate::refuse_repeated,
};
use crate::domain::{EjectionRules, Weight};

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

impl fmt::Display for EjectionRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { consecutive_failures, base_time, max_time, max_share } = self;
        let (base, max) = (format_duration(*base_time), format_duration(*max_time));
        write!(f, "after {consecutive_failures} failures in a row for {base} to {max}, ")?;
        write!(f, "{max_share} % of the endpoints at most")
    }
}
