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
    checks::{CheckTargets, Side, run_stage},
};
use crate::{
    config::model::{Check, Hook, HostPattern},
    domain::{BackendName, CheckStage, Plan},
    routing::Table,
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
    let targets = targets(subject.plan, handle);
    let outbound = &handle.outside().outbound;
    let configured = run_stage(subject.checks, CheckStage::Pre, &targets, outbound);
    let (evidence, configured) =
        futures_util::future::join(probe::gather(subject, &targets, handle), configured).await;
    let mut items = assess::assess(&evidence);
    items.extend(configured.into_iter().map(PreflightItem::configured));
    Preflight::conclude(subject.plan.name.clone(), items)
}

/// Whom the checks of `plan` ask, by the table and configuration in force.
pub fn targets(plan: &Plan, handle: &ControlHandle) -> CheckTargets {
    let table = handle.table();
    let config = handle.config().borrow().clone();
    let route = config.routes.iter().find(|route| route.name == plan.route);
    let host = route.and_then(|route| {
        route.hosts.iter().find_map(|host| match host {
            HostPattern::Exact(name) => Some(name.to_string()),
            HostPattern::Suffix(_) | HostPattern::Any => None,
        })
    });
    CheckTargets {
        rollout: plan.name.clone(),
        baseline: side(&plan.baseline, &table),
        canary: side(&plan.canary, &table),
        listener: config.listeners.first().map(|listener| listener.bind),
        host,
    }
}

fn side(name: &BackendName, table: &Table) -> Side {
    let backend = table.backends().iter().find(|backend| backend.name == *name);
    let endpoints = backend.into_iter().flat_map(|backend| &backend.endpoints);
    let used = endpoints.filter(|endpoint| endpoint.is_usable());
    Side { name: name.clone(), endpoints: used.map(|e| e.address().clone()).collect() }
}
