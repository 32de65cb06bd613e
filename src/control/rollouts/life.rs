//! Rollouts over restarts, reloads and a state file that is lost or late.
//!
//! A rollout that runs keeps the plan that it began with. One that has ended owns its route until somebody else speaks: an
//! operator sets the split, or the file's split for the route changes. That is the rule of splits set by hand.

use std::collections::HashSet;

use super::{
    Run,
    drive::{self, Drive},
    unknown::{Unknown, ended_as_lost, lost},
};
use crate::{
    config::{Config, model::Route},
    control::{Controller, HandSplit, Superseded, shares, store::Kept},
    decision::rollout::Engine,
    domain::{BackendName, Plan, RolloutName, RouteName, Split},
    lifecycle::clock,
    routing::BuildError,
    telemetry::{Event, EventKind, SELF_ACTOR, SeriesExhausted},
};

impl Controller {
    /// Takes up the rollouts of the configuration where `kept` left them; before there is traffic.
    ///
    /// # Errors
    /// [`BuildError`] when there are too many routes and backends to count.
    pub(in crate::control) fn open_rollouts(&mut self, kept: &Kept) -> Result<(), BuildError> {
        let config = self.config.borrow().clone();
        self.numbers = kept.newest_numbers().collect();
        for (name, run) in kept.runs.clone() {
            if has_parts_of(&config, &run.record.state.plan) {
                let route = run.record.state.plan.route.clone();
                self.resume(&name, run).map_err(|error| series_fault(&route, &error))?;
            } else if run.record.state.phase.is_running() {
                let message = "the configuration no longer has its route or one of its backends: it cannot go on";
                self.tell_lost(name.as_str(), message);
                self.store.keep_run(name, ended_as_lost(run));
            }
        }
        let plans = config.rollouts.iter().map(|rollout| &rollout.plan);
        for plan in plans.filter(|plan| !self.drives.contains_key(&plan.name)).collect::<Vec<_>>() {
            let made = self.add(plan.clone(), Unknown::of(&plan.name, kept));
            made.map_err(|error| series_fault(&plan.route, &error))?;
        }
        self.tell_unreadable(kept);
        // The file may have changed while there was no process.
        self.follow_config(&config, SELF_ACTOR);
        Ok(())
    }

    /// Goes on with a run where it was.
    fn resume(&mut self, name: &RolloutName, run: Run) -> Result<(), SeriesExhausted> {
        let sound = run.record.state.is_sound();
        let state = run.record.state.clone();
        let mut drive = Drive::resumed(run, &self.recorder, self.recorder.workers())?;
        if !sound {
            let message =
                "what was kept of it does not fit its plan: all traffic goes to the baseline";
            self.tell_lost(name.as_str(), message);
            drive.engine = Engine::new(lost(state.plan));
        }
        if !drive.owns_route() {
            self.drives.insert(name.clone(), drive);
            return Ok(());
        }
        let (engine, effects) = Engine::resume(drive.state().clone());
        drive.engine = engine;
        self.drives.insert(name.clone(), drive);
        self.carry_out(name, effects);
        if !sound {
            self.checkpoint(name);
        }
        Ok(())
    }

    /// A rollout without a run: idle, or with all traffic on the baseline when it is not known whether it had one.
    fn add(&mut self, plan: Plan, unknown: Option<Unknown>) -> Result<(), SeriesExhausted> {
        if let Some(unknown) = unknown {
            return self.add_unknown(plan, unknown);
        }
        let name = plan.name.clone();
        let mut drive = Drive::idle(plan, &self.recorder, self.recorder.workers())?;
        drive.number = self.numbers.get(&name).copied().unwrap_or(0);
        self.drives.insert(name, drive);
        Ok(())
    }

    /// Begins a run of the plan that the file has now; the machine has been told already.
    pub(super) fn begin_run(&mut self, name: &RolloutName, config: &Config) {
        let Some(drive) = self.drives.get_mut(name) else { return };
        let route = drive.plan().route.clone();
        let written = config.routes.iter().find(|known| known.name == route);
        let Some(file_split) = written.map(|route| route.split.clone()) else { return };
        drive.begin_run(&file_split, &self.recorder, clock::wall_millis());
        self.numbers.insert(name.clone(), drive.number);
        self.take_route(name);
    }

    /// Gives a rollout the word on its route: a split set by hand gives way to it, and so does a rollout that has ended.
    pub(super) fn take_route(&mut self, name: &RolloutName) {
        let Some(route) = self.drives.get(name).map(|drive| drive.plan().route.clone()) else {
            return;
        };
        let ended = self.drives.iter().filter(|(other, drive)| {
            *other != name && drive.plan().route == route && drive.owns_route()
        });
        for other in ended.map(|(other, _)| other.clone()).collect::<Vec<_>>() {
            self.release(&other, SELF_ACTOR, &format!("by the rollout {name}"));
        }
        let file_split = self.file_split(&route);
        if let Some(drive) = self.drives.get_mut(name)
            && std::mem::take(&mut drive.log.released)
            && let Some(split) = file_split
        {
            drive.log.file_split = split.shares().iter().cloned().collect();
        }
        if let Some(hand) = self.hand.remove(&route) {
            let message = format!(
                "the split {} set by {} gives way to the rollout {name}",
                shares::text(&hand.split),
                hand.actor
            );
            let now = clock::wall_millis();
            let event = Event::new(EventKind::SplitSuperseded, now, route.as_str(), message);
            let before = serde_json::to_value(&hand.split).ok();
            self.audit.keep_with(event.with_change(before, None), Some(self.hand.clone()));
            self.show_standing(|_| {});
        }
    }

    /// What keeps `config` from being taken: a rollout that runs needs its route and both its backends.
    pub(in crate::control) fn refused_by_rollouts(&self, config: &Config) -> Vec<String> {
        let running = self.drives.values().filter(|drive| drive.state().phase.is_running());
        let missing = |drive: &Drive| {
            let plan = drive.plan();
            let route = config.routes.iter().find(|route| route.name == plan.route);
            let has = |name: &BackendName| config.backends.iter().any(|known| known.name == *name);
            let what = if route.is_none() {
                format!("route {}", plan.route)
            } else if !route.is_some_and(has_split) {
                format!("split of route {}, which redirects", plan.route)
            } else if !has(&plan.baseline) {
                format!("backend {}", plan.baseline)
            } else if !has(&plan.canary) {
                format!("backend {}", plan.canary)
            } else {
                return None;
            };
            let name = &plan.name;
            Some(format!(
                "the rollout {name} runs and needs the {what}; `tidegate rollback {name}` ends it"
            ))
        };
        running.filter_map(missing).collect()
    }

    /// Follows a configuration that has been taken.
    pub(in crate::control) fn follow_config(&mut self, config: &Config, actor: &str) {
        self.release_overruled(config, actor);
        for rollout in &config.rollouts {
            self.follow_plan(rollout.plan.clone());
        }
        self.note_written(config);
        self.tell_forgotten(config);
        self.drop_forgotten();
        self.show_rollouts();
    }

    /// Takes the file's plan of a rollout, unless it follows one.
    pub(super) fn follow_plan(&mut self, plan: Plan) {
        let name = plan.name.clone();
        let followed = match self.drives.get_mut(&name) {
            Some(drive) if drive.state().phase.is_running() => {
                self.tell_difference(&name, &plan);
                Ok(())
            }
            Some(drive) if has_roles_of(drive.plan(), &plan) => {
                drive.engine.replan(plan);
                Ok(())
            }
            Some(_) => self.recast(&name, plan),
            None => self.add(plan, None),
        };
        if let Err(error) = followed {
            let now = clock::wall_millis();
            let event = Event::new(EventKind::TaskFailed, now, name.as_str(), error.to_string());
            self.audit.keep(event);
        }
    }

    fn note_written(&mut self, config: &Config) {
        for rollout in &config.rollouts {
            if let Some(drive) = self.drives.get_mut(&rollout.plan.name) {
                drive.written = Some(rollout.clone());
            }
        }
    }

    /// Says which rollouts run although the file no longer has them.
    fn tell_forgotten(&self, config: &Config) {
        let written = |name: &RolloutName| config.rollouts.iter().any(|r| r.plan.name == *name);
        let gone = self
            .drives
            .iter()
            .filter(|(name, drive)| drive.state().phase.is_running() && !written(name));
        for (name, _) in gone {
            let message = "the file no longer has it; the run goes on with the plan, checks and hooks that it had";
            let now = clock::wall_millis();
            self.audit.keep(Event::new(EventKind::RolloutPlanDiffers, now, name.as_str(), message));
        }
    }

    fn tell_difference(&mut self, name: &RolloutName, plan: &Plan) {
        let Some(drive) = self.drives.get_mut(name) else { return };
        if drive.log.planned == *plan {
            return;
        }
        let message =
            "the file's plan is another one now; the run goes on with the plan that it began with";
        let event =
            Event::new(EventKind::RolloutPlanDiffers, clock::wall_millis(), name.as_str(), message);
        self.audit.keep(event);
    }

    /// Gives an ended rollout other roles, as for the next release: where its traffic is now becomes a split set by hand.
    fn recast(&mut self, name: &RolloutName, plan: Plan) -> Result<(), SeriesExhausted> {
        let workers = self.recorder.workers();
        let idle = Drive::idle(plan, &self.recorder, workers)?;
        let Some(old) = self.drives.remove(name) else { return Ok(()) };
        let result = old.as_hand_split().filter(|_| old.owns_route());
        if let Some(result) = result {
            let route = old.plan().route.clone();
            let message = format!(
                "it gets another route or other backends; until the file says otherwise, {route} stays at {}",
                shares::text(&result.split)
            );
            self.publisher.take_back(&route, result.split.clone());
            self.hand.insert(route, HandSplit { actor: format!("rollout {name}"), ..result });
            let now = clock::wall_millis();
            let event = Event::new(EventKind::RolloutReleased, now, name.as_str(), message);
            self.audit.keep_with(event, Some(self.hand.clone()));
            self.show_standing(|_| {});
        }
        self.drives.insert(name.clone(), idle.after(old));
        self.checkpoint(name);
        Ok(())
    }

    /// Ended rollouts whose routes `config` takes back: its split for them is another than when they began.
    pub(in crate::control) fn overruled(&self, config: &Config) -> Vec<(RolloutName, Superseded)> {
        let why = |drive: &Drive| {
            if !drive.owns_route() || drive.state().phase.is_running() {
                return None;
            }
            drive.as_hand_split()?.superseded_by(&drive.plan().route, config)
        };
        let found =
            self.drives.iter().filter_map(|(name, drive)| Some((name.clone(), why(drive)?)));
        found.collect()
    }

    /// Routes that stay with their rollouts under `config`.
    pub(in crate::control) fn kept_routes(&self, config: &Config) -> HashSet<RouteName> {
        let overruled = self.overruled(config);
        let stays = |name: &RolloutName| overruled.iter().all(|(gone, _)| gone != name);
        let kept = self.drives.iter().filter(|(name, drive)| drive.owns_route() && stays(name));
        kept.map(|(_, drive)| drive.plan().route.clone()).collect()
    }

    fn release_overruled(&mut self, config: &Config, actor: &str) {
        for (name, why) in self.overruled(config) {
            let route = self.release(&name, actor, why.text());
            if let Some((route, split)) = route.and_then(|route| self.split_by_others(route)) {
                self.publisher.take_back(&route, split);
            }
        }
    }

    /// Lets the ended rollout of `route`, if there is one, give way to an operator.
    pub(in crate::control) fn release_route(&mut self, route: &RouteName, actor: &str) {
        let owner = self
            .drives
            .iter()
            .find(|(_, drive)| drive.plan().route == *route && drive.owns_route());
        if let Some(name) = owner.map(|(name, _)| name.clone()) {
            self.release(&name, actor, "the split is set by hand");
            self.publisher.forget(route);
        }
    }

    /// Ends the word of a rollout; who has it next must put their split in force.
    fn release(&mut self, name: &RolloutName, actor: &str, why: &str) -> Option<RouteName> {
        let drive = self.drives.get_mut(name)?;
        drive.log.released = true;
        let route = drive.plan().route.clone();
        let message = format!("route {route} is split by somebody else again: {why}");
        let event =
            Event::new(EventKind::RolloutReleased, clock::wall_millis(), name.as_str(), message);
        self.audit.keep(event.by(actor));
        self.checkpoint(name);
        Some(route)
    }

    /// How `route` is split when no rollout has the word: by hand, else by the file.
    fn split_by_others(&self, route: RouteName) -> Option<(RouteName, Split)> {
        let by_hand = self.hand.get(&route).map(|hand| hand.split.clone());
        let split = by_hand.or_else(|| self.file_split(&route))?;
        Some((route, split))
    }

    /// Takes up what the state file held all the time, where something only stood in for it.
    pub(in crate::control) fn adopt_runs(&mut self, kept: &Kept) {
        let config = self.config.borrow().clone();
        for (name, newest) in kept.newest_numbers() {
            if let Some(drive) = self.drives.get_mut(&name)
                && !drive.is_stand_in
            {
                // If it began, it did so without knowing of those before it.
                drive.number += newest;
            }
            *self.numbers.entry(name).or_default() += newest;
        }
        let stand_ins = self.drives.iter().filter(|(_, drive)| drive.is_stand_in);
        for name in stand_ins.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let Some(old) = self.drives.remove(&name) else { continue };
            let taken = match kept.runs.get(&name) {
                Some(run) if has_parts_of(&config, &run.record.state.plan) => {
                    self.numbers.insert(name.clone(), run.number);
                    self.resume(&name, run.clone())
                }
                Some(_) | None => self.add(old.plan().clone(), Unknown::of(&name, kept)),
            };
            if taken.is_err() {
                self.drives.insert(name.clone(), old);
                continue;
            }
            if self.drives.get(&name).is_some_and(|drive| !drive.owns_route())
                && let Some((route, split)) = self.split_by_others(old.plan().route.clone())
            {
                self.publisher.take_back(&route, split);
            }
        }
        self.note_written(&config);
        self.tell_unreadable(kept);
        self.show_rollouts();
    }
}

impl Drive {
    /// Its result as if an operator had set it, to be held against what the file says.
    fn as_hand_split(&self) -> Option<HandSplit> {
        let written = self.log.file_split.clone().into_iter().collect();
        Some(HandSplit {
            split: drive::split(self.plan(), self.state().weight()?).ok()?,
            file_split: Split::new(written).ok()?,
            actor: SELF_ACTOR.to_owned(),
            reason: None,
            at: self.log.since_ms,
        })
    }
}

/// Whether the two move the same route between the same backends.
fn has_roles_of(plan: &Plan, other: &Plan) -> bool {
    let roles = |plan: &Plan| (plan.route.clone(), plan.baseline.clone(), plan.canary.clone());
    roles(plan) == roles(other)
}

/// Whether `config` has all that `plan` moves traffic between.
fn has_parts_of(config: &Config, plan: &Plan) -> bool {
    let has = |name: &BackendName| config.backends.iter().any(|known| known.name == *name);
    config.routes.iter().any(|route| route.name == plan.route && has_split(route))
        && has(&plan.baseline)
        && has(&plan.canary)
}

/// Whether its requests go to backends; those of a redirect go nowhere.
fn has_split(route: &Route) -> bool {
    !route.split.shares().is_empty()
}

fn series_fault(route: &RouteName, error: &SeriesExhausted) -> BuildError {
    BuildError::Series { route: route.clone(), why: error.to_string() }
}
