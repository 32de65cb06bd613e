//! News of the state file, told so that a disk on the brink does not fill the trail that is kept on it.
//!
//! A file that takes small writes and no large ones, as under a limit on its size, fails and recovers every few seconds. The
//! controller goes by each word of it; the trail gets each kind at most once a minute, and always the state that lasts.

use std::time::Duration;

use super::Controller;
use crate::{
    domain::Moment,
    lifecycle::clock,
    telemetry::{Event, EventKind},
};

const EVERY: Duration = Duration::from_secs(60);

/// What has been told, and what is to be.
#[derive(Debug, Default)]
pub(super) struct StateNews {
    /// What was told last.
    last: Option<EventKind>,
    failed: Option<Moment>,
    recovered: Option<Moment>,
    /// How things stand, where that is not what was told last.
    waiting: Option<Event>,
}

impl StateNews {
    /// Takes what has happened, and gives what is to be told now.
    fn hear(&mut self, event: Event, writes: bool, now: Moment) -> Option<Event> {
        self.waiting = (self.last != Some(event.kind)).then_some(event);
        self.due(writes, now)
    }

    /// Gives what has waited for long enough, where the file `writes` or not.
    fn due(&mut self, writes: bool, now: Moment) -> Option<Event> {
        let told = if writes { &mut self.recovered } else { &mut self.failed };
        if told.is_some_and(|told| now.since(told) < EVERY) {
            return None;
        }
        let event = self.waiting.take()?;
        *told = Some(now);
        self.last = Some(event.kind);
        Some(event)
    }
}

impl Controller {
    /// Keeps an event of another thread's.
    pub(super) fn hear(&mut self, event: Event) {
        let changed = [(EventKind::StateWriteFailed, false), (EventKind::StateRecovered, true)];
        let changed = changed.into_iter().find(|(kind, _)| *kind == event.kind);
        let Some((_, disk_writes)) = changed else { return self.audit.keep(event) };
        self.disk_writes = disk_writes;
        let told = self.state_news.hear(event, disk_writes, clock::now());
        told.into_iter().for_each(|event| self.audit.keep(event));
        self.show_rollouts();
    }

    /// Tells of the state file what has lasted by now.
    pub(super) fn tell_state_news(&mut self) {
        let told = self.state_news.due(self.disk_writes, clock::now());
        told.into_iter().for_each(|event| self.audit.keep(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a file that fails (`false`) and recovers (`true`) at these seconds, if asked each second after.
    fn told(changes: &[(u64, bool)], until: u64) -> Vec<(u64, bool)> {
        let mut news = StateNews::default();
        let (mut writes, mut told) = (true, Vec::new());
        for second in 0..until {
            let now = Moment::default() + Duration::from_secs(second);
            for (_, change) in changes.iter().filter(|(at, _)| *at == second) {
                writes = *change;
                let kind =
                    if writes { EventKind::StateRecovered } else { EventKind::StateWriteFailed };
                let heard = news.hear(Event::new(kind, 0, "state.db", "m"), writes, now);
                told.extend(heard.map(|_| (second, writes)));
            }
            told.extend(news.due(writes, now).map(|_| (second, writes)));
        }
        told
    }

    #[test]
    fn one_outage_is_told_at_once_with_its_end() {
        assert_eq!(told(&[(5, false), (7, true)], 300), [(5, false), (7, true)]);
        let apart = [(5, false), (70, true), (131, false), (200, true)];
        assert_eq!(told(&apart, 300), apart);
    }

    #[test]
    fn what_comes_and_goes_is_told_once_a_minute_and_as_it_ends() {
        let changes: Vec<_> = (0..100).map(|at| (at, at % 2 == 1)).collect();
        let told = told(&changes, 300);
        assert_eq!(told, [(0, false), (1, true), (60, false), (61, true)]);
    }

    #[test]
    fn a_state_that_lasts_is_told_before_a_minute_is_over() {
        let changes = [(0, false), (1, true), (2, false)];
        assert_eq!(told(&changes, 300), [(0, false), (1, true), (60, false)]);
        let changes = [(0, false), (1, true), (2, false), (3, true)];
        assert_eq!(told(&changes, 300), [(0, false), (1, true)]);
    }
}
