//! Numbers with a unit: `150ms`, `0.1%`, `2GB`, `6k`.

use std::fmt;

/// What a value counts or measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A part of a whole, 0 to 1 inside and percent outside.
    Share,
    /// Seconds inside.
    Duration,
    /// How many.
    Count,
    /// How many a second.
    Rate,
    /// How many bytes.
    Bytes,
    /// A number that is none of these: a factor, or what a count or rate is compared with.
    Plain,
    /// Of a metric from outside, before its unit is known.
    Unknown,
}

impl Unit {
    /// For messages: `a share`.
    pub const fn described(self) -> &'static str {
        match self {
            Self::Share => "a share",
            Self::Duration => "a duration",
            Self::Count => "a count",
            Self::Rate => "a rate",
            Self::Bytes => "a number of bytes",
            Self::Plain => "a plain number",
            Self::Unknown => "of a unit yet unknown",
        }
    }

    /// How a value of this unit is shown: `1.25%`, `150ms`, `2.1GB`.
    pub fn show(self, value: f64) -> String {
        let rounded = |value: f64| {
            let digits = if value.abs() < 10.0 { 2 } else { 1 };
            let text = format!("{value:.digits$}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        match self {
            Self::Share if value != 0.0 && value.abs() < 0.0001 => format!("{:.4}%", value * 100.0),
            Self::Share => format!("{}%", rounded(value * 100.0)),
            Self::Duration if value.abs() < 1.0 => format!("{}ms", rounded(value * 1e3)),
            Self::Duration => format!("{}s", rounded(value)),
            Self::Bytes if value >= 1e9 => format!("{}GB", rounded(value / 1e9)),
            Self::Bytes if value >= 1e6 => format!("{}MB", rounded(value / 1e6)),
            Self::Bytes => format!("{value:.0}B"),
            Self::Rate => format!("{}/s", rounded(value)),
            Self::Count | Self::Plain | Self::Unknown => rounded(value),
        }
    }

    /// This unit, or `other` where this one says less.
    pub(super) const fn stronger(self, other: Self) -> Self {
        match (self, other) {
            (Self::Plain, _) => other,
            (Self::Unknown, Self::Plain) => Self::Unknown,
            (Self::Unknown, _) => other,
            // A share of something is that something.
            (Self::Share, Self::Duration | Self::Count | Self::Rate | Self::Bytes) => other,
            (Self::Share | Self::Duration | Self::Count | Self::Rate | Self::Bytes, _) => self,
        }
    }

    /// The unit of a product; `None` where two units do not go together.
    pub(super) const fn times(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Plain | Self::Share, unit) | (unit, Self::Plain | Self::Share) => {
                Some(if matches!(unit, Self::Plain) && matches!(self, Self::Share) {
                    Self::Share
                } else {
                    unit
                })
            }
            (Self::Unknown, _) | (_, Self::Unknown) => Some(Self::Unknown),
            (
                Self::Duration | Self::Count | Self::Rate | Self::Bytes,
                Self::Duration | Self::Count | Self::Rate | Self::Bytes,
            ) => None,
        }
    }

    /// The unit of two values that are added or compared; `None` where they cannot be.
    pub(super) fn beside(self, other: Self) -> Option<Self> {
        let counts = |unit| matches!(unit, Self::Count | Self::Rate | Self::Plain);
        match (self, other) {
            (a, b) if a == b => Some(a),
            (Self::Unknown, _) => Some(other),
            (_, Self::Unknown) => Some(self),
            (Self::Plain, unit) | (unit, Self::Plain) => counts(unit).then_some(unit),
            (
                Self::Share | Self::Duration | Self::Count | Self::Rate | Self::Bytes,
                Self::Share | Self::Duration | Self::Count | Self::Rate | Self::Bytes,
            ) => None,
        }
    }
}

/// A suffix that a number may have.
#[derive(Debug, PartialEq)]
pub(super) struct Suffix {
    pub(super) text: &'static str,
    pub(super) unit: Unit,
    scale: f64,
}

const fn suffix(text: &'static str, unit: Unit, scale: f64) -> Suffix {
    Suffix { text, unit, scale }
}

/// Every suffix; none at all comes first.
pub(super) static SUFFIXES: [Suffix; 17] = [
    suffix("", Unit::Plain, 1.0),
    suffix("k", Unit::Plain, 1e3),
    suffix("%", Unit::Share, 0.01),
    suffix("us", Unit::Duration, 1e-6),
    suffix("ms", Unit::Duration, 1e-3),
    suffix("s", Unit::Duration, 1.0),
    suffix("m", Unit::Duration, 60.0),
    suffix("h", Unit::Duration, 3_600.0),
    suffix("d", Unit::Duration, 86_400.0),
    suffix("B", Unit::Bytes, 1.0),
    suffix("kB", Unit::Bytes, 1e3),
    suffix("MB", Unit::Bytes, 1e6),
    suffix("GB", Unit::Bytes, 1e9),
    suffix("KiB", Unit::Bytes, 1_024.0),
    suffix("MiB", Unit::Bytes, 1_048_576.0),
    suffix("GiB", Unit::Bytes, 1_073_741_824.0),
    suffix("TiB", Unit::Bytes, 1_099_511_627_776.0),
];

/// A number as it was written, with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    amount: f64,
    suffix: &'static Suffix,
}

impl Number {
    pub(super) const fn new(amount: f64, suffix: &'static Suffix) -> Self {
        Self { amount, suffix }
    }

    /// In the unit's base: shares from 0 to 1, seconds, bytes.
    pub fn value(&self) -> f64 {
        self.amount * self.suffix.scale
    }

    /// What it measures.
    pub const fn unit(&self) -> Unit {
        self.suffix.unit
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.amount, self.suffix.text)
    }
}
