//! How long a rule has been true without a break.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    decision::condition::Truth,
    domain::{Plan, duration::duration_text},
};

/// How long one rule has been true. True counts; False begins anew; Inconclusive neither counts nor begins anew, so that a
/// source that is silent for a moment does not excuse what was true before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleClock {
    /// Time that it was seen to be true, without having been false since.
    #[serde(with = "duration_text")]
    pub lasted: Duration,
    /// It was true at the last look that had something to say.
    pub is_true: bool,
}

impl RuleClock {
    /// Takes what the rule came to `elapsed` after the last look.
    pub fn observe(&mut self, elapsed: Duration, truth: &Truth) {
        match truth {
            Truth::True if self.is_true => self.lasted = self.lasted.saturating_add(elapsed),
            Truth::True => *self = Self { lasted: Duration::ZERO, is_true: true },
            Truth::False => *self = Self::default(),
            Truth::Inconclusive(_) => {}
        }
    }

    /// Whether it has been true for at least `lasting`.
    pub fn is_due(&self, lasting: Duration) -> bool {
        self.is_true && self.lasted >= lasting
    }
}

/// The clocks of a plan's rules, in the plan's order; kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Clocks {
    /// Of `rollback`.
    pub rollback: Vec<RuleClock>,
    /// Of the alerts.
    pub alerts: Vec<AlertClock>,
}

/// An alert's clock and whether it was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertClock {
    /// How long its rule has been true.
    pub clock: RuleClock,
    /// Somebody was told.
    pub raised: bool,
    /// How long the rule has been false since; true ends it.
    #[serde(with = "duration_text")]
    pub quiet: Duration,
}

impl AlertClock {
    /// Takes what the rule came to `elapsed` after the last look, and says whether the alert came true or ended. It ends
    /// when the rule has been false for `calm`, so that a value about its limit does not tell all the time.
    pub fn observe(
        &mut self,
        elapsed: Duration,
        truth: &Truth,
        lasting: Duration,
        calm: Duration,
    ) -> Option<bool> {
        self.clock.observe(elapsed, truth);
        match truth {
            Truth::True => self.quiet = Duration::ZERO,
            Truth::False => self.quiet = self.quiet.saturating_add(elapsed),
            Truth::Inconclusive(_) => {}
        }
        let raised = match (self.raised, self.clock.is_due(lasting)) {
            (false, true) => true,
            (true, false) if self.quiet >= calm => false,
            (false, false) | (true, true | false) => return None,
        };
        self.raised = raised;
        Some(raised)
    }
}

impl Clocks {
    /// Clocks at zero for the rules of `plan`.
    pub fn new(plan: &Plan) -> Self {
        Self {
            rollback: vec![RuleClock::default(); plan.rollback.len()],
            alerts: vec![AlertClock::default(); plan.alerts.len()],
        }
    }

    /// Whether there is one clock for each rule of `plan`.
    pub fn fit(&self, plan: &Plan) -> bool {
        self.rollback.len() == plan.rollback.len() && self.alerts.len() == plan.alerts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::condition::Missing;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(truths: &[Truth]) -> RuleClock {
        let mut clock = RuleClock::default();
        truths.iter().for_each(|truth| clock.observe(SECOND, truth));
        clock
    }

    fn unknown() -> Truth {
        Truth::Inconclusive(Missing::Settling)
    }

    #[test]
    fn only_an_unbroken_truth_lasts() {
        use Truth::{False, True};
        assert_eq!(after(&[True, True, True]).lasted, 2 * SECOND);
        assert_eq!(after(&[True, True, False, True]).lasted, Duration::ZERO);
        assert_eq!(after(&[True, True, unknown(), unknown(), True]).lasted, 2 * SECOND);
        assert!(after(&[True]).is_due(Duration::ZERO));
        assert!(!after(&[unknown()]).is_due(Duration::ZERO));
        assert!(!after(&[True, True]).is_due(2 * SECOND));
        assert!(after(&[True, True, True]).is_due(2 * SECOND));
    }
}
