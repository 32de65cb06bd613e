//! Rollouts of which nobody knows how far they were: all their traffic goes to the baseline.
//!
//! That is so when the state file is lost or cannot be read yet, when one run's record says nothing to this program, and when
//! what was kept does not fit. Each costs the rollout that it is about, and no other.

use super::{Run, drive::Drive};
use crate::{
    control::{Controller, Past, store::Kept},
    decision::rollout::{Effect, Engine, Phase, State},
    domain::{
        Plan, RolloutName, Weight,
        verdict::{Cause, CauseKind},
    },
    lifecycle::clock,
    telemetry::{Event, EventKind, SeriesExhausted},
};

/// Why it is not known how far a rollout was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unknown {
    why: String,
    /// The state file has the word as soon as it can be read.
    is_stand_in: bool,
}

impl Unknown {
    /// Of a rollout without a readable run in `kept`; `None` where that means that there was none.
    pub(super) fn of(name: &RolloutName, kept: &Kept) -> Option<Self> {
        let lost = |why: String| Some(Self { why, is_stand_in: false });
        if let Some(run) = kept.unreadable(name) {
            return lost(format!(
                "the record of its run {} cannot be read ({}) and stays in the table runs of the state file",
                run.number, run.why
            ));
        }
        match kept.past {
            Past::Known => None,
            Past::Lost => lost("the state file was lost".to_owned()),
            Past::Unread => {
                Some(Self { why: "the state file cannot be read".to_owned(), is_stand_in: true })
            }
        }
    }
}

impl Controller {
    /// Puts a rollout at the end of a run that nobody knows, with all traffic on its baseline.
    pub(super) fn add_unknown(
        &mut self,
        plan: Plan,
        unknown: Unknown,
    ) -> Result<(), SeriesExhausted> {
        let name = plan.name.clone();
        let mut drive = Drive::idle(plan, &self.recorder, self.recorder.workers())?;
        drive.number = self.numbers.get(&name).copied().unwrap_or(0);
        let file_split = self.file_split(&drive.plan().route);
        let plan = drive.plan().clone();
        let baseline = plan.baseline.clone();
        if let Some(split) = file_split {
            drive.begin_run(&split, &self.recorder, clock::wall_millis());
            self.numbers.insert(name.clone(), drive.number);
        }
        let Unknown { why, is_stand_in } = unknown;
        drive.engine = Engine::new(lost(plan));
        drive.is_stand_in = is_stand_in;
        drive.log.because = format!("{why}: nobody knows how far it was");
        drive.log.ended_at_ms = Some(drive.log.since_ms);
        self.drives.insert(name.clone(), drive);
        self.carry_out(&name, vec![Effect::SetWeight(Weight::ZERO), Effect::Checkpoint]);
        self.tell_lost(
            name.as_str(),
            format!("{why}, and nobody knows how far it was: all traffic goes to {baseline}"),
        );
        Ok(())
    }

    /// Tells of records that cannot be read and belong to no rollout of the configuration: no route follows from them.
    pub(super) fn tell_unreadable(&self, kept: &Kept) {
        for run in &kept.unreadable {
            if self.drives.keys().all(|name| name.as_str() != run.rollout) {
                let message = format!(
                    "the record of its run {} cannot be read ({}) and stays in the table runs of the state file; the \
                     configuration has no such rollout, so its route is split as the file says",
                    run.number, run.why
                );
                self.tell_lost(&run.rollout, message);
            }
        }
    }

    pub(super) fn tell_lost(&self, name: &str, message: impl Into<String>) {
        let now = clock::wall_millis();
        self.audit.keep(Event::new(EventKind::RolloutStateLost, now, name, message));
    }
}

/// All traffic on the baseline, since nobody knows better.
pub(super) fn lost(plan: Plan) -> State {
    let cause = Cause::new(CauseKind::State, "what was kept of it is lost");
    let mut state = State::idle(plan);
    state.phase = Phase::RolledBack { cause, step: None };
    state
}

/// A run that cannot go on: a later configuration must not wake it up again, at the weight that it had.
pub(super) fn ended_as_lost(mut run: Run) -> Run {
    run.record.state = lost(run.record.state.plan);
    run.record.log.released = true;
    run
}
