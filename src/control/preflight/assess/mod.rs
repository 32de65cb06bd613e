//! What the evidence means. Pure: a table of checks for each part of the system, each a function of the evidence.

mod api;
mod database;
mod feature;
mod integration;
mod monitoring;
mod performance;

#[cfg(test)]
mod tests;

use super::{
    evidence::Evidence,
    report::{PreflightItem, PreflightResult},
};
use crate::domain::CheckCategory;

/// A built-in check.
struct Builtin {
    name: &'static str,
    /// Whether its failure alone is a reason to stop: users would be hurt, or there would be no way back.
    blocking: bool,
    assess: fn(&Evidence) -> Finding,
}

/// What a check found.
enum Finding {
    Pass(String),
    /// What is odd, and how to mend it.
    Warn(String, String),
    /// What is wrong, and how to mend it.
    Fail(String, String),
    /// There is nothing to look at.
    Moot,
}

impl Finding {
    fn pass(detail: impl Into<String>) -> Self {
        Self::Pass(detail.into())
    }

    fn warn(detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Warn(detail.into(), mend.into())
    }

    fn fail(detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Fail(detail.into(), mend.into())
    }
}

/// A check that stops, and one that only holds.
const fn stops(name: &'static str, assess: fn(&Evidence) -> Finding) -> Builtin {
    Builtin { name, blocking: true, assess }
}

/// A check whose failure holds the rollout.
const fn holds(name: &'static str, assess: fn(&Evidence) -> Finding) -> Builtin {
    Builtin { name, blocking: false, assess }
}

const TABLES: [(CheckCategory, &[Builtin]); 6] = [
    (CheckCategory::Api, api::CHECKS),
    (CheckCategory::Database, database::CHECKS),
    (CheckCategory::Performance, performance::CHECKS),
    (CheckCategory::Feature, feature::CHECKS),
    (CheckCategory::Integration, integration::CHECKS),
    (CheckCategory::Monitoring, monitoring::CHECKS),
];

/// What every built-in check that applies says of `evidence`.
pub(super) fn assess(evidence: &Evidence) -> Vec<PreflightItem> {
    let all =
        TABLES.iter().flat_map(|(category, checks)| checks.iter().map(move |c| (category, c)));
    let item = |(category, check): (&CheckCategory, &Builtin)| {
        let (result, detail, mend) = match (check.assess)(evidence) {
            Finding::Pass(detail) => (PreflightResult::Pass, detail, None),
            Finding::Warn(detail, mend) => (PreflightResult::Warn, detail, Some(mend)),
            Finding::Fail(detail, mend) => (PreflightResult::Fail, detail, Some(mend)),
            Finding::Moot => return None,
        };
        let (name, category, blocking) = (check.name.to_owned(), *category, check.blocking);
        Some(PreflightItem { name, category, result, blocking, detail, mend })
    };
    all.filter_map(item).collect()
}

/// The first errors of `results`, by whom; empty when all is well.
fn errors<'r, T>(
    results: impl Iterator<Item = (impl std::fmt::Display, &'r Result<T, String>)>,
) -> String
where
    T: 'r,
{
    const SHOWN: usize = 3;
    let failed = results.filter_map(|(who, result)| {
        let why = result.as_ref().err()?;
        Some(format!("{who}: {why}"))
    });
    let failed: Vec<_> = failed.collect();
    let more = failed.len().saturating_sub(SHOWN);
    let shown = failed[..failed.len().min(SHOWN)].join("; ");
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}
