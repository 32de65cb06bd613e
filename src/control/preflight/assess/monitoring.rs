//! Would anybody notice?

use super::{Builtin, Finding, errors, holds};
use crate::domain::{NotificationKind, plan::ExternalSources};

pub(super) const CHECKS: &[Builtin] = &[
    holds("metrics from outside have an answer", |e| {
        if e.metrics.is_empty() {
            return Finding::Moot;
        }
        let why = errors(e.metrics.iter().map(|(name, result)| (name, result)));
        match (why.as_str(), e.plan.external) {
            ("", _) => Finding::pass(format!("{} of them", e.metrics.len())),
            (why, ExternalSources::Required) => {
                Finding::fail(why, "mend the query or its server: the rollout would hold")
            }
            (why, ExternalSources::Optional) => {
                Finding::warn(why, "mend the query or its server: its conditions are left out")
            }
        }
    }),
    holds("notifications go somewhere", |e| match e.config.sinks.len() {
        0 => Finding::warn(
            "there is no sink of notifications",
            "add [notify.NAME], so that somebody hears of a rollback",
        ),
        count => Finding::pass(format!("{count} sinks")),
    }),
    holds("sinks of notifications answer", |e| {
        if e.sinks.is_empty() {
            return Finding::Moot;
        }
        match errors(e.sinks.iter().map(|(name, result)| (name, result))).as_str() {
            "" => Finding::pass(format!("{} accept connections", e.sinks.len())),
            why => Finding::fail(why, "is the service up, and its secret readable?"),
        }
    }),
    holds("a rollback is told", |e| {
        if e.config.sinks.is_empty() {
            return Finding::Moot;
        }
        let told =
            e.config.sinks.iter().filter(|s| s.events.contains(&NotificationKind::RolledBack));
        match told.count() {
            0 => Finding::warn(
                "no sink takes the event rolled_back",
                "add it to the events of one of them",
            ),
            count => Finding::pass(format!("to {count} sinks")),
        }
    }),
    holds("the plan has alerts", |e| match e.plan.alerts.len() {
        0 => Finding::warn(
            "nothing is said before it is turned back",
            "add [[rollout.NAME.alert]] below the rollback conditions",
        ),
        count => Finding::pass(format!("{count} of them")),
    }),
    holds("metrics can be scraped", |e| match e.config.admin.listen {
        Some(address) => Finding::pass(format!("http://{address}/metrics")),
        None => Finding::warn(
            "/metrics is on the unix socket alone",
            "set admin.listen, so that Prometheus sees the rollout",
        ),
    }),
];
