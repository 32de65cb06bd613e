//! Values without keys of their own: numbers, durations, sizes, paths, addresses.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde_json::{Value as Json, json};
use toml::{Spanned, de::DeValue};

use super::{
    fault::{Refusal, quote},
    reader::{Read, Reader, expected},
    units::{MAX_DURATION, format_duration, format_size, parse_duration, parse_size},
};
use crate::domain::{BackendName, EndpointAddress, RouteName, StepName, Weight};

/// A value that is read in one piece.
pub(super) trait Leaf: Sized {
    /// The value, or why it is none.
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal>;

    /// Its JSON Schema.
    fn schema() -> Json;

    /// As the file would write it.
    fn json(&self) -> Json;
}

impl<T: Leaf> Read for T {
    fn read(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let parsed = T::parse(value.get_ref());
        parsed.map_err(|refusal| reader.refuse(value.span().into(), refusal)).ok()
    }

    fn schema() -> Json {
        <T as Leaf>::schema()
    }

    fn json(&self) -> Option<Json> {
        Some(Leaf::json(self))
    }
}

/// The text of `value`, or a refusal that says `what` it should be.
pub(super) fn text<'v>(value: &'v DeValue<'_>, what: &str) -> Result<&'v str, Refusal> {
    value.as_str().ok_or_else(|| expected(what, value))
}

/// A whole number within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<const MIN: u64, const MAX: u64> Leaf for Whole<MIN, MAX> {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let what = format!("a whole number from {MIN} to {MAX}");
        let number = value.as_integer().ok_or_else(|| expected(&what, value))?;
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
        match number.filter(|number| (MIN..=MAX).contains(number)) {
            Some(number) => Ok(Self(number)),
            None => Err(expected(&what, value)),
        }
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }

    fn json(&self) -> Json {
        self.0.into()
    }
}

/// A number of threads; `None` is `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Workers(pub(super) Option<usize>);

impl Workers {
    const MAX: u64 = 256;
}

impl Leaf for Workers {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        if value.as_str() == Some("auto") {
            return Ok(Self(None));
        }
        let number = Whole::<1, { Self::MAX }>::parse(value).map(|number| number.0 as usize);
        let what = format!("\"auto\" or a whole number from 1 to {}", Self::MAX);
        number.map(|number| Self(Some(number))).map_err(|_| expected(&what, value))
    }

    fn schema() -> Json {
        json!({ "oneOf": [{ "const": "auto" }, <Whole<1, { Self::MAX }> as Leaf>::schema()] })
    }

    fn json(&self) -> Json {
        self.0.map_or_else(|| "auto".into(), Into::into)
    }
}

const DURATION: &str = "a duration such as \"250ms\", \"30s\", or \"1m30s\"";
const DURATION_PATTERN: &str = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

impl Leaf for Duration {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        if value.is_integer() {
            let hint = "give the unit: one of d, h, m, s, ms";
            return Err(expected(DURATION, value).hint(hint));
        }
        let duration = parse_duration(text(value, DURATION)?);
        let duration = duration.ok_or_else(|| expected(DURATION, value))?;
        if duration.is_zero() || duration > MAX_DURATION {
            let longest = format_duration(MAX_DURATION);
            return Err(Refusal::new(format!("must be more than 0 and at most \"{longest}\"")));
        }
        Ok(duration)
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 2, "pattern": DURATION_PATTERN })
    }

    fn json(&self) -> Json {
        format_duration(*self).into()
    }
}

/// A duration; `None` is `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DurationOrOff(pub(super) Option<Duration>);

impl Leaf for DurationOrOff {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        if value.as_str() == Some("off") {
            return Ok(Self(None));
        }
        let parsed = Duration::parse(value).map(|duration| Self(Some(duration)));
        parsed.map_err(|refusal| {
            let hint = refusal.hint.clone().unwrap_or_else(|| "\"off\" for none".to_owned());
            refusal.hint(hint)
        })
    }

    fn schema() -> Json {
        json!({ "oneOf": [{ "const": "off" }, <Duration as Leaf>::schema()] })
    }

    fn json(&self) -> Json {
        self.0.map_or_else(|| "off".into(), |duration| Leaf::json(&duration))
    }
}

const SIZE: &str = "a size such as \"64KiB\" or \"1MiB\"";
const SIZE_PATTERN: &str = "^[0-9]+(B|KiB|MiB|GiB|TiB)$";

/// A number of bytes within its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub(super) u64);

impl<const MIN: u64, const MAX: u64> Leaf for Size<MIN, MAX> {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        if value.is_integer() {
            let hint = "give the unit: one of B, KiB, MiB, GiB, TiB";
            return Err(expected(SIZE, value).hint(hint));
        }
        let size = parse_size(text(value, SIZE)?).ok_or_else(|| expected(SIZE, value))?;
        if !(MIN..=MAX).contains(&size) {
            let (least, most) = (format_size(MIN), format_size(MAX));
            return Err(Refusal::new(format!("must be from \"{least}\" to \"{most}\"")));
        }
        Ok(Self(size))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": SIZE_PATTERN })
    }

    fn json(&self) -> Json {
        format_size(self.0).into()
    }
}

/// A number of bytes; `None` is `"unlimited"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeOrUnlimited(pub(super) Option<u64>);

type AnySize = Size<0, { 1 << 60 }>;

impl Leaf for SizeOrUnlimited {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match value.as_str() {
            Some("unlimited") => Ok(Self(None)),
            _ => AnySize::parse(value).map(|size| Self(Some(size.0))),
        }
    }

    fn schema() -> Json {
        json!({ "oneOf": [{ "const": "unlimited" }, <AnySize as Leaf>::schema()] })
    }

    fn json(&self) -> Json {
        self.0.map_or_else(|| "unlimited".into(), |size| format_size(size).into())
    }
}

/// A number of bytes; `None` is `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeOrOff(pub(super) Option<u64>);

type SomeSize = Size<1, { 1 << 40 }>;

impl Leaf for SizeOrOff {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match value.as_str() {
            Some("off") => Ok(Self(None)),
            _ => SomeSize::parse(value).map(|size| Self(Some(size.0))),
        }
    }

    fn schema() -> Json {
        json!({ "oneOf": [{ "const": "off" }, <SomeSize as Leaf>::schema()] })
    }

    fn json(&self) -> Json {
        self.0.map_or_else(|| "off".into(), |size| format_size(size).into())
    }
}

impl Leaf for bool {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        value.as_bool().ok_or_else(|| expected("true or false", value))
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn json(&self) -> Json {
        (*self).into()
    }
}

/// Text of 1 to 256 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line(pub(super) Box<str>);

impl Leaf for Line {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let line = text(value, "a text")?;
        if line.is_empty() || line.chars().count() > 256 || line.chars().any(char::is_control) {
            return Err(Refusal::new("must have 1 to 256 characters, none a control character"));
        }
        Ok(Self(line.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 256 })
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

/// A path of a file; empty means none, where a key allows that.
impl Leaf for PathBuf {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let path = text(value, "a path of a file")?;
        if path.len() > 4096 || path.chars().any(char::is_control) {
            return Err(Refusal::new("must have at most 4096 bytes, no control character"));
        }
        Ok(Self::from(path))
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": 4096 })
    }

    fn json(&self) -> Json {
        self.to_string_lossy().into()
    }
}

/// Permission bits, written as octal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u32);

impl Leaf for Mode {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        const WHAT: &str = "permission bits as octal text, such as \"0660\"";
        let octal = text(value, WHAT)?;
        let plain =
            (3..=4).contains(&octal.len()) && octal.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(octal, 8).ok().filter(|mode| plain && *mode <= 0o777);
        mode.map(Self).ok_or_else(|| expected(WHAT, value))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^0?[0-7]{3}$" })
    }

    fn json(&self) -> Json {
        format!("{:04o}", self.0).into()
    }
}

/// A value that is read from text alone by `$parse`.
macro_rules! from_text {
    ($($type:ty, $what:literal, $parse:expr;)*) => {$(
        impl Leaf for $type {
            fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
                $parse(text(value, $what)?)
            }

            fn schema() -> Json {
                json!({ "type": "string" })
            }

            fn json(&self) -> Json {
                self.to_string().into()
            }
        }
    )*};
}

from_text! {
    SocketAddr, "an address such as \"0.0.0.0:8080\"", parse_socket_address;
    IpNet, "a network such as \"10.0.0.0/8\"", parse_network;
    EndpointAddress, "an endpoint such as \"127.0.0.1:9001\" or \"unix:/run/app.sock\"",
        |text: &str| text.parse().map_err(say);
    RouteName, "a name", |text| Self::new(text).map_err(say);
    BackendName, "a name", |text| Self::new(text).map_err(say);
    StepName, "a name", |text| Self::new(text).map_err(say);
}

fn say(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(error.to_string())
}

fn parse_socket_address(text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new(format!("{} is no address to listen on", quote(text)))
            .hint("write an IP address and a port: \"0.0.0.0:8080\" or \"[::]:8080\"")
    })
}

fn parse_network(text: &str) -> Result<IpNet, Refusal> {
    let alone = || text.parse().ok().map(|address: std::net::IpAddr| address.into());
    text.parse().ok().or_else(alone).ok_or_else(|| {
        Refusal::new(format!("{} is no network", quote(text)))
            .hint("write an address and a prefix length: \"10.0.0.0/8\" or \"fd00::/8\"")
    })
}

impl Leaf for Weight {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let weight = match value {
            DeValue::String(text) => text.parse(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse(),
            DeValue::Float(number) => number.as_str().parse(),
            DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return Err(expected("a percentage such as 12.5", value)),
        };
        weight.map_err(say)
    }

    fn schema() -> Json {
        json!({ "oneOf": [
            { "type": "number", "minimum": 0, "maximum": 100 },
            { "type": "string", "pattern": "^[0-9]+([.][0-9]{1,2})?%?$" },
        ] })
    }

    fn json(&self) -> Json {
        self.percent().into()
    }
}
