//! Preflight: everything that can be known before a rollout begins, and whether to begin it.
//!
//! `probe` and `machine` look, inside the running process, so that they see what it sees; `assess` says what it means, and is
//! pure. Looking changes nothing: endpoints are asked with GET, sinks and hooks are only connected to, and a file beside
//! the state file is made and removed.

mod assess;
mod evidence;
mod machine;
mod probe;
mod report;

pub use report::{Preflight, PreflightItem, PreflightResult, Recommendation};

use super::{
    ControlHandle,
    checks::{CheckTargets, run_stage},
};
use crate::{
    config::model::{Check, Hook},
    domain::{CheckStage, Plan},
};

/// The rollout to look at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'s> {
    /// Its plan.
    pub plan: &'s Plan,
    /// Its checks.
    pub checks: &'s [Check],
    /// Its hooks.
    pub hooks: &'s [Hook],
}

/// Looks at everything that `subject` will need, and says whether to begin. Takes seconds.
pub async fn run(subject: Subject<'_>, handle: &ControlHandle) -> Preflight {
    let config = handle.config().borrow().clone();
    let targets = CheckTargets::of(subject.plan, &config, &handle.table(), handle.listener());
    let outbound = &handle.outside().outbound;
    let configured = run_stage(subject.checks, CheckStage::Pre, &targets, outbound);
    let (evidence, configured) =
        futures_util::future::join(probe::gather(subject, &targets, handle), configured).await;
    let mut items = assess::assess(&evidence);
    items.extend(configured.into_iter().map(PreflightItem::configured));
    Preflight::conclude(subject.plan.name.clone(), items)
}
