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

use std::time::Duration;

use super::{
    ControlHandle,
    checks::{CheckTargets, run_stage},
};
use crate::{
    config::model::{Check, Hook},
    domain::{CheckCategory, CheckResult, CheckStage, Plan},
};

/// A start does not wait longer for what it looks at.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// What stands before a start: the configured checks of stage `pre`, and of the built-in ones those that say STOP.
pub(super) async fn before_start(subject: Subject<'_>, handle: &ControlHandle) -> Vec<CheckResult> {
    let look = async {
        handle.serving().await;
        let config = handle.config().borrow().clone();
        let targets = CheckTargets::of(subject.plan, &config, &handle.table(), handle.listener());
        let outbound = &handle.outside().outbound;
        let configured = run_stage(subject.checks, CheckStage::Pre, &targets, outbound);
        let looks =
            futures_util::future::join(probe::gather(subject, &targets, handle), configured);
        let (mut evidence, mut results) = looks.await;
        // What looks is what begins.
        evidence.phase = None;
        let stops = assess::assess(&evidence).into_iter().filter(PreflightItem::stops);
        results.extend(stops.map(|item| failed(item.name, item.category, item.detail)));
        results
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| {
        let why = format!("took longer than {} s", PATIENCE.as_secs());
        vec![failed("preflight".to_owned(), CheckCategory::Integration, why)]
    })
}

fn failed(name: String, category: CheckCategory, detail: String) -> CheckResult {
    let (stage, took) = (CheckStage::Pre, Duration::ZERO);
    CheckResult { name, category, stage, passed: false, required: true, took, detail }
}
