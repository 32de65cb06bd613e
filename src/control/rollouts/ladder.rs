//! The rollback ladder while it is climbed: no run begins on its route before its last rung has ended, for a rung may still
//! undo what the next run builds upon, a database's schema for one.
//!
//! Bounded: each rung has its time, and who waits for the ladder need not wait longer than for all of them.

use std::{collections::VecDeque, fmt, time::Duration};

use super::drive::Drive;
use crate::{
    config::model::Hook,
    control::{CommandError, Controller, hooks::in_order},
    domain::{HookPoint, Moment, RolloutName, RouteName, format_duration},
    lifecycle::clock,
};

/// What it takes at most to end a rung whose time is over, and to begin the next.
const SLACK: Duration = Duration::from_secs(5);

/// Rungs that have not ended yet.
#[derive(Debug)]
pub(super) struct Ladder {
    route: RouteName,
    rungs: VecDeque<Rung>,
    /// When the first of them began.
    since: Moment,
}

#[derive(Debug)]
struct Rung {
    name: String,
    level: Option<u8>,
    timeout: Duration,
}

impl Ladder {
    /// That of `hooks`, which begins now to undo what was done on `route`.
    pub(super) fn of(route: RouteName, hooks: &[Hook], now: Moment) -> Self {
        let rung = |hook: &Hook| Rung {
            name: hook.name.to_string(),
            level: hook.level,
            timeout: hook.timeout,
        };
        let rungs = in_order(hooks, HookPoint::Rollback).into_iter().map(rung);
        Self { route, rungs: rungs.collect(), since: now }
    }

    /// The present rung has ended.
    pub(super) fn rung_ended(&mut self, now: Moment) {
        self.rungs.pop_front();
        self.since = now;
    }

    /// Itself as it stands, unless it is over. A rung that was lost is over when its time is.
    pub(super) fn climbed(&self, now: Moment) -> Option<Climb<'_>> {
        let rung = self.rungs.front()?;
        let latest = |left: Duration, rung: &Rung| left.saturating_add(rung.timeout + SLACK);
        let most = self.rungs.iter().fold(Duration::ZERO, latest);
        let climbed = now.since(self.since);
        let left = most.checked_sub(climbed).filter(|left| !left.is_zero())?;
        Some(Climb { route: &self.route, rung, climbed, left })
    }
}

/// A ladder at one moment of its climb.
#[derive(Debug)]
pub(super) struct Climb<'l> {
    route: &'l RouteName,
    rung: &'l Rung,
    climbed: Duration,
    /// Until the last rung has ended, at most.
    left: Duration,
}

impl fmt::Display for Climb<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rung { name, level, timeout } = self.rung;
        write!(f, "the rollback ladder still runs: rung {name}")?;
        level.iter().try_for_each(|level| write!(f, " of level {level}"))?;
        let whole = |span: Duration| format_duration(Duration::from_secs(span.as_secs()));
        write!(f, ", for {} of {} at most", whole(self.climbed), format_duration(*timeout))
    }
}

impl Climb<'_> {
    fn refuses_start(&self, owner: &RolloutName) -> CommandError {
        let left = Duration::from_secs(self.left.as_secs() + 1);
        CommandError::Conflict {
            what: format!("start does not fit yet: after the last run of {owner} {self}"),
            hint: format!(
                "wait for its end, {} at most; `tidegate events --follow` tells how each rung ends",
                format_duration(left)
            ),
        }
    }
}

impl Controller {
    /// Why `name` cannot begin yet, moving `route`: a ladder of its own or on that route is still climbed.
    pub(super) fn ladder_in_the_way(
        &self,
        name: &RolloutName,
        route: &RouteName,
    ) -> Option<CommandError> {
        let now = clock::now();
        let mut climbs = self.drives.iter().filter_map(|(owner, drive)| {
            let climb = drive.climbed(now)?;
            (owner == name || climb.route == route).then_some((owner, climb))
        });
        climbs.next().map(|(owner, climb)| climb.refuses_start(owner))
    }

    /// Lets go of rollouts that the configuration no longer has, once they have neither a word nor a rung left.
    pub(super) fn drop_forgotten(&mut self) {
        let now = clock::now();
        let config = self.config.borrow().clone();
        let configured = |name: &RolloutName| config.rollouts.iter().any(|r| r.plan.name == *name);
        self.drives.retain(|name, drive| {
            configured(name) || drive.owns_route() || drive.climbed(now).is_some()
        });
    }
}

impl Drive {
    /// Its ladder, as long as that is climbed.
    pub(super) fn climbed(&self, now: Moment) -> Option<Climb<'_>> {
        self.ladder.as_ref()?.climbed(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::HookAction;

    fn hook(name: &str, level: u8, seconds: u64) -> Hook {
        Hook {
            name: name.into(),
            point: HookPoint::Rollback,
            level: Some(level),
            action: HookAction::Exec(Vec::new()),
            timeout: Duration::from_secs(seconds),
            required: false,
        }
    }

    #[test]
    fn it_says_where_it_is_and_ends_with_its_last_rung_or_its_time() {
        let route = RouteName::new("api").unwrap();
        let at = |seconds| Moment::default() + Duration::from_secs(seconds);
        let hooks = [hook("schema", 4, 60), hook("flag", 1, 10)];
        let mut ladder = Ladder::of(route.clone(), &hooks, at(0));
        let climb = ladder.climbed(at(3)).unwrap();
        let text = "the rollback ladder still runs: rung flag of level 1, for 3s of 10s at most";
        assert_eq!((climb.to_string().as_str(), climb.left), (text, Duration::from_secs(77)));
        ladder.rung_ended(at(4));
        assert!(ladder.climbed(at(5)).unwrap().to_string().contains("schema"));
        assert!(
            ladder.climbed(at(4 + 60 + 5)).is_none(),
            "its time is over, whatever became of it"
        );
        ladder.rung_ended(at(6));
        assert!(ladder.climbed(at(6)).is_none());
        assert!(Ladder::of(route, &[], at(0)).climbed(at(0)).is_none());
    }
}
