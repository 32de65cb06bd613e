//! `p95 < 1.2 * baseline.p95`: a comparison of what was measured, in the words of an operator.
//!
//! Grammar: `TERM OP TERM`, OP one of `<` `<=` `>` `>=` `==`; a term is made of metrics and numbers with `+ - *`, where
//! `*` binds closer. A metric may name its own window: `error_rate[5m]`.
//!
//! Invariants: both sides have the same unit; what is displayed is parsed back to an equal condition.

mod constant;
mod fault;
mod grammar;
mod metric;
mod number;

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use constant::{Oddity, Purpose};
pub use fault::ConditionFault;
pub use grammar::Externals;
pub use metric::{Gauge, Metric, Side};
pub use number::{Number, Unit};

/// Longest condition accepted, in bytes.
pub const MAX_CONDITION: usize = 512;

/// A comparison of two terms of the same unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// What stands before the comparison.
    pub left: Term,
    /// How the two are compared.
    pub comparison: Comparison,
    /// What stands behind it.
    pub right: Term,
}

/// Products that are added and subtracted; at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Term(Vec<(Sign, Vec<Factor>)>);

/// What becomes of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It is added.
    Plus,
    /// It is subtracted.
    Minus,
}

/// A number or something measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Factor {
    /// A number with its unit.
    Number(Number),
    /// What was measured.
    Gauge(Gauge),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
}

impl Comparison {
    /// Whether `left` and `right` compare so. Equal means exactly equal: it is for counts.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Below => left < right,
            Self::AtMost => left <= right,
            Self::Above => left > right,
            Self::AtLeast => left >= right,
            Self::Equal => left == right,
        }
    }

    /// As a condition writes it.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Equal => "==",
        }
    }
}

impl Term {
    /// The products with their signs, in the order of the text; the first is always added.
    pub fn products(&self) -> impl Iterator<Item = (Sign, &[Factor])> {
        self.0.iter().map(|(sign, factors)| (*sign, factors.as_slice()))
    }

    /// The term's value where `read` gives that of each gauge; the first error of `read`, if there is one.
    ///
    /// # Errors
    /// Whatever `read` refuses with.
    pub fn evaluate<E>(&self, read: &mut dyn FnMut(&Gauge) -> Result<f64, E>) -> Result<f64, E> {
        let mut sum = 0.0;
        for (sign, factors) in &self.0 {
            let mut product = 1.0;
            for factor in factors {
                product *= match factor {
                    Factor::Number(number) => number.value(),
                    Factor::Gauge(gauge) => read(gauge)?,
                };
            }
            match sign {
                Sign::Plus => sum += product,
                Sign::Minus => sum -= product,
            }
        }
        Ok(sum)
    }

    fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        self.0.iter().flat_map(|(_, factors)| factors).filter_map(|factor| match factor {
            Factor::Gauge(gauge) => Some(gauge),
            Factor::Number(_) => None,
        })
    }

    /// The unit that the term's values have: that of its first factor with one.
    pub fn unit(&self) -> Unit {
        let units = self.0.iter().flat_map(|(_, factors)| factors).map(|factor| match factor {
            Factor::Number(number) => number.unit(),
            Factor::Gauge(gauge) => gauge.metric.unit(),
        });
        units.fold(Unit::Plain, Unit::stronger)
    }
}

impl Condition {
    /// Reads `text`; metrics from outside are checked against `externals`.
    ///
    /// # Errors
    /// A [`ConditionFault`] that shows the place and how to mend it.
    pub fn parse(text: &str, externals: Externals<'_>) -> Result<Self, ConditionFault> {
        grammar::parse(text, externals)
    }

    /// Everything it measures, in the order of its text.
    pub fn gauges(&self) -> impl Iterator<Item = &Gauge> {
        self.left.gauges().chain(self.right.gauges())
    }

    /// The unit of both sides.
    pub fn unit(&self) -> Unit {
        self.left.unit().stronger(self.right.unit())
    }

    /// Whether it says nothing while the baseline has no requests.
    pub fn needs_baseline_traffic(&self) -> bool {
        self.gauges().any(|gauge| gauge.side == Side::Baseline && gauge.metric.needs_requests())
    }

    /// The longest window that it names itself.
    pub fn longest_window(&self) -> Option<Duration> {
        self.gauges().filter_map(|gauge| gauge.window).max()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.comparison.symbol(), self.right)
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (sign, factors)) in self.0.iter().enumerate() {
            match sign {
                Sign::Plus if at == 0 => {}
                Sign::Plus => f.write_str(" + ")?,
                Sign::Minus => f.write_str(" - ")?,
            }
            for (at, factor) in factors.iter().enumerate() {
                if at > 0 {
                    f.write_str(" * ")?;
                }
                match factor {
                    Factor::Number(number) => number.fmt(f)?,
                    Factor::Gauge(gauge) => gauge.fmt(f)?,
                }
            }
        }
        Ok(())
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Condition {
    /// From its text. Metrics from outside were checked when the plan was read, and are taken as they are.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text, Externals::Unchecked).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
