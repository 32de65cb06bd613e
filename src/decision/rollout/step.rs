//! From one phase to the next.

use std::time::Duration;

use super::{
    Command, Effect, Errand, Errands, Hold, Input, NewsKind, PauseCause, Phase, Refused, State,
    Stay, Verb, state::Target,
};
use crate::{
    decision::judge::{Clocks, Spent},
    domain::{
        HookPoint, Verdict, Weight,
        plan::{OnFailure, OnThinTraffic},
        verdict::{Cause, CauseKind, Lack},
    },
};

impl State {
    /// Takes one input and says what is to be done.
    ///
    /// # Errors
    /// [`Refused`] for a command that does not fit the phase; then nothing has changed. Other inputs always fit.
    pub fn step(&mut self, input: Input) -> Result<Vec<Effect>, Refused> {
        let mut effects = self.transition(input)?;
        if self.is_moving() {
            // It would go over the record of the move, which may be durable already; the move's end makes up for it.
            effects.retain(|effect| *effect != Effect::Checkpoint);
        }
        Ok(effects)
    }

    fn transition(&mut self, input: Input) -> Result<Vec<Effect>, Refused> {
        let input = self.pass_time(input);
        let stay = self.phase.stay().cloned();
        Ok(match (&self.phase, input) {
            (Phase::Checking { .. }, Input::Tick { verdict: Verdict::Fail(cause), .. }) => {
                self.end_before_traffic(cause)
            }
            (Phase::Checking { errands }, Input::Tick { .. }) => self.prepare(*errands),
            (
                Phase::Baking(_)
                | Phase::Holding { .. }
                | Phase::AwaitingGate(_)
                | Phase::Paused { .. },
                Input::Tick { verdict: Verdict::Fail(cause), .. },
            ) => self.fail(cause),
            (
                Phase::Baking(stay) | Phase::Holding { stay, .. } | Phase::AwaitingGate(stay),
                Input::Tick { elapsed, verdict },
            ) => self.tend(stay.clone(), elapsed, &verdict),
            (
                Phase::Idle
                | Phase::Paused { .. }
                | Phase::Promoted
                | Phase::RolledBack { .. }
                | Phase::Failed { .. },
                Input::Tick { .. },
            ) => Vec::new(),
            (_, Input::Command(command)) => return self.obey(command, stay),
            (Phase::Checking { errands }, Input::Done { errand, passed, detail }) => {
                self.prepared(*errands, errand, passed, &detail)
            }
            (_, Input::Done { errand, passed, detail }) => match stay {
                Some(stay) => self.errand_done(stay, errand, passed, &detail),
                None => Vec::new(),
            },
            (_, Input::Persisted(ticket)) => self.arrive_durably(ticket),
            (_, Input::PersistFailed { ticket, why }) => self.stay_undurably(ticket, &why),
            (_, Input::Restarted) => self.go_on(),
        })
    }

    /// The commands that fit the phase.
    pub const fn fitting(&self) -> &'static [Verb] {
        match self.phase {
            Phase::Idle | Phase::RolledBack { .. } | Phase::Failed { .. } => &[Verb::Start],
            Phase::Checking { .. } | Phase::Promoted => &[Verb::Rollback],
            Phase::Baking(_) | Phase::Holding { .. } | Phase::AwaitingGate(_) => {
                &[Verb::Pause, Verb::Advance, Verb::Promote, Verb::Rollback]
            }
            Phase::Paused { .. } => &[Verb::Resume, Verb::Promote, Verb::Rollback],
        }
    }

    fn obey(&mut self, command: Command, stay: Option<Stay>) -> Result<Vec<Effect>, Refused> {
        let refused =
            Refused { verb: command.verb, phase: self.phase.label(), fits: self.fitting() };
        if !refused.fits.contains(&command.verb) {
            return Err(refused);
        }
        match (command.verb, stay) {
            (Verb::Start, _) => Ok(self.start(&command)),
            (Verb::Rollback, _) => Ok(self.roll_back(operators(&command), Some(&command.actor))),
            (Verb::Pause, Some(stay)) => Ok(self.pause(stay, &command)),
            (Verb::Resume, Some(stay)) => Ok(self.resume(stay, &command)),
            (Verb::Advance, Some(stay)) => Ok(self.hurry(stay, &command)),
            (Verb::Promote, Some(_)) => {
                Ok(self.begin_move(Target::Promoted, Some(command.actor), command.reason))
            }
            (Verb::Pause | Verb::Resume | Verb::Advance | Verb::Promote, None) => Err(refused),
        }
    }

    /// Counts the time of a tick, and makes it a failure when it passes the deadline.
    fn pass_time(&mut self, input: Input) -> Input {
        let Input::Tick { elapsed, verdict } = input else { return input };
        if !self.phase.is_running() {
            return Input::Tick { elapsed, verdict };
        }
        self.elapsed = self.elapsed.saturating_add(elapsed);
        self.blocked = self.blocked.map(|left| left.saturating_sub(elapsed));
        let deadline = self.plan.deadline.value().filter(|deadline| self.elapsed > deadline.0);
        match deadline {
            Some(deadline) if !self.overdue => {
                self.overdue = true;
                let cause =
                    Cause::new(CauseKind::Deadline, format!("it was to be over after {deadline}"));
                Input::Tick { elapsed, verdict: verdict.worst(Verdict::Fail(cause)) }
            }
            Some(_) | None => Input::Tick { elapsed, verdict },
        }
    }

    fn start(&mut self, command: &Command) -> Vec<Effect> {
        self.phase = Phase::Checking { errands: Errands::default() };
        self.elapsed = Duration::ZERO;
        self.clocks = Clocks::new(&self.plan);
        self.spent = Spent::default();
        self.overdue = false;
        self.pending = None;
        self.blocked = None;
        let message = format!(
            "checks before {} gets traffic of route {}{}",
            self.plan.canary,
            self.plan.route,
            because(&command.reason)
        );
        let mut effects = vec![
            Effect::SetWeight(Weight::ZERO),
            Effect::Checkpoint,
            self.tell(NewsKind::Started, Some(&command.actor), message),
        ];
        effects.extend(self.prepare(Errands::default()));
        effects
    }

    /// Before the first step: the next errand, or the move to the first step.
    fn prepare(&mut self, mut errands: Errands) -> Vec<Effect> {
        let list = Errand::before_start();
        let begun = errands.begin(&list);
        self.phase = Phase::Checking { errands };
        match begun {
            Some(errand) => vec![Effect::Run(errand)],
            None if errands.are_done(&list) => self.begin_move_unless_blocked(Target::Step(0)),
            None => Vec::new(),
        }
    }

    fn prepared(
        &mut self,
        mut errands: Errands,
        errand: Errand,
        passed: bool,
        detail: &str,
    ) -> Vec<Effect> {
        if !errands.answer(&Errand::before_start(), errand, passed) {
            return Vec::new();
        }
        if passed {
            return self.prepare(errands);
        }
        let kind = match errand {
            Errand::Checks(_) => CauseKind::Check,
            Errand::Hooks { .. } => CauseKind::Hook,
        };
        self.end_before_traffic(Cause::new(kind, detail))
    }

    fn end_before_traffic(&mut self, cause: Cause) -> Vec<Effect> {
        let message = format!("ended before {} got any traffic: {cause}", self.plan.canary);
        self.phase = Phase::Failed { cause };
        self.pending = None;
        vec![
            Effect::SetWeight(Weight::ZERO),
            Effect::Checkpoint,
            self.tell(NewsKind::Failed, None, message),
        ]
    }

    fn fail(&mut self, cause: Cause) -> Vec<Effect> {
        if self.plan.on_failure == OnFailure::Rollback {
            return self.roll_back(cause, None);
        }
        if matches!(self.phase, Phase::Paused { why: PauseCause::Failure(_), .. }) {
            return Vec::new();
        }
        let Some(stay) = self.phase.stay().cloned() else { return Vec::new() };
        let message = format!("the canary fails, and the plan says to pause: {cause}");
        self.phase = Phase::Paused { stay, why: PauseCause::Failure(cause) };
        self.pending = None;
        vec![Effect::Checkpoint, self.tell(NewsKind::Paused, None, message)]
    }

    /// Traffic first; whatever else there is to do comes after it.
    fn roll_back(&mut self, cause: Cause, actor: Option<&str>) -> Vec<Effect> {
        let step = self.phase.stay().map(|stay| stay.step);
        let before = self.step_name().cloned();
        let message = format!("all traffic is back on {}: {cause}", self.plan.baseline);
        self.phase = Phase::RolledBack { cause, step };
        self.pending = None;
        let mut news = self.news(NewsKind::RolledBack, actor, message);
        news.step = before;
        vec![
            Effect::SetWeight(Weight::ZERO),
            Effect::RecallCanary,
            Effect::Checkpoint,
            Effect::Tell(Box::new(news)),
            Effect::CallHooks(HookPoint::Rollback),
        ]
    }

    fn pause(&mut self, mut stay: Stay, command: &Command) -> Vec<Effect> {
        stay.hurried = false;
        self.phase = Phase::Paused { stay, why: PauseCause::Operator };
        self.pending = None;
        let message = format!("nothing moves by itself but a rollback{}", because(&command.reason));
        vec![Effect::Checkpoint, self.tell(NewsKind::Paused, Some(&command.actor), message)]
    }

    fn resume(&mut self, stay: Stay, command: &Command) -> Vec<Effect> {
        self.phase = Phase::Baking(stay);
        self.pending = None;
        let message = format!("goes on where it was{}", because(&command.reason));
        vec![Effect::Checkpoint, self.tell(NewsKind::Resumed, Some(&command.actor), message)]
    }

    /// Skips what is left of the hold and its criteria; hooks and checks are not skipped, a failed one is tried again.
    fn hurry(&mut self, mut stay: Stay, command: &Command) -> Vec<Effect> {
        stay.hurried = true;
        if stay.errands.have_failed() {
            stay.errands.again();
        }
        let message = format!("an operator lets it go on{}", because(&command.reason));
        let news = self.tell(NewsKind::AdvanceAsked, Some(&command.actor), message);
        let mut effects = vec![Effect::Checkpoint, news];
        effects.extend(self.tend(stay, Duration::ZERO, &Verdict::Inconclusive(Lack::Criteria)));
        effects
    }

    /// Time passes at a step: it ends when its time is served, its criteria are met, its gate is open, its errands are
    /// done, and the next one is durable; in this order.
    fn tend(&mut self, mut stay: Stay, elapsed: Duration, verdict: &Verdict) -> Vec<Effect> {
        stay.served = stay.served.saturating_add(elapsed);
        stay.errands.wait(elapsed);
        if self.pending.as_ref().is_some_and(|pending| pending.actor.is_some()) {
            return self.remain(stay);
        }
        let Some(step) = self.plan.steps.get(stay.step) else { return Vec::new() };
        let gate = step.gate;
        if stay.served < step.hold && !stay.hurried {
            let effects = self.cancel_move();
            self.phase = Phase::Baking(stay);
            return effects;
        }
        let lack = match verdict {
            Verdict::Pass | Verdict::Fail(_) => None,
            Verdict::Inconclusive(Lack::Traffic)
                if self.plan.on_thin_traffic == OnThinTraffic::Advance =>
            {
                None
            }
            Verdict::Inconclusive(lack) => Some(*lack),
        };
        let at_gate = matches!(self.phase, Phase::AwaitingGate(_));
        match lack.filter(|_| !stay.hurried) {
            Some(_) if at_gate => self.remain(stay),
            Some(lack) => self.hold(stay, Hold::Lack(lack), None),
            None if gate && !stay.hurried => self.await_gate(stay, at_gate),
            None => self.leave(stay),
        }
    }

    fn await_gate(&mut self, stay: Stay, already: bool) -> Vec<Effect> {
        self.phase = Phase::AwaitingGate(stay);
        if already {
            return Vec::new();
        }
        let message = "all criteria are met; `tidegate advance` lets it go on".to_owned();
        vec![Effect::Checkpoint, self.tell(NewsKind::GateReached, None, message)]
    }

    /// Nothing is missing: errands, then the move.
    fn leave(&mut self, mut stay: Stay) -> Vec<Effect> {
        let last = self.plan.last_step();
        let (list, target) = if stay.step < last {
            (Errand::between(stay.step), Target::Step(stay.step + 1))
        } else {
            (Errand::before_promotion(last), Target::Promoted)
        };
        if stay.errands.are_done(&list) {
            let effects = self.begin_move_unless_blocked(target);
            let why = if self.blocked.is_some() { Hold::NotWritten } else { Hold::Writing };
            self.phase = Phase::Holding { stay, why };
            return effects;
        }
        let begun = stay.errands.begin(&list);
        let why = if stay.errands.have_failed() { Hold::ErrandFailed } else { Hold::Errand };
        self.phase = Phase::Holding { stay, why };
        begun.map(Effect::Run).into_iter().collect()
    }

    fn errand_done(
        &mut self,
        mut stay: Stay,
        errand: Errand,
        passed: bool,
        detail: &str,
    ) -> Vec<Effect> {
        let last = self.plan.last_step();
        let list = if stay.step < last {
            Errand::between(stay.step)
        } else {
            Errand::before_promotion(last)
        };
        if !stay.errands.answer(&list, errand, passed) {
            return Vec::new();
        }
        if passed || !matches!(self.phase, Phase::Holding { .. }) {
            return self.remain(stay);
        }
        self.hold(stay, Hold::ErrandFailed, Some(detail))
    }

    /// Holding for `why`; each lack is told once a stay, a failed errand each time.
    fn hold(&mut self, mut stay: Stay, why: Hold, detail: Option<&str>) -> Vec<Effect> {
        let mut effects = self.cancel_move();
        let is_news = match why {
            Hold::Lack(lack) if stay.told.contains(&lack) => false,
            Hold::Lack(lack) => {
                stay.told.push(lack);
                true
            }
            Hold::ErrandFailed | Hold::NotWritten => true,
            Hold::Errand | Hold::Writing => false,
        };
        self.phase = Phase::Holding { stay, why };
        if is_news {
            let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
            let message = format!("does not go on: {}{detail}", why.described());
            effects.push(Effect::Checkpoint);
            effects.push(self.tell(NewsKind::Held, None, message));
        }
        effects
    }

    /// The same phase with the stay as it is now.
    fn remain(&mut self, now: Stay) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Baking(stay)
            | Phase::Holding { stay, .. }
            | Phase::AwaitingGate(stay)
            | Phase::Paused { stay, .. } => *stay = now,
            Phase::Idle
            | Phase::Checking { .. }
            | Phase::Promoted
            | Phase::RolledBack { .. }
            | Phase::Failed { .. } => {}
        }
        Vec::new()
    }
}

fn operators(command: &Command) -> Cause {
    let reason = if command.reason.is_empty() { "no reason given" } else { &command.reason };
    Cause::new(CauseKind::Operator, format!("{}: {reason}", command.actor))
}

/// `: reason`, or nothing.
pub(super) fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}
