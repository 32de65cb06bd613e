//! Is the new version there, and is the plan one that finds out about it?

use std::collections::HashSet;

use super::{Builtin, Evidence, Finding, holds, stops};
use crate::{
    config::model::Affinity,
    control::preflight::evidence::Brief,
    domain::{Weight, plan::Limit},
};

/// A first step above it shows a bad version to many at once.
const LARGE_FIRST_STEP: f64 = 0.5;

pub(super) const CHECKS: &[Builtin] = &[
    stops("the two sides are different endpoints", |e| {
        let blue: HashSet<_> = e.baseline.endpoints.iter().map(|e| e.address.as_str()).collect();
        let mut green = e.canary.endpoints.iter().map(|e| e.address.as_str());
        match green.find(|address| blue.contains(address)) {
            Some(address) => Finding::fail(
                format!("{address} is an endpoint of both"),
                "the canary would be compared with itself: give it endpoints of its own",
            ),
            None => Finding::pass("they share none"),
        }
    }),
    holds("the canary is another version", version),
    holds("sessions stay on their side", |e| {
        let route = e.config.routes.iter().find(|route| route.name == e.plan.route);
        match route.map(|route| &route.affinity) {
            Some(Affinity::None) => Finding::warn(
                "the route has no affinity: a user sees both versions in turn",
                "set route.affinity, unless the requests are of machines",
            ),
            Some(
                affinity @ (Affinity::Cookie { .. }
                | Affinity::AppCookie { .. }
                | Affinity::Header { .. }
                | Affinity::ClientIp),
            ) => Finding::pass(affinity.to_string()),
            None => Finding::Moot,
        }
    }),
    holds("the first step is small", |e| match e.plan.steps.first() {
        Some(step) if step.weight.share() > LARGE_FIRST_STEP => Finding::warn(
            format!("step {} begins with {} %", step.name, step.weight),
            "unless it is meant, begin with a few percent",
        ),
        Some(step) => Finding::pass(format!("step {} with {} %", step.name, step.weight)),
        None => Finding::Moot,
    }),
    holds("the last step is all traffic", |e| match e.plan.steps.last() {
        Some(step) if step.weight != Weight::FULL => Finding::warn(
            format!("step {} ends with {} %", step.name, step.weight),
            "the canary is promoted without having carried everything: add a step of 100 %",
        ),
        Some(step) => Finding::pass(format!("step {}", step.name)),
        None => Finding::Moot,
    }),
    holds("a failure turns back by itself", |e| {
        let breaker = e.plan.breaker.consecutive_failures != Limit::Off;
        match (e.plan.rollback.len(), breaker) {
            (0, false) => Finding::fail(
                "there is no rollback condition, and the breaker is off",
                "add [[rollout.NAME.rollback]] with when = \"error_rate > 10%\"",
            ),
            (0, true) => Finding::warn(
                "there is no rollback condition, only the breaker",
                "add [[rollout.NAME.rollback]] with when = \"error_rate > 10%\"",
            ),
            (count, _) => Finding::pass(format!("{count} conditions")),
        }
    }),
    holds("each step has criteria", |e| {
        match e.plan.steps.iter().find(|step| step.require.is_empty() && !step.gate) {
            Some(step) => Finding::warn(
                format!("step {} goes on by time alone", step.name),
                "add require, or gate = \"manual\"",
            ),
            None => Finding::pass(format!("{} steps", e.plan.steps.len())),
        }
    }),
];

fn version(evidence: &Evidence) -> Finding {
    if !evidence.has_comparable_answers() {
        return Finding::Moot;
    }
    let mut pairs = evidence.samples.iter().filter_map(|sample| {
        let version = |answers: &[(String, Result<Brief, String>)]| {
            let briefs = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
            briefs.filter_map(|brief| brief.version.clone()).next()
        };
        Some((version(&sample.baseline)?, version(&sample.canary)?))
    });
    match pairs.next() {
        Some(((name, blue), (other, green))) if name == other && blue == green => Finding::warn(
            format!("both say {name}: {green}"),
            "is the new version deployed? if so, let it say so in x-version",
        ),
        Some(((name, blue), (other, green))) => {
            Finding::pass(format!("{other}: {green}, the baseline {name}: {blue}"))
        }
        None => Finding::warn(
            "the answers name no version",
            "let both sides send x-version, so that a forgotten deployment is noticed",
        ),
    }
}
