//! Taking over what the state file held, when it could only be read after the process began.
//!
//! What an operator did meanwhile is newer than the file and holds; everything else is as if the file had been there.

use super::{Controller, HandSplits, Kept, reload::supersede, shares};
use crate::{
    lifecycle::clock,
    routing::Table,
    telemetry::{Event, EventKind, SELF_ACTOR},
};

impl Controller {
    /// Puts the file's splits and its key in force, and goes on from its last event.
    pub(super) fn adopt(&mut self, kept: &Kept) {
        self.adopt_events_and_splits(kept);
        self.adopt_runs(kept);
    }

    fn adopt_events_and_splits(&mut self, kept: &Kept) {
        let mut hand = kept.splits.clone();
        let meanwhile = std::mem::take(&mut self.hand);
        hand.extend(meanwhile.clone());
        let given_way = supersede(&mut hand, &self.config.borrow());
        self.hand = hand;
        self.audit.adopt(kept, self.hand.clone());
        self.publisher.set_cookie_secret(kept.cookie_secret.clone());
        let config = self.config.borrow().clone();
        let kept = self.kept_routes(&config);
        let built = self.publisher.build(&config, &self.secrets, &self.hand, &kept);
        match built {
            Ok(table) => {
                let before = self.publisher.current();
                self.publisher.publish(table);
                self.tell_returned(&meanwhile, &before);
            }
            // Kept all the same: the next configuration that makes a table puts it in force.
            Err(error) => {
                let message = format!("what the state file held cannot be put in force: {error}");
                let now = clock::wall_millis();
                self.audit.keep(Event::new(EventKind::TaskFailed, now, "", message));
            }
        }
        self.tell_superseded(given_way, SELF_ACTOR);
        self.show_standing(|_| {});
    }

    /// Says which routes have another split now than `before`.
    fn tell_returned(&self, meanwhile: &HandSplits, before: &Table) {
        let returned = self.hand.iter().filter(|(route, _)| !meanwhile.contains_key(*route));
        for (route, hand) in returned {
            let Some(old) = before.routes().iter().find(|known| known.name == *route) else {
                continue;
            };
            let message = format!(
                "split {} → {}: {} had set it, and the state file could not be read until now",
                shares::text(&old.split),
                shares::text(&hand.split),
                hand.actor
            );
            let json = |split| serde_json::to_value(split).ok();
            let now = clock::wall_millis();
            let event = Event::new(EventKind::SplitChanged, now, route.as_str(), message);
            self.audit.keep(event.with_change(json(&old.split), json(&hand.split)));
        }
    }
}
