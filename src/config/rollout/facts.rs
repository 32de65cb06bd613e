//! Rollouts as short texts by key.

use crate::{
    config::{
        facts::{Fact, Facts, fact, list},
        model::Rollout,
    },
    domain::{
        format_duration,
        plan::{Alert, Plan, Rule, Step},
    },
};

impl Facts for Rollout {
    fn facts(&self) -> Vec<Fact<'_>> {
        let Self { plan, checks, hooks } = self;
        let Plan {
            name: _,
            route,
            baseline,
            canary,
            auto_start,
            window,
            min_requests,
            settle,
            on_thin_traffic,
            on_failure,
            external,
            deadline,
            steps,
            rollback,
            alerts,
            breaker,
            budget,
        } = plan;
        vec![
            fact("route", route),
            fact("baseline", baseline),
            fact("canary", canary),
            fact("auto_start", auto_start),
            fact("window", &format_duration(*window)),
            fact("min_requests", min_requests),
            fact("settle", &format_duration(*settle)),
            fact("on_thin_traffic", on_thin_traffic),
            fact("on_failure", on_failure),
            fact("external", external),
            fact("deadline", deadline),
            fact("step", &list(steps.iter().map(step))),
            fact("rollback", &list(rollback.iter().map(rule))),
            fact("alert", &list(alerts.iter().map(alert))),
            fact("breaker.consecutive_failures", &breaker.consecutive_failures),
            fact("breaker.failure_share", &format!("{}%", breaker.failure_share * 100.0)),
            fact("breaker.of_at_least", &breaker.of_at_least),
            fact("breaker.within", &format_duration(breaker.within)),
            fact("budget.max_bad_responses", &budget.max_bad_responses),
            fact("budget.max_exposed_keys", &budget.max_exposed_keys),
            fact("check", &list(checks.iter())),
            fact("hook", &list(hooks.iter())),
        ]
    }
}

/// `canary 10 % for 1h (error_rate < 1%)`.
fn step(step: &Step) -> String {
    let gate = if step.gate { ", then by hand" } else { "" };
    let require = match step.require.as_slice() {
        [] => String::new(),
        conditions => format!(" ({})", list(conditions.iter())),
    };
    format!("{} {} % for {}{gate}{require}", step.name, step.weight, format_duration(step.hold))
}

/// `error_rate > 1% for 5m at canary`.
pub(super) fn rule(rule: &Rule) -> String {
    let lasting = match rule.lasting {
        span if span.is_zero() => String::new(),
        span => format!(" for {}", format_duration(span)),
    };
    let steps = match rule.steps.as_slice() {
        [] => String::new(),
        steps => format!(" at {}", list(steps.iter())),
    };
    format!("{}{lasting}{steps}", rule.when)
}

fn alert(alert: &Alert) -> String {
    format!("{} ({})", rule(&alert.rule), alert.severity.label())
}
