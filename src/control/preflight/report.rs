//! What a preflight says: a finding for each check, and whether to go.

use serde::{Deserialize, Serialize};

use crate::domain::{CheckCategory, CheckResult, RolloutName};

/// Whether to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recommendation {
    /// Start.
    Proceed,
    /// Mend first what is named; nobody would be hurt yet.
    Hold,
    /// A start would fail users, or could not be undone.
    Stop,
}

impl Recommendation {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Proceed => "PROCEED",
            Self::Hold => "HOLD",
            Self::Stop => "STOP",
        }
    }
}

/// How one check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreflightResult {
    /// As it should be.
    Pass,
    /// Worth a look; the rollout can begin.
    Warn,
    /// To be mended before the rollout begins.
    Fail,
}

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightItem {
    /// What was looked at.
    pub name: String,
    /// Part of the system.
    pub category: CheckCategory,
    /// How it went.
    pub result: PreflightResult,
    /// Whether its failure alone is a reason to stop.
    pub blocking: bool,
    /// What was found.
    pub detail: String,
    /// How to mend it, where it did not pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// A whole preflight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// The rollout.
    pub rollout: RolloutName,
    /// Whether to start it.
    pub recommendation: Recommendation,
    /// Why, in one line.
    pub summary: String,
    /// What to do, the most important first.
    pub recommendations: Vec<String>,
    /// Every check that applies, by category.
    pub items: Vec<PreflightItem>,
}

impl Preflight {
    /// What `items` come to.
    pub(super) fn conclude(rollout: RolloutName, mut items: Vec<PreflightItem>) -> Self {
        items.sort_by_key(|item| item.category);
        let count = |result| items.iter().filter(|item| item.result == result).count();
        let (passed, warned) = (count(PreflightResult::Pass), count(PreflightResult::Warn));
        let failed = count(PreflightResult::Fail);
        let recommendation = if items.iter().any(PreflightItem::stops) {
            Recommendation::Stop
        } else if failed > 0 {
            Recommendation::Hold
        } else {
            Recommendation::Proceed
        };
        let total = items.len();
        let summary =
            format!("{passed} of {total} checks passed, {warned} warned, {failed} failed");
        let mut worst: Vec<_> =
            items.iter().filter(|item| item.result != PreflightResult::Pass).collect();
        worst.sort_by_key(|item| (item.result != PreflightResult::Fail, !item.blocking));
        let advice = |item: &PreflightItem| {
            let mend = item.mend.as_deref().unwrap_or("look into it");
            format!("{}: {mend}", item.name)
        };
        let recommendations = worst.into_iter().map(advice).collect();
        Self { rollout, recommendation, summary, recommendations, items }
    }
}

impl PreflightItem {
    /// Whether it alone is a reason not to begin.
    pub(super) fn stops(&self) -> bool {
        self.blocking && self.result == PreflightResult::Fail
    }

    /// A configured check of the stage `pre`.
    pub(super) fn configured(result: CheckResult) -> Self {
        let failure = if result.required { PreflightResult::Fail } else { PreflightResult::Warn };
        Self {
            name: result.name,
            category: result.category,
            result: if result.passed { PreflightResult::Pass } else { failure },
            blocking: result.required,
            detail: result.detail,
            mend: (!result.passed).then(|| "it is one of the rollout's own checks".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, result: PreflightResult, blocking: bool) -> PreflightItem {
        let mend = (result != PreflightResult::Pass).then(|| format!("mend {name}"));
        PreflightItem {
            name: name.into(),
            category: CheckCategory::Api,
            result,
            blocking,
            detail: String::new(),
            mend,
        }
    }

    fn concluded(items: &[PreflightItem]) -> Preflight {
        Preflight::conclude(RolloutName::new("api").unwrap(), items.to_vec())
    }

    #[test]
    fn the_worst_finding_decides_and_its_mending_comes_first() {
        let pass = item("a", PreflightResult::Pass, true);
        let warn = item("b", PreflightResult::Warn, true);
        let hold = item("c", PreflightResult::Fail, false);
        let stop = item("d", PreflightResult::Fail, true);
        let preflight = concluded(&[pass.clone(), warn.clone()]);
        assert_eq!(preflight.recommendation, Recommendation::Proceed);
        let preflight = concluded(&[pass.clone(), warn.clone(), hold.clone()]);
        assert_eq!(preflight.recommendation, Recommendation::Hold);
        let preflight = concluded(&[pass, warn, hold, stop]);
        assert_eq!(preflight.recommendation, Recommendation::Stop);
        assert_eq!(preflight.summary, "1 of 4 checks passed, 1 warned, 2 failed");
        assert_eq!(preflight.recommendations, ["d: mend d", "c: mend c", "b: mend b"]);
    }
}
