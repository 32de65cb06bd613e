//! What stands in Alertmanager on our behalf.
//!
//! Alertmanager ends an alert by itself unless it is told again, and knows nothing of rollouts. So the book keeps the alerts
//! that are open, tells them again and again with an end a little ahead, and closes them when a later notification says that
//! they are over. If Tidegate dies, its alerts end soon after. Pure: the time is an argument.

use std::collections::BTreeMap;

use serde::Serialize;

use super::message::line;
use crate::{
    control::status::rfc3339,
    domain::{Notification, NotificationKind, RolloutName, Severity},
};

/// Open alerts at most, over all rollouts; more are not told.
const CAPACITY: usize = 256;

/// An alert ends by itself this long after it was last told: four times the time between two tellings, as Prometheus has it.
const LASTS_MS: u64 = 240_000;

/// The alerts that are open.
#[derive(Debug, Default)]
pub(super) struct AlertBook {
    open: BTreeMap<Key, Open>,
}

/// What makes an alert the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rollout: RolloutName,
    name: &'static str,
    rule: String,
}

#[derive(Debug, Clone)]
struct Open {
    severity: Severity,
    step: String,
    summary: String,
    description: String,
    since_ms: u64,
}

/// An alert as `POST /api/v2/alerts` takes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
}

impl Alert {
    /// Whether Alertmanager takes the two for one alert.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.labels == other.labels
    }
}

impl AlertBook {
    /// What to tell because of `notification`: what it opens when it is `wanted`, and what it closes in any case.
    pub(super) fn take(&mut self, notification: &Notification, wanted: bool) -> Vec<Alert> {
        let now_ms = notification.at_ms;
        let over = self.open.keys().filter(|key| ends(key, notification)).cloned();
        let over: Vec<_> = over.collect();
        let mut alerts = Vec::new();
        for key in over {
            alerts.extend(self.open.remove(&key).map(|open| alert(&key, &open, now_ms)));
        }
        if let Some(name) = alert_name(notification.kind).filter(|_| wanted) {
            let rollout = notification.rollout.clone();
            let key = Key { rollout, name, rule: line(&notification.rule) };
            if self.open.len() < CAPACITY || self.open.contains_key(&key) {
                let since_ms = self.open.get(&key).map_or(now_ms, |open| open.since_ms);
                let open = Open {
                    severity: notification.severity,
                    step: notification.step.as_deref().map(line).unwrap_or_default(),
                    summary: super::message::title(notification),
                    description: super::message::text(notification),
                    since_ms,
                };
                alerts.push(alert(&key, &open, now_ms + LASTS_MS));
                self.open.insert(key, open);
            }
        }
        alerts
    }

    /// Everything that is still open, to be told again at `now_ms`.
    pub(super) fn again(&self, now_ms: u64) -> Vec<Alert> {
        self.open.iter().map(|(key, open)| alert(key, open, now_ms + LASTS_MS)).collect()
    }
}

/// The alert that a kind opens: what needs somebody until something else happens.
const fn alert_name(kind: NotificationKind) -> Option<&'static str> {
    match kind {
        NotificationKind::Held => Some("TidegateRolloutHeld"),
        NotificationKind::Alert => Some("TidegateRolloutAlert"),
        NotificationKind::Paused => Some("TidegateRolloutPaused"),
        NotificationKind::RolledBack => Some("TidegateRolloutRolledBack"),
        NotificationKind::Failed => Some("TidegateRolloutFailed"),
        NotificationKind::Started
        | NotificationKind::Advanced
        | NotificationKind::Resolved
        | NotificationKind::Resumed
        | NotificationKind::Promoted => None,
    }
}

/// Whether `notification` says that the alert at `key` is over.
fn ends(key: &Key, notification: &Notification) -> bool {
    let opened_by =
        |kinds: &[NotificationKind]| kinds.iter().any(|kind| alert_name(*kind) == Some(key.name));
    use NotificationKind::{Alert, Held, Paused};
    key.rollout == notification.rollout
        && match notification.kind {
            // Whatever was before, it is a new attempt, or there is none any more.
            NotificationKind::Started
            | NotificationKind::RolledBack
            | NotificationKind::Promoted
            | NotificationKind::Failed => true,
            // An alert without a rule says that nothing can be written, and so nothing go forward.
            NotificationKind::Advanced => {
                opened_by(&[Held, Paused]) || opened_by(&[Alert]) && key.rule.is_empty()
            }
            NotificationKind::Resumed | NotificationKind::Held => opened_by(&[Paused]),
            NotificationKind::Paused => opened_by(&[Held]),
            NotificationKind::Resolved => {
                opened_by(&[Alert]) && key.rule == line(&notification.rule)
            }
            NotificationKind::Alert => false,
        }
}

fn alert(key: &Key, open: &Open, ends_at_ms: u64) -> Alert {
    // Labels make the identity: nothing that changes while the alert is open is among them.
    let mut labels = BTreeMap::from([
        ("alertname", key.name.to_owned()),
        ("rollout", key.rollout.to_string()),
        ("severity", open.severity.label().to_owned()),
    ]);
    if !key.rule.is_empty() {
        labels.insert("rule", key.rule.clone());
    }
    let mut annotations = BTreeMap::from([
        ("summary", open.summary.clone()),
        ("description", open.description.clone()),
    ]);
    if !open.step.is_empty() {
        annotations.insert("step", open.step.clone());
    }
    Alert { labels, annotations, starts_at: rfc3339(open.since_ms), ends_at: rfc3339(ends_at_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::notify::tests::notification;

    const NOW: u64 = 1_700_000_000_000;

    fn said(kind: NotificationKind, rule: &str, at_ms: u64) -> Notification {
        Notification { kind, rule: rule.into(), at_ms, ..notification() }
    }

    fn names(alerts: &[Alert]) -> Vec<(String, bool)> {
        let over = |alert: &Alert| alert.ends_at <= rfc3339(NOW + 10_000);
        alerts.iter().map(|alert| (alert.labels["alertname"].clone(), over(alert))).collect()
    }

    #[test]
    fn an_alert_opens_is_told_again_and_is_resolved_by_its_own_rule() {
        let mut book = AlertBook::default();
        let opened = book.take(&said(NotificationKind::Alert, "error_rate > 1%", NOW), true);
        assert_eq!(names(&opened), [("TidegateRolloutAlert".into(), false)]);
        assert_eq!(opened[0].labels["rule"], "error_rate > 1%");
        let again = book.again(NOW + 60_000);
        assert_eq!(
            (&again[0].starts_at, &again[0].labels),
            (&opened[0].starts_at, &opened[0].labels)
        );
        assert!(again[0].ends_at > opened[0].ends_at);
        assert_eq!(book.take(&said(NotificationKind::Resolved, "p95 > 1s", NOW), true), []);
        let over = book.take(&said(NotificationKind::Resolved, "error_rate > 1%", NOW + 5), false);
        assert_eq!(names(&over), [("TidegateRolloutAlert".into(), true)]);
        assert_eq!(over[0].labels, opened[0].labels);
        assert_eq!(book.again(NOW), []);
    }

    #[test]
    fn a_rollback_closes_what_was_open_and_stands_until_the_next_start() {
        let mut book = AlertBook::default();
        book.take(&said(NotificationKind::Held, "", NOW), true);
        book.take(&said(NotificationKind::Alert, "a > 1", NOW), true);
        let alerts = book.take(&said(NotificationKind::RolledBack, "", NOW), true);
        assert_eq!(
            names(&alerts),
            [
                ("TidegateRolloutAlert".into(), true),
                ("TidegateRolloutHeld".into(), true),
                ("TidegateRolloutRolledBack".into(), false)
            ]
        );
        let alerts = book.take(&said(NotificationKind::Started, "", NOW), true);
        assert_eq!(names(&alerts), [("TidegateRolloutRolledBack".into(), true)]);
        assert_eq!(book.again(NOW), []);
    }

    #[test]
    fn a_pause_and_a_hold_end_when_it_goes_on() {
        let mut book = AlertBook::default();
        book.take(&said(NotificationKind::Paused, "", NOW), true);
        book.take(&said(NotificationKind::Alert, "a > 1", NOW), true);
        let alerts = book.take(&said(NotificationKind::Resumed, "", NOW), true);
        assert_eq!(names(&alerts), [("TidegateRolloutPaused".into(), true)]);
        book.take(&said(NotificationKind::Held, "", NOW), true);
        let alerts = book.take(&said(NotificationKind::Advanced, "", NOW), true);
        assert_eq!(names(&alerts), [("TidegateRolloutHeld".into(), true)]);
        assert_eq!(book.again(NOW).len(), 1, "the alert is not over");
    }

    #[test]
    fn a_state_that_cannot_be_written_is_over_when_it_goes_on() {
        let mut book = AlertBook::default();
        book.take(&said(NotificationKind::Alert, "", NOW), true);
        book.take(&said(NotificationKind::Alert, "a > 1", NOW), true);
        let alerts = book.take(&said(NotificationKind::Advanced, "", NOW), true);
        assert_eq!((alerts.len(), alerts[0].labels.contains_key("rule")), (1, false));
        assert_eq!(book.again(NOW).len(), 1, "the other one stands");
    }

    #[test]
    fn what_is_not_wanted_opens_nothing_and_there_is_an_end() {
        let mut book = AlertBook::default();
        assert_eq!(book.take(&said(NotificationKind::Alert, "a > 1", NOW), false), []);
        for rule in 0..2 * CAPACITY {
            book.take(&said(NotificationKind::Alert, &rule.to_string(), NOW), true);
        }
        assert_eq!(book.again(NOW).len(), CAPACITY);
        let other = RolloutName::new("other").unwrap();
        let started = Notification { rollout: other, ..said(NotificationKind::Started, "", NOW) };
        assert_eq!(book.take(&started, true), [], "another rollout's alerts are left alone");
    }
}
