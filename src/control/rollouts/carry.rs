//! Carrying out what a rollout's machine wants, in its order.
//!
//! Invariants: weights change in memory before anything else is begun; a move forward waits for the state file, and
//! nothing else waits for anything.

use std::{collections::VecDeque, time::Duration};

use super::{drive::Drive, news};
use crate::{
    control::{CommandError, Controller},
    decision::rollout::{Effect, Errand, News, NewsKind, Phase, State, Ticket},
    domain::{CheckResult, HookResult, RolloutName, Weight},
    lifecycle::clock,
    telemetry::{Event, EventKind},
};

/// A disk that takes longer than this for a move is as good as none.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// What a task has to say to the controller.
#[derive(Debug)]
pub(in crate::control) struct Reply {
    pub(super) rollout: RolloutName,
    /// Of another run, it comes too late.
    pub(super) number: u64,
    pub(super) word: Word,
}

/// What has ended.
#[derive(Debug)]
pub(super) enum Word {
    /// One hook.
    Called(HookResult),
    /// One check.
    Checked(CheckResult),
    /// What a move waits for.
    Answer(MoveAnswer),
    /// Whether the bound for the budget is in the state file.
    Reserved(bool),
}

/// What a move forward waits for.
#[derive(Debug)]
pub(super) enum MoveAnswer {
    /// It is in the state file.
    Written(Ticket),
    /// It could not be written.
    NotWritten { ticket: Ticket, why: String },
    /// All hooks or checks that stand before it have ended.
    Done { errand: Errand, passed: bool, detail: String },
}

impl Controller {
    /// Does everything in `effects`, and all that follows from it at once.
    pub(super) fn carry_out(&mut self, rollout: &RolloutName, effects: Vec<Effect>) {
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::SetWeight(weight) => self.set_weight(rollout, weight),
                Effect::RecallCanary => self.with_drive(rollout, Drive::recall),
                Effect::Persist { ticket, state } => self.persist(rollout, ticket, *state),
                Effect::Checkpoint => self.checkpoint(rollout),
                Effect::Run(errand) => {
                    if let Some(answer) = self.run_errand(rollout, errand) {
                        queue.extend(self.pass_on(rollout, answer));
                    }
                }
                Effect::CallHooks(point) => self.call_hooks(rollout, point),
                Effect::Tell(news) => self.tell(rollout, &news),
            }
        }
        self.note_phase(rollout);
        self.answer_waiting(rollout);
    }

    /// Takes what a task has to say.
    pub(in crate::control) fn take_reply(&mut self, reply: Reply) {
        let Reply { rollout, number, word } = reply;
        if self.drives.get(&rollout).is_none_or(|drive| drive.number != number) {
            // A rung of the run before: how it ended is worth knowing all the same.
            if let Word::Called(result) = word {
                self.tell_hook(&rollout, result);
            }
            return;
        }
        match word {
            Word::Called(result) => self.note_hook(&rollout, result),
            Word::Checked(result) => self.note_check(&rollout, result),
            Word::Reserved(durable) => self.note_reserved(&rollout, durable),
            Word::Answer(answer) => {
                let effects = self.pass_on(&rollout, answer);
                self.carry_out(&rollout, effects);
            }
        }
        self.show_rollouts();
    }

    /// Tells the machine what it waits for.
    fn pass_on(&mut self, rollout: &RolloutName, answer: MoveAnswer) -> Vec<Effect> {
        let Some(drive) = self.drives.get_mut(rollout) else { return Vec::new() };
        match answer {
            MoveAnswer::Written(ticket) => {
                drive.unwritten = None;
                drive.engine.persisted(ticket)
            }
            MoveAnswer::NotWritten { ticket, why } => {
                let effects = drive.engine.persist_failed(ticket, why.as_str());
                drive.unwritten = Some(why);
                // Where the move would have led is on its way to the disk: what is so goes over it.
                self.checkpoint(rollout);
                effects
            }
            MoveAnswer::Done { errand, passed, detail } => {
                drive.engine.done(errand, passed, detail)
            }
        }
    }

    fn with_drive(&mut self, rollout: &RolloutName, act: impl FnOnce(&mut Drive)) {
        if let Some(drive) = self.drives.get_mut(rollout) {
            act(drive);
        }
    }

    fn set_weight(&mut self, rollout: &RolloutName, weight: Weight) {
        let Some(drive) = self.drives.get(rollout) else { return };
        let route = drive.plan().route.clone();
        let published =
            drive.traffic(weight).map_err(|error| error.to_string()).and_then(|traffic| {
                self.publisher.hand_over(&route, traffic).map_err(|error| error.to_string())
            });
        if let Err(why) = published {
            let message = format!("the weight {weight} % could not be put in force: {why}");
            let now = clock::wall_millis();
            self.audit.keep(Event::new(EventKind::TaskFailed, now, rollout.as_str(), message));
        }
    }

    /// Has `state` written, and tells the machine whether it was.
    fn persist(&mut self, rollout: &RolloutName, ticket: Ticket, state: State) {
        let Some(drive) = self.drives.get(rollout) else { return };
        let (number, rollout) = (drive.number, rollout.clone());
        self.store.keep_run(rollout.clone(), drive.kept(state));
        let (store, replies) = (self.store.clone(), self.replies.clone());
        self.outside.tasks.spawn("rollout state", async move {
            let written = tokio::time::timeout(WRITE_PATIENCE, store.flush()).await;
            let answer = match written {
                Ok(true) => MoveAnswer::Written(ticket),
                Ok(false) => not_written(ticket, "the state file does not take it"),
                Err(_) => not_written(ticket, "the disk takes too long"),
            };
            // Without a receiver the process is ending.
            let word = Word::Answer(answer);
            let _ = replies.send(Reply { rollout, number, word }).await;
        });
    }

    /// Has the present state written; nobody waits for it.
    pub(super) fn checkpoint(&mut self, rollout: &RolloutName) {
        let Some(drive) = self.drives.get_mut(rollout) else { return };
        // What stands in for a file that cannot be read must not go over it; nor must the present over a move, which is
        // in force as soon as it is written.
        if drive.number > 0 && !drive.is_stand_in && !drive.state().is_moving() {
            drive.log.requests = drive.requests(&self.recorder);
            drive.log.sessions = drive.sessions();
            self.store.keep_run(rollout.clone(), drive.kept(drive.state().clone()));
        }
    }

    fn tell(&mut self, rollout: &RolloutName, news: &News) {
        let now = clock::wall_millis();
        self.with_drive(rollout, |drive| drive.note(news));
        self.audit.keep(news::event(rollout, news, now));
        let reasons = self
            .drives
            .get(rollout)
            .map(|drive| drive.engine.judgement().reasons().map(str::to_owned).collect());
        if let Some(told) = news::notification(rollout, news, reasons.unwrap_or_default(), now) {
            self.outside.notifier.notify(&told);
        }
    }

    /// Notes when the phase or the step changed.
    fn note_phase(&mut self, rollout: &RolloutName) {
        let now_ms = clock::wall_millis();
        let changed = self.drives.get_mut(rollout).is_some_and(|drive| drive.note_phase(now_ms));
        if changed {
            self.checkpoint(rollout);
        }
    }

    /// Answers those whose move has taken effect, or will not.
    pub(super) fn answer_waiting(&mut self, rollout: &RolloutName) {
        let now = clock::now();
        let Some(drive) = self.drives.get_mut(rollout) else { return };
        if drive.waiting.is_empty() {
            return;
        }
        let late = drive.waiting.iter().all(|waiting| now >= waiting.until);
        if drive.is_on_its_way() && !late {
            return;
        }
        let answer = match &drive.unwritten {
            Some(why) => Err(CommandError::NotDurable(format!(
                "nothing goes forward, for the state cannot be kept: {why}; see the event state_write_failed"
            ))),
            None => Ok(drive.status(&self.config.borrow(), &self.recorder, self.disk_writes)),
        };
        for waiting in drive.waiting.drain(..) {
            // Whoever asked may have gone meanwhile.
            let _ = waiting.answer.send(answer.clone());
        }
    }
}

impl Drive {
    /// Notes when the phase or the step changed; whether it did.
    fn note_phase(&mut self, now_ms: u64) -> bool {
        let state = self.state();
        let place = (state.phase.label(), state.phase.stay().map(|stay| stay.step));
        if place == self.place {
            return false;
        }
        let ended = !state.phase.is_running();
        self.place = place;
        self.set_limits();
        self.log.since_ms = now_ms;
        self.log.ended_at_ms = ended.then_some(now_ms);
        true
    }

    fn recall(&mut self) {
        self.guard.recall();
        self.recalled_at = Some(clock::now());
    }

    /// Remembers the last thing that was decided.
    fn note(&mut self, news: &News) {
        match news.kind {
            NewsKind::AlertRaised
            | NewsKind::AlertResolved
            | NewsKind::Unwatched
            | NewsKind::ThresholdSet => {}
            NewsKind::Started
            | NewsKind::Advanced
            | NewsKind::Held
            | NewsKind::GateReached
            | NewsKind::AdvanceAsked
            | NewsKind::Paused
            | NewsKind::Resumed
            | NewsKind::Promoted
            | NewsKind::RolledBack
            | NewsKind::Failed
            | NewsKind::Continued
            | NewsKind::NotWritten => self.log.because.clone_from(&news.message),
        }
        if news.kind == NewsKind::RolledBack
            && let Phase::RolledBack { cause, .. } = &self.engine.state().phase
        {
            *self.rollbacks.entry(cause.kind.label()).or_default() += 1;
        }
    }
}

fn not_written(ticket: Ticket, why: &str) -> MoveAnswer {
    MoveAnswer::NotWritten { ticket, why: why.to_owned() }
}
