//! Values that only rollouts have.

use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::{
    config::{
        fault::Refusal,
        leaf::{Leaf, Whole, text},
        reader::expected,
        units::{MAX_DURATION, format_duration, parse_duration},
    },
    domain::condition::MAX_CONDITION,
};

/// A condition before the metrics are known that it may speak of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct ConditionText(pub(in crate::config) Box<str>);

impl Leaf for ConditionText {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let condition = text(value, "a condition such as \"error_rate < 1%\"")?;
        if condition.len() > MAX_CONDITION || condition.chars().any(char::is_control) {
            let message = format!("must have at most {MAX_CONDITION} bytes on one line");
            return Err(Refusal::new(message));
        }
        Ok(Self(condition.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 3, "maxLength": MAX_CONDITION })
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

/// A duration that may be nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct DurationOrZero(pub(in crate::config) Duration);

impl Leaf for DurationOrZero {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let zero = value.as_str().and_then(parse_duration).is_some_and(|zero| zero.is_zero());
        if zero {
            return Ok(Self(Duration::ZERO));
        }
        Duration::parse(value).map(Self).map_err(|refusal| {
            let longest = format_duration(MAX_DURATION);
            match value.as_str().and_then(parse_duration) {
                Some(_) => Refusal::new(format!("must be at most \"{longest}\"")),
                None => refusal,
            }
        })
    }

    fn schema() -> Json {
        <Duration as Leaf>::schema()
    }

    fn json(&self) -> Json {
        format_duration(self.0).into()
    }
}

/// A number of things; `None` is `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct CountOrOff(pub(in crate::config) Option<u64>);

type Count = Whole<1, 1_000_000_000>;

impl Leaf for CountOrOff {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        if value.as_str() == Some("off") {
            return Ok(Self(None));
        }
        let count = Count::parse(value).map(|count| Self(Some(count.0)));
        count.map_err(|_| expected("\"off\" or a whole number from 1 to 1000000000", value))
    }

    fn schema() -> Json {
        json!({ "oneOf": [{ "const": "off" }, <Count as Leaf>::schema()] })
    }

    fn json(&self) -> Json {
        self.0.map_or_else(|| "off".into(), Into::into)
    }
}

/// What opens a step's end, as `gate` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum GateWord {
    /// Nothing has to.
    None,
    /// An operator.
    Manual,
}
