//! Taking a new configuration: all of it, or nothing.
//!
//! ```text
//! Candidate ── same ──► Unchanged
//!     └─ build the table ─ bind new listeners ─ publish ──► Applied
//!              └ any error ──► Rejected, the old configuration stays
//! ```

use std::sync::Arc;

use super::{
    Controller, DataPlane, HandSplits, Reloaded, Superseded,
    candidate::{Candidate, Refused},
    controller::warn_of,
    data_plane::ListenChange,
    hand_split::HandSplit,
    mailbox::SIGNAL_ACTOR,
    shares,
    status::{self, LastReload, ReloadOutcome},
    watcher::WATCHER_ACTOR,
};
use crate::{
    config::{self, Config},
    domain::RouteName,
    lifecycle::clock,
    telemetry::{Event, EventKind},
};

/// Splits set by hand that gave way, and why.
pub(super) type GivenWay = Vec<(RouteName, HandSplit, Superseded)>;

impl Controller {
    /// Takes what was read, if it is good.
    pub(super) fn take(
        &mut self,
        read: Result<Box<Candidate>, Refused>,
        actor: &str,
        data_plane: &mut dyn DataPlane,
    ) -> Reloaded {
        let before = self.standing.borrow().config.clone();
        let (reloaded, read_hash) = match read {
            Ok(candidate) => {
                let hash = candidate.loaded.hash.clone();
                (self.try_take(*candidate, actor, data_plane), Some(hash))
            }
            Err(Refused { errors, hash }) => (rejected(errors), hash),
        };
        let (kind, message) = match reloaded.outcome {
            ReloadOutcome::Applied => (EventKind::ReloadApplied, reloaded.changes.join("; ")),
            ReloadOutcome::Unchanged => (EventKind::ReloadUnchanged, "nothing changed".to_owned()),
            ReloadOutcome::Rejected => (EventKind::ReloadRejected, reloaded.errors.join("\n")),
        };
        let same = self.standing.borrow().config.hash == before.hash;
        if same && repeats(&reloaded, &before.last_reload, actor) {
            tracing::debug!(actor, "the same was found before");
        } else {
            let event = Event::new(kind, clock::wall_millis(), before.path, shortened(message));
            // Of a rejected file too: it tells which it was.
            let event = event.with_change(Some(before.hash.into()), read_hash.map(Into::into));
            self.audit.keep(event.by(actor));
        }
        self.show_outcome(&reloaded);
        reloaded
    }

    fn try_take(
        &mut self,
        candidate: Candidate,
        actor: &str,
        data_plane: &mut dyn DataPlane,
    ) -> Reloaded {
        let Candidate { loaded, secrets } = candidate;
        let mut changes: Vec<_> =
            config::diff(&self.config.borrow(), &loaded.config).iter().map(change_text).collect();
        if secrets.cookies != self.secrets.cookies {
            changes.push("keys of affinity cookies changed".to_owned());
        }
        if secrets.pages != self.secrets.pages {
            changes.push("what error pages say changed".to_owned());
        }
        changes.extend(self.secrets.tls.changes(&secrets.tls));
        if changes.is_empty() {
            self.show_hash(loaded.hash);
            return Reloaded {
                outcome: ReloadOutcome::Unchanged,
                changes,
                errors: Vec::new(),
                may_pass: false,
            };
        }
        let refused = self.refused_by_rollouts(&loaded.config);
        if !refused.is_empty() {
            return rejected(refused);
        }
        let mut hand = self.hand.clone();
        let superseded = supersede(&mut hand, &loaded.config);
        let kept = self.kept_routes(&loaded.config);
        let table = match self.publisher.build(&loaded.config, &secrets, &hand, &kept) {
            Ok(table) => table,
            Err(error) => return rejected(vec![error.to_string()]),
        };
        // A listener that is new, or encrypted from now on, takes clients before the table is there.
        self.publisher.publish(self.publisher.current().with_tls(secrets.tls.clone()));
        let listeners = match data_plane.listen(&loaded.config.listeners) {
            Ok(change) => change,
            // Whoever holds the address may give it up.
            Err(error) => {
                let kept = self.secrets.tls.clone();
                self.publisher.publish(self.publisher.current().with_tls(kept));
                return Reloaded { may_pass: true, ..rejected(vec![error.to_string()]) };
            }
        };
        warn_of(&loaded.config, &secrets.tls);
        self.publisher.publish(table);
        self.outside.configure(&loaded.config, &self.publisher.current());
        self.config.send_replace(Arc::new(loaded.config));
        (self.secrets, self.hand) = (secrets, hand);
        self.tell_listeners(&listeners);
        self.tell_superseded(superseded, actor);
        let config = self.config.borrow().clone();
        self.follow_config(&config, actor);
        self.show_hash(loaded.hash);
        Reloaded { outcome: ReloadOutcome::Applied, changes, errors: Vec::new(), may_pass: false }
    }

    /// Says which splits set by hand gave way to the file that `actor` brought, and forgets them.
    pub(super) fn tell_superseded(&self, given_way: GivenWay, actor: &str) {
        if given_way.is_empty() {
            return;
        }
        let mut splits = Some(self.hand.clone());
        for (route, hand, why) in given_way {
            let message = format!(
                "the split {} set by {} gives way to the file: {}",
                shares::text(&hand.split),
                hand.actor,
                why.text()
            );
            let now = clock::wall_millis();
            let event = Event::new(EventKind::SplitSuperseded, now, route.as_str(), message);
            let config = self.config.borrow().clone();
            let written = config.routes.iter().find(|known| known.name == route);
            let after = written.and_then(|route| serde_json::to_value(&route.split).ok());
            let before = serde_json::to_value(&hand.split).ok();
            let event = event.by(actor).with_change(before, after);
            self.audit.keep_with(event, splits.take());
        }
    }

    fn tell_listeners(&self, change: &ListenChange) {
        let kinds = [
            (EventKind::ListenerAdded, "accepts connections", &change.added),
            (EventKind::ListenerRemoved, "no longer accepts connections", &change.removed),
        ];
        for (kind, message, addresses) in kinds {
            for address in addresses {
                let now = clock::wall_millis();
                self.audit.keep(Event::new(kind, now, address.to_string(), message));
            }
        }
    }

    fn show_hash(&self, hash: String) {
        self.show_standing(|standing| {
            if standing.config.hash != hash {
                standing.config.hash = hash;
                standing.config.loaded_at = status::rfc3339(clock::wall_millis());
            }
        });
    }

    fn show_outcome(&self, reloaded: &Reloaded) {
        let now = clock::wall_millis();
        self.show_standing(|standing| {
            if reloaded.outcome != ReloadOutcome::Rejected {
                standing.taken_at_ms = now;
            }
            standing.config.last_reload = LastReload {
                outcome: reloaded.outcome,
                errors: reloaded.errors.clone(),
                at: status::rfc3339(now),
            };
        });
    }
}

/// Removes from `hand` what `config` overrules.
pub(super) fn supersede(hand: &mut HandSplits, config: &Config) -> GivenWay {
    let mut given_way = GivenWay::new();
    hand.retain(|route, split| match split.superseded_by(route, config) {
        Some(why) => {
            given_way.push((route.clone(), split.clone(), why));
            false
        }
        None => true,
    });
    given_way
}

fn rejected(errors: Vec<String>) -> Reloaded {
    Reloaded { outcome: ReloadOutcome::Rejected, changes: Vec::new(), errors, may_pass: false }
}

/// Whether `reloaded` says of the same file what the last reload said already, and nobody waits for an answer: the watcher
/// and a signal often follow the same change.
fn repeats(reloaded: &Reloaded, last: &LastReload, actor: &str) -> bool {
    match reloaded.outcome {
        ReloadOutcome::Applied => false,
        ReloadOutcome::Unchanged => {
            last.outcome != ReloadOutcome::Rejected
                && [WATCHER_ACTOR, SIGNAL_ACTOR].contains(&actor)
        }
        ReloadOutcome::Rejected => {
            last.outcome == ReloadOutcome::Rejected
                && last.errors == reloaded.errors
                && actor == WATCHER_ACTOR
        }
    }
}

fn change_text(change: &config::Change) -> String {
    let suffix = if change.needs_restart { " (takes effect after a restart)" } else { "" };
    format!("{}{suffix}", change.text)
}

/// An event need not hold ten thousand changes.
fn shortened(message: String) -> String {
    const LONGEST: usize = 8_000;
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &message[..end]),
        None => message,
    }
}
