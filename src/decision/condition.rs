//! Conditions held against what was measured: true, false, or nothing to say.

use std::fmt;

use crate::domain::{
    Condition,
    condition::{Gauge, Side, Unit},
};

/// Where measurements come from.
pub trait Facts {
    /// The value of `gauge` in its base unit: shares from 0 to 1, seconds, bytes, counts.
    ///
    /// # Errors
    /// [`Missing`] when there is nothing to say.
    fn read(&self, gauge: &Gauge) -> Result<f64, Missing>;
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Too few requests for a rate or latency.
    Traffic {
        /// On which side.
        side: Side,
        /// Judged requests in the window.
        have: u64,
        /// How many it takes.
        need: u64,
    },
    /// Too few answers of a mirror were compared.
    Comparisons {
        /// Those in the window.
        have: u64,
        /// How many it takes.
        need: u64,
    },
    /// The weight has only just changed.
    Settling,
    /// A source outside does not answer.
    Source(String),
    /// Nothing here measures it, as the configuration stands.
    Unmeasured(String),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Traffic { side, have, need } => {
                let side = match side {
                    Side::Canary => "canary",
                    Side::Baseline => "baseline",
                };
                write!(f, "{have} of {need} requests on the {side}")
            }
            Self::Comparisons { have, need } => {
                write!(f, "{have} of {need} mirrored answers compared")
            }
            Self::Settling => f.write_str("the weight has only just changed"),
            Self::Source(name) => write!(f, "{name} does not answer"),
            Self::Unmeasured(name) => write!(f, "{name} is not measured here"),
        }
    }
}

/// What a condition comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// There is nothing to say; the first value that is missing.
    Inconclusive(Missing),
}

/// A condition with its present values.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The condition's text.
    pub condition: String,
    /// Unit of both values.
    pub unit: Unit,
    /// Value of the left side, if there is one.
    pub left: Option<f64>,
    /// Value of the right side, if there is one.
    pub right: Option<f64>,
    /// What it comes to.
    pub truth: Truth,
}

impl Reading {
    /// `condition` held against `facts`.
    pub fn of(condition: &Condition, facts: &dyn Facts) -> Self {
        let mut read = |gauge: &Gauge| facts.read(gauge);
        let left = condition.left.evaluate(&mut read);
        let right = condition.right.evaluate(&mut read);
        let truth = match (&left, &right) {
            (Ok(left), Ok(right)) if condition.comparison.holds(*left, *right) => Truth::True,
            (Ok(_), Ok(_)) => Truth::False,
            (Err(missing), _) | (Ok(_), Err(missing)) => Truth::Inconclusive(missing.clone()),
        };
        Self {
            condition: condition.to_string(),
            unit: condition.unit(),
            left: left.ok(),
            right: right.ok(),
            truth,
        }
    }

    /// Whether it is true.
    pub fn is_true(&self) -> bool {
        self.truth == Truth::True
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.condition)?;
        let show = |value: &Option<f64>| value.map_or("?".to_owned(), |v| self.unit.show(v));
        match &self.truth {
            Truth::True | Truth::False => {
                write!(f, " ({} against {})", show(&self.left), show(&self.right))
            }
            Truth::Inconclusive(missing) => write!(f, " ({missing})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::condition::{Externals, Metric};

    /// p95 is 300 ms here and 100 ms on the baseline; error rates miss their requests.
    struct Made;

    impl Facts for Made {
        fn read(&self, gauge: &Gauge) -> Result<f64, Missing> {
            match (&gauge.metric, gauge.side) {
                (Metric::P95, Side::Canary) => Ok(0.3),
                (Metric::P95, Side::Baseline) => Ok(0.1),
                (other, side) if other.needs_requests() => {
                    Err(Missing::Traffic { side, have: 3, need: 50 })
                }
                (other, _) => Err(Missing::Source(other.to_string())),
            }
        }
    }

    fn reading(text: &str) -> Reading {
        Reading::of(&Condition::parse(text, Externals::Unchecked).unwrap(), &Made)
    }

    #[test]
    fn values_are_compared_and_shown() {
        for (text, truth) in [
            ("p95 < 2 * baseline.p95", false),
            ("p95 < 3 * baseline.p95 + 1ms", true),
            ("p95 - baseline.p95 <= 50% * p95", false),
            ("p95 > 299ms", true),
        ] {
            assert_eq!(reading(text).is_true(), truth, "{text}");
        }
        let shown = reading("p95 < 2 * baseline.p95").to_string();
        assert_eq!(shown, "p95 < 2 * baseline.p95 (300ms against 200ms)");
    }

    #[test]
    fn what_is_missing_is_named_and_what_is_known_is_kept() {
        let thin = reading("error_rate < 1%");
        assert_eq!(thin.to_string(), "error_rate < 1% (3 of 50 requests on the canary)");
        assert_eq!((thin.left, thin.right), (None, Some(0.01)));
        let outside = reading("p95 < 1s * external.factor");
        assert_eq!(outside.truth, Truth::Inconclusive(Missing::Source("external.factor".into())));
    }
}
