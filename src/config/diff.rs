//! What differs between two configurations, for the operator who reloads and for the audit trail.

use std::{collections::HashMap, fmt::Display, hash::Hash};

use super::{
    Config,
    facts::{Facts, Value},
};
use crate::domain::{BackendName, Split, Weight};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As in `route api: split blue 90 → 50, green 10 → 50`.
    pub text: String,
    /// Takes effect only when the process starts anew.
    pub needs_restart: bool,
}

/// What leads from `old` to `new`; empty exactly when they are equal.
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Changes::default();
    // Threads, the admin sockets, the state file and the log's form are made once, when the
    // process starts.
    changes.part("process", &old.process, &new.process, |key| key == "workers");
    changes.part("admin", &old.admin, &new.admin, |_| true);
    changes.part("state", &old.state, &new.state, |_| true);
    changes.part("log", &old.log, &new.log, |key| key == "format");
    changes.items("error_page", &old.error_pages, &new.error_pages, |page| &page.status);
    changes.items("listener", &old.listeners, &new.listeners, |listener| &listener.bind);
    changes.items("backend", &old.backends, &new.backends, |backend| &backend.name);
    changes.items("route", &old.routes, &new.routes, |route| &route.name);
    changes.items("rollout", &old.rollouts, &new.rollouts, |rollout| &rollout.plan.name);
    changes.items("metric", &old.metrics, &new.metrics, |metric| &metric.name);
    changes.items("notify", &old.sinks, &new.sinks, |sink| &sink.name);
    match (&old.traces, &new.traces) {
        (Some(old), Some(new)) => changes.part("traces", old, new, |_| false),
        (None, Some(_)) => changes.push("traces added".to_owned(), false),
        (Some(_), None) => changes.push("traces removed".to_owned(), false),
        (None, None) => {}
    }
    changes.0
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn push(&mut self, text: String, needs_restart: bool) {
        self.0.push(Change { text, needs_restart });
    }

    /// The differences between two states of one part.
    fn part<T: Facts + PartialEq>(
        &mut self,
        subject: &str,
        old: &T,
        new: &T,
        needs_restart: impl Fn(&str) -> bool,
    ) {
        if old == new {
            return;
        }
        for (old, new) in old.facts().into_iter().zip(new.facts()) {
            if old != new {
                let change = describe(&old.value, &new.value);
                self.push(format!("{subject}: {} {change}", old.key), needs_restart(old.key));
            }
        }
    }

    /// The differences between two lists whose items are told apart by `key`.
    fn items<T: Facts + PartialEq, K: Eq + Hash + Display>(
        &mut self,
        kind: &str,
        old: &[T],
        new: &[T],
        key: impl Fn(&T) -> &K,
    ) {
        let before: HashMap<&K, &T> = old.iter().map(|item| (key(item), item)).collect();
        let after: HashMap<&K, &T> = new.iter().map(|item| (key(item), item)).collect();
        for gone in old.iter().map(&key).filter(|key| !after.contains_key(key)) {
            self.push(format!("{kind} {gone} removed"), false);
        }
        for item in new {
            let name = key(item);
            match before.get(name) {
                Some(old) => self.part(&format!("{kind} {name}"), *old, item, |_| false),
                None => self.push(format!("{kind} {name} added"), false),
            }
        }
        let stayed = old.iter().map(&key).filter(|key| after.contains_key(key));
        if !stayed.eq(new.iter().map(&key).filter(|key| before.contains_key(key))) {
            self.push(format!("{kind}s: put in another order"), false);
        }
    }
}

fn describe(old: &Value<'_>, new: &Value<'_>) -> String {
    match (old, new) {
        (Value::Split(old), Value::Split(new)) => describe_move(old, new),
        (Value::Text(old), Value::Text(new)) => format!("{old} → {new}"),
        // A key has one kind of value.
        (Value::Split(_), Value::Text(_)) | (Value::Text(_), Value::Split(_)) => String::new(),
    }
}

/// `blue 90 → 50, green 10 → 50`: each backend whose share moves.
fn describe_move(old: &Split, new: &Split) -> String {
    let kept = old.shares().iter().map(|(name, _)| name);
    let added = new.shares().iter().map(|(name, _)| name).filter(|name| old.weight(name).is_none());
    let share = |split: &Split, name: &BackendName| {
        split.weight(name).map_or_else(|| "none".to_owned(), |weight: Weight| weight.to_string())
    };
    let moves = kept.chain(added).filter(|name| old.weight(name) != new.weight(name));
    let moves: Vec<_> =
        moves.map(|name| format!("{name} {} → {}", share(old, name), share(new, name))).collect();
    moves.join(", ")
}
