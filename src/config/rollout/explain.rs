//! A rollout's plan in plain words, row by row.

use std::time::Duration;

use super::facts::rule;
use crate::{
    config::model::Rollout,
    domain::{format_duration, plan::Limit},
};

/// One row: who moves what, and its earliest end.
pub(in crate::config) fn row(rollout: &Rollout) -> Vec<String> {
    let plan = &rollout.plan;
    let begins = if plan.auto_start { "begins by itself" } else { "begins by hand" };
    let deadline = match plan.deadline {
        Limit::Off => String::new(),
        Limit::At(deadline) => format!(", at the latest after {deadline}"),
    };
    let by_hand = plan.steps.iter().filter(|step| step.gate).count();
    let gates = if by_hand == 0 { String::new() } else { format!(" and {by_hand} by hand") };
    vec![
        plan.name.to_string(),
        format!("route {}: {} → {}", plan.route, plan.baseline, plan.canary),
        begins.to_owned(),
        format!(
            "promoted {} after its begin at the earliest{gates}{deadline}",
            spoken(plan.shortest())
        ),
    ]
}

/// A row for each step: when it begins at the earliest, for how long, and what it takes to leave.
pub(in crate::config) fn steps(rollout: &Rollout) -> Vec<Vec<String>> {
    let plan = &rollout.plan;
    let mut begins = Duration::ZERO;
    let mut rows = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        let mut require: Vec<_> = step.require.iter().map(ToString::to_string).collect();
        if step.gate {
            require.push("an operator's advance".to_owned());
        }
        let require = if require.is_empty() { "nothing".to_owned() } else { require.join(", ") };
        rows.push(vec![
            plan.name.to_string(),
            format!("after {}", spoken(begins)),
            format!("{} %", step.weight),
            step.name.to_string(),
            format!("for {}", format_duration(step.hold)),
            format!("needs {require}"),
        ]);
        begins = begins.saturating_add(plan.shortest_stay(step));
    }
    rows
}

/// A row for each condition that turns it back or tells somebody.
pub(in crate::config) fn rules(rollout: &Rollout) -> Vec<Vec<String>> {
    let plan = &rollout.plan;
    let name = || plan.name.to_string();
    let back = plan.on_failure.word();
    let mut rows: Vec<_> =
        plan.rollback.iter().map(|when| vec![name(), back.to_owned(), rule(when)]).collect();
    let breaker = &plan.breaker;
    rows.push(vec![
        name(),
        back.to_owned(),
        format!(
            "{} failures in a row, or {}% of at least {} attempts within {}",
            breaker.consecutive_failures,
            breaker.failure_share * 100.0,
            breaker.of_at_least,
            format_duration(breaker.within)
        ),
    ]);
    let limits = [
        ("bad responses", plan.budget.max_bad_responses),
        ("sessions on the canary", plan.budget.max_exposed_keys),
    ];
    let limits = limits.into_iter().filter_map(|(what, limit)| Some((what, limit.value()?)));
    rows.extend(limits.map(|(what, most)| vec![name(), "limit".into(), format!("{most} {what}")]));
    rows.extend(plan.alerts.iter().map(|alert| {
        vec![name(), format!("alert, {}", alert.severity.label()), rule(&alert.rule)]
    }));
    rows
}

/// `1d 2h 30m`: how long for people, to the second.
fn spoken(span: Duration) -> String {
    let seconds = span.as_secs();
    let parts = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, length) in parts {
        if rest >= length {
            words.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}
