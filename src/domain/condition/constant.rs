//! Conditions that come to the same whatever is measured: mostly slips of the pen, such as `error_rate > 150%`.
//!
//! Interval arithmetic over what each metric can be. It proves what it says: a metric that stands twice in a condition
//! counts as two, so some constant conditions go unnoticed, and none that can change is taken for constant.

use super::{Comparison, Condition, ConditionFault, Factor, Gauge, Metric, Sign, Term, Unit};

/// What a condition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A step ends when it is true.
    Criterion,
    /// It is acted upon when it is true.
    Rule,
}

/// What is odd about a condition that never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oddity {
    /// Nobody can mean it.
    Fault(ConditionFault),
    /// It may be meant: a limit at the very end of its scale, as a variable of the environment may put it.
    Warning(String),
}

/// The least and the most that a value can be.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    least: f64,
    most: f64,
}

impl Range {
    const ONE: Self = Self { least: 1.0, most: 1.0 };

    fn of(gauge: &Gauge) -> Self {
        let (least, most) = match (&gauge.metric, gauge.metric.unit()) {
            // Whatever a query makes of it.
            (Metric::External(..), _) => (f64::NEG_INFINITY, f64::INFINITY),
            // The kernel counts in ticks: over a short time it may come to more than all.
            (Metric::ProcessCpu, _) => (0.0, f64::INFINITY),
            (_, Unit::Share) => (0.0, 1.0),
            (_, Unit::Duration | Unit::Count | Unit::Rate | Unit::Bytes) => (0.0, f64::INFINITY),
            (_, Unit::Plain | Unit::Unknown) => (f64::NEG_INFINITY, f64::INFINITY),
        };
        Self { least, most }
    }

    fn times(self, other: Self) -> Self {
        // What is measured is finite, however large: nothing of it is nothing.
        let product = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        let corners = [
            product(self.least, other.least),
            product(self.least, other.most),
            product(self.most, other.least),
            product(self.most, other.most),
        ];
        let fold = |best: fn(f64, f64) -> f64| corners.into_iter().reduce(best).unwrap_or(0.0);
        Self { least: fold(f64::min), most: fold(f64::max) }
    }

    /// In the order of [`Term::evaluate`]: rounding is monotone, so these are its bounds to the last bit.
    fn of_term(term: &Term) -> Self {
        let nothing = Self { least: 0.0, most: 0.0 };
        term.products().fold(nothing, |sum, (sign, factors)| {
            let product = factors.iter().fold(Self::ONE, |product, factor| {
                product.times(match factor {
                    Factor::Number(number) => Self { least: number.value(), most: number.value() },
                    Factor::Gauge(gauge) => Self::of(gauge),
                })
            });
            match sign {
                Sign::Plus => {
                    Self { least: sum.least + product.least, most: sum.most + product.most }
                }
                Sign::Minus => {
                    Self { least: sum.least - product.most, most: sum.most - product.least }
                }
            }
        })
    }

    /// What `self` compared with `other` always comes to, if it always comes to the same.
    fn always(self, comparison: Comparison, other: Self) -> Option<bool> {
        match comparison {
            Comparison::Below if self.most < other.least => Some(true),
            Comparison::Below if self.least >= other.most => Some(false),
            Comparison::AtMost if self.most <= other.least => Some(true),
            Comparison::AtMost if self.least > other.most => Some(false),
            Comparison::Above => other.always(Comparison::Below, self),
            Comparison::AtLeast => other.always(Comparison::AtMost, self),
            Comparison::Equal if self.most < other.least || self.least > other.most => Some(false),
            Comparison::Equal if self.least == self.most && other.least == other.most => {
                Some(self.least == other.least)
            }
            Comparison::Below | Comparison::AtMost | Comparison::Equal => None,
        }
    }
}

impl Condition {
    /// What it comes to whatever is measured, if it is always the same.
    pub fn constant(&self) -> Option<bool> {
        self.constant_by(self.comparison)
    }

    fn constant_by(&self, comparison: Comparison) -> Option<bool> {
        Range::of_term(&self.left).always(comparison, Range::of_term(&self.right))
    }

    /// Whether it is constant only because its limit stands at the very end of the scale, as in `success_rate >= 0%`.
    fn is_at_the_end(&self) -> bool {
        let other = match self.comparison {
            Comparison::Below => Comparison::AtMost,
            Comparison::AtMost => Comparison::Below,
            Comparison::Above => Comparison::AtLeast,
            Comparison::AtLeast => Comparison::Above,
            Comparison::Equal => return false,
        };
        self.gauges().next().is_some() && self.constant_by(other).is_none()
    }

    /// What is odd about it for `purpose`, if it never changes; `text` is how it was written.
    pub fn oddity(&self, text: &str, purpose: Purpose) -> Option<Oddity> {
        let always = self.constant()?;
        let what = if always { "is always true" } else { "can never be true" };
        let meant = match (purpose, always) {
            (Purpose::Criterion, true) => Some("asks for nothing"),
            (Purpose::Rule, false) if self.unit() == Unit::Share => Some("is switched off"),
            (Purpose::Rule | Purpose::Criterion, _) => None,
        };
        if let Some(effect) = meant.filter(|_| self.is_at_the_end()) {
            return Some(Oddity::Warning(format!("{self} {what}: it {effect}")));
        }
        let effect = match (purpose, always) {
            (Purpose::Criterion, true) => "it asks for nothing",
            (Purpose::Criterion, false) => "the step would never end",
            (Purpose::Rule, true) => "it would act at once, however well all is",
            (Purpose::Rule, false) => "it would never act",
        };
        let hint = if self.gauges().next().is_none() {
            "compare something measured with a limit, as in \"error_rate < 1%\""
        } else {
            "a share lies between 0% and 100%, and counts, rates and durations are never below 0"
        };
        let start = text.len() - text.trim_start().len();
        let place = start..text.trim_end().len().max(start);
        let fault = ConditionFault::new(text, place, format!("{what}: {effect}"));
        Some(Oddity::Fault(fault.hint(hint)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::condition::Externals;

    fn condition(text: &str) -> Condition {
        Condition::parse(text, Externals::Unchecked).unwrap()
    }

    #[test]
    fn what_never_changes_is_known_and_what_may_change_is_left_alone() {
        let cases = [
            ("1 < 2", Some(true)),
            ("2 == 2", Some(true)),
            ("2 == 3", Some(false)),
            ("error_rate > 150%", Some(false)),
            ("error_rate > 100%", Some(false)),
            ("error_rate >= 100%", None),
            ("error_rate <= 100%", Some(true)),
            ("success_rate >= 0%", Some(true)),
            ("success_rate > 0%", None),
            ("healthy_endpoints < 0", Some(false)),
            ("healthy_endpoints < 1", None),
            ("requests + baseline.requests >= 0", Some(true)),
            ("0s > p95", Some(false)),
            ("p95 == 0s", None),
            ("error_rate - baseline.error_rate < 0%", None),
            ("error_rate - baseline.error_rate > 100%", Some(false)),
            ("error_rate - baseline.error_rate > 0% - 200%", Some(true)),
            ("error_rate + baseline.error_rate > 150%", None),
            ("p95 - baseline.p95 < 0s", None),
            ("p95 * 0 > 1s", Some(false)),
            ("p95 < 2 * baseline.p95", None),
            ("p95 - p95 < 1s", None),
            ("external.cpu > 150%", None),
            ("external.depth < 0", None),
            ("process.cpu > 150%", None),
            ("cache_hit_rate * error_rate > 100%", Some(false)),
        ];
        for (text, expected) in cases {
            assert_eq!(condition(text).constant(), expected, "{text}");
        }
    }

    #[test]
    fn a_slip_is_a_fault_and_the_end_of_a_scale_may_be_meant() {
        use Purpose::{Criterion, Rule};
        let kinds = [
            ("1 < 2", Criterion, "fault"),
            ("success_rate >= 0%", Criterion, "warning"),
            ("requests >= 0", Criterion, "warning"),
            ("error_rate < 150%", Criterion, "fault"),
            ("error_rate < 0%", Criterion, "fault"),
            ("error_rate > 100%", Rule, "warning"),
            ("cache_hit_rate < 0%", Rule, "warning"),
            ("error_rate > 150%", Rule, "fault"),
            ("error_rate >= 0%", Rule, "fault"),
            ("healthy_endpoints < 0", Rule, "fault"),
            ("error_rate > 10%", Rule, "none"),
        ];
        for (text, purpose, expected) in kinds {
            let found = match condition(text).oddity(text, purpose) {
                Some(Oddity::Fault(_)) => "fault",
                Some(Oddity::Warning(_)) => "warning",
                None => "none",
            };
            assert_eq!(found, expected, "{text}");
        }
        let text = " error_rate > 150%";
        let Some(Oddity::Fault(fault)) = condition(text).oddity(text, Rule) else { panic!() };
        assert_eq!(fault.picture(), " error_rate > 150%\n ^^^^^^^^^^^^^^^^^");
    }

    /// Whatever is measured, a condition that is called constant comes to what was said.
    #[test]
    fn no_value_proves_it_wrong() {
        let mut random = fastrand::Rng::with_seed(1);
        let metrics = [
            "error_rate",
            "baseline.error_rate",
            "50%",
            "100%",
            "0%",
            "cache_hit_rate",
            "0.5 * success_rate",
        ];
        for _ in 0..5_000 {
            let mut term = || {
                let mut text = metrics[random.usize(..metrics.len())].to_owned();
                for _ in 0..random.usize(..3) {
                    text += [" + ", " - "][random.usize(..2)];
                    text += metrics[random.usize(..metrics.len())];
                }
                text
            };
            let (left, right) = (term(), term());
            let symbol = ["<", "<=", ">", ">=", "=="][random.usize(..5)];
            let condition = condition(&format!("{left} {symbol} {right}"));
            let Some(always) = condition.constant() else { continue };
            for _ in 0..20 {
                let mut read = |_: &Gauge| Ok::<_, ()>([0.0, 1.0, random.f64()][random.usize(..3)]);
                let (left, right) =
                    (condition.left.evaluate(&mut read), condition.right.evaluate(&mut read));
                let found = condition.comparison.holds(left.unwrap(), right.unwrap());
                assert_eq!(found, always, "{condition}");
            }
        }
    }
}
