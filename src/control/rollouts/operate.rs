//! What operators want of rollouts: verbs and thresholds.

use std::time::Duration;

use super::{
    RolloutStatus,
    drive::{Drive, Waiting},
};
use crate::{
    control::{
        CommandError, Controller, Operate, SetThresholds, controller::not_found, mailbox::Answer,
    },
    decision::rollout::{Command, Refused, SetFault, Verb},
    domain::{RolloutName, condition::Externals},
    lifecycle::clock,
};

/// How long an operator waits for a move whose hooks and checks take their time; the move goes on without them.
const MOVE_PATIENCE: Duration = Duration::from_secs(8);

impl Controller {
    /// Does what a verb says; answered when the data plane follows it.
    pub(in crate::control) fn operate(&mut self, wish: Operate, answer: Answer<RolloutStatus>) {
        let Operate { rollout, verb, actor, reason } = wish;
        let begun = self.named(&rollout).and_then(|name| {
            self.command(&name, Command { verb, actor, reason: reason.unwrap_or_default() })?;
            Ok(name)
        });
        match begun {
            Ok(name) => {
                if let Some(drive) = self.drives.get_mut(&name) {
                    drive.waiting.push(Waiting { answer, until: clock::now() + MOVE_PATIENCE });
                }
                self.answer_waiting(&name);
                self.show_rollouts();
            }
            // Whoever asked may have gone meanwhile.
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Gives a rollout a command, and does what follows from it.
    pub(super) fn command(
        &mut self,
        name: &RolloutName,
        command: Command,
    ) -> Result<(), CommandError> {
        if let Some(rival) = self.rival(name) {
            return Err(rival.refuses_split());
        }
        let verb = command.verb;
        let config = self.config.borrow().clone();
        let runs = |drive: &Drive| drive.state().phase.is_running();
        if verb == Verb::Start && !self.drives.get(name).is_some_and(runs) {
            let written = config.rollouts.iter().find(|known| known.plan.name == *name);
            let known = self.drives.get(name).map(Drive::plan);
            let plans = written.map(|written| &written.plan).into_iter().chain(known);
            if let Some(climb) =
                { plans }.find_map(|plan| self.ladder_in_the_way(name, &plan.route))
            {
                return Err(climb);
            }
            // Since the run before it the file may have changed, and thresholds were set for that run alone.
            written.into_iter().for_each(|written| self.follow_plan(written.plan.clone()));
        }
        let Some(drive) = self.drives.get_mut(name) else { return Ok(()) };
        drive.unwritten = None;
        let effects = drive.engine.command(command).map_err(|refused| conflict(name, &refused))?;
        match verb {
            Verb::Start => self.begin_run(name, &config),
            Verb::Rollback => self.take_route(name),
            Verb::Pause | Verb::Resume | Verb::Advance | Verb::Promote => {}
        }
        self.carry_out(name, effects);
        Ok(())
    }

    /// Changes thresholds: all of them, or none.
    pub(in crate::control) fn set_thresholds(
        &mut self,
        wish: &SetThresholds,
    ) -> Result<RolloutStatus, CommandError> {
        let name = self.named(&wish.rollout)?;
        let config = self.config.borrow().clone();
        let units = config.metrics.iter().map(|metric| (metric.name.clone(), metric.unit.unit()));
        let units: Vec<_> = units.collect();
        let Some(drive) = self.drives.get_mut(&name) else {
            return Err(CommandError::Stopped);
        };
        let mut engine = drive.engine.clone();
        let reason = wish.reason.as_deref().unwrap_or_default();
        let (mut effects, mut faults, mut changed) = (Vec::new(), Vec::new(), Vec::new());
        for (key, value) in &wish.changes {
            match engine.set(key, value, &wish.actor, reason, Externals::Known(&units)) {
                Ok((change, more)) => {
                    changed.push(change.to_string());
                    effects.extend(more);
                }
                Err(fault @ SetFault::NotRunning(_)) => {
                    let what = fault.to_string();
                    let hint = format!("tidegate start {name} begins it");
                    return Err(CommandError::Conflict { what, hint });
                }
                Err(SetFault::Plan(fault)) => faults.push(fault.to_string()),
            }
        }
        if !faults.is_empty() {
            return Err(CommandError::Invalid(faults));
        }
        drive.engine = engine;
        drive.log.note_changes(changed);
        drive.set_limits();
        self.carry_out(&name, effects);
        self.show_rollouts();
        let drive = self.drives.get(&name).ok_or(CommandError::Stopped)?;
        Ok(drive.status(&config, &self.recorder, self.disk_writes))
    }

    /// Whether a rollout has the word on the split of `route`, and which.
    pub(in crate::control) fn running_owner(&self, route: &str) -> Option<&Drive> {
        let owns = |drive: &&Drive| {
            drive.plan().route.as_str() == route && drive.state().phase.is_running()
        };
        self.drives.values().find(owns)
    }

    /// The rollout that runs on the route of one that does not: a file may name a run's section anew.
    pub(super) fn rival(&self, name: &RolloutName) -> Option<&Drive> {
        let drive = self.drives.get(name).filter(|drive| !drive.state().phase.is_running())?;
        self.running_owner(drive.plan().route.as_str())
    }

    fn named(&self, given: &str) -> Result<RolloutName, CommandError> {
        let known = self.drives.keys().find(|known| known.as_str() == given).cloned();
        let names = self.drives.keys().map(RolloutName::as_str);
        known.ok_or_else(|| not_found("rollout", given, names))
    }
}

impl Drive {
    /// Why a split cannot be set by hand while it runs.
    pub(in crate::control) fn refuses_split(&self) -> CommandError {
        let (name, phase) = (&self.plan().name, self.state().phase.label());
        CommandError::Conflict {
            what: format!("the rollout {name} decides this split ({phase})"),
            hint: format!("tidegate rollback {name} ends it"),
        }
    }
}

fn conflict(name: &RolloutName, refused: &Refused) -> CommandError {
    let words: Vec<_> = refused.fits.iter().map(|verb| verb.word()).collect();
    let what = format!("{} does not fit: the rollout {name} is {}", refused.verb, refused.phase);
    let hint = match words.as_slice() {
        [] => "nothing fits now".to_owned(),
        words => format!("what fits: {}", words.join(", ")),
    };
    CommandError::Conflict { what, hint }
}
