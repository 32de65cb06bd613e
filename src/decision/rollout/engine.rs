//! A rollout with its evidence: counters and the time go in at each tick, effects come out.
//!
//! The windows begin anew with each change of weight, so that evidence for a weight is gathered at that weight, and after
//! it has settled. Time is an argument; what it waits for, it is told.

use std::time::Duration;

use super::{
    Command, Effect, Errand, Input, NewsKind, Refused, State, Ticket, Verb, step::because,
};
use crate::{
    decision::{
        breaker::Breaker,
        judge::{AlertChange, Evidence, Judgement, Sample, judge},
        stats::Window,
    },
    domain::{
        Moment, Plan,
        condition::Externals,
        format_duration,
        plan::{PlanFault, ThresholdChange},
    },
};

/// What a running rollout has learnt since is made durable as often as this: a kill costs no more.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// A longer time without a look was not watched: the process was stopped, or its machine was. Twenty ticks of the control
/// loop, so that a busy machine on which it waits for its turn is not meant. Such a time counts as little as one in which
/// there was no process: no hold is served by it, no rule lasts through it, and evidence begins anew behind it.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// Actor of what a plan does by itself.
const AUTO_START: &str = "auto_start";

/// One rollout and what it has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    state: State,
    canary: Window,
    baseline: Window,
    breaker: Breaker,
    judgement: Judgement,
    last_tick: Option<Moment>,
    longest_look: Duration,
    /// From here on attempts are looked at; `None` until the first tick at a weight.
    settled: Option<Moment>,
    unsaved: Duration,
}

/// Why a threshold is not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetFault {
    /// The rollout does not run: its plan is the file's.
    NotRunning(&'static str),
    /// The key or the value is wrong.
    Plan(PlanFault),
}

impl std::fmt::Display for SetFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning(phase) => {
                write!(f, "the rollout does not run ({phase}): change its plan in the file")
            }
            Self::Plan(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for SetFault {}

impl Engine {
    /// A rollout in `state`. For one that was kept over a restart, see [`Self::resume`].
    pub fn new(state: State) -> Self {
        let longest = state.plan.longest_window();
        Self {
            state,
            canary: Window::new(longest),
            baseline: Window::new(longest),
            breaker: Breaker::default(),
            judgement: Judgement::default(),
            last_tick: None,
            longest_look: LONGEST_LOOK,
            settled: None,
            unsaved: Duration::ZERO,
        }
    }

    /// A rollout that goes on after a restart, and what is to be done for it.
    pub fn resume(state: State) -> (Self, Vec<Effect>) {
        let mut engine = Self::new(state);
        let effects = engine.take(Input::Restarted);
        (engine, effects)
    }

    /// The same for ticks that come as seldom as every `longest`, as those of a simulation do.
    #[must_use]
    pub fn looked_at_every(self, longest: Duration) -> Self {
        Self { longest_look: longest, ..self }
    }

    /// Where it is.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What the judge said at the last tick.
    pub const fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// How long attempts are not looked at yet, since the weight has only just changed.
    pub fn settling(&self) -> Duration {
        match (self.last_tick, self.settled) {
            (Some(now), Some(settled)) => settled.since(now),
            (None, _) | (_, None) => self.state.plan.settle,
        }
    }

    /// Time has come to `now`, and what is measured is `sample`.
    pub fn tick(&mut self, now: Moment, sample: &Sample) -> Vec<Effect> {
        let passed = self.last_tick.map_or(Duration::ZERO, |last| now.since(last));
        self.last_tick = Some(now);
        let mut effects = self.start_by_itself();
        if !self.state.phase.is_running() {
            return effects;
        }
        let watched = passed <= self.longest_look;
        let elapsed = if watched { passed } else { Duration::ZERO };
        if !watched {
            effects.push(self.begin_evidence_anew(passed));
        }
        self.state.spent = sample.spent;
        self.judgement = match self.state.phase.stay().map(|stay| stay.step) {
            Some(step) => self.look(now, step, elapsed, sample),
            None => Judgement::default(),
        };
        let changes = std::mem::take(&mut self.judgement.alerts);
        let alerts: Vec<_> = changes.iter().map(|change| self.alert(change)).collect();
        let verdict = self.judgement.verdict.clone();
        let mut moved = self.take(Input::Tick { elapsed, verdict });
        // What the verdict does to the weights comes before whatever there is to tell, and alerts before what came of them.
        let traffic =
            |effect: &Effect| matches!(effect, Effect::SetWeight(_) | Effect::RecallCanary);
        let rest = moved.split_off(moved.iter().take_while(|effect| traffic(effect)).count());
        effects.extend(moved.into_iter().chain(alerts).chain(rest));
        self.save(elapsed, &mut effects);
        effects
    }

    /// An operator wants something.
    ///
    /// # Errors
    /// [`Refused`] where it does not fit the phase; then nothing has changed.
    pub fn command(&mut self, command: Command) -> Result<Vec<Effect>, Refused> {
        let begins = command.verb == Verb::Start;
        let effects = self.state.step(Input::Command(command))?;
        if begins {
            // Nobody looks at a rollout that does not run: the time since is none of this run's.
            self.last_tick = None;
        }
        self.follow(&effects);
        Ok(effects)
    }

    /// An errand has ended.
    pub fn done(&mut self, errand: Errand, passed: bool, detail: impl Into<String>) -> Vec<Effect> {
        self.take(Input::Done { errand, passed, detail: detail.into() })
    }

    /// What `ticket` stands for is durable.
    pub fn persisted(&mut self, ticket: Ticket) -> Vec<Effect> {
        self.take(Input::Persisted(ticket))
    }

    /// What `ticket` stands for could not be written.
    pub fn persist_failed(&mut self, ticket: Ticket, why: impl Into<String>) -> Vec<Effect> {
        self.take(Input::PersistFailed { ticket, why: why.into() })
    }

    /// Changes a threshold of the running plan by hand.
    ///
    /// # Errors
    /// [`SetFault`], and nothing has changed.
    pub fn set(
        &mut self,
        key: &str,
        value: &str,
        actor: &str,
        reason: &str,
        externals: Externals<'_>,
    ) -> Result<(ThresholdChange, Vec<Effect>), SetFault> {
        if !self.state.phase.is_running() {
            return Err(SetFault::NotRunning(self.state.phase.label()));
        }
        let change = self.state.plan.set(key, value, externals).map_err(SetFault::Plan)?;
        let longest = self.state.plan.longest_window();
        self.canary.look_back(longest);
        self.baseline.look_back(longest);
        let message = format!("{change}{}", because(reason));
        let mut news = self.state.news(NewsKind::ThresholdSet, Some(actor), message);
        news.before = Some(change.before.clone());
        news.after = Some(change.after.clone());
        let mut effects = vec![Effect::Tell(Box::new(news))];
        if !self.state.is_moving() {
            effects.insert(0, Effect::Checkpoint);
        }
        Ok((change, effects))
    }

    /// Takes another plan, unless one is being followed; says whether it did.
    pub fn replan(&mut self, plan: Plan) -> bool {
        self.state.replan(plan)
    }

    fn start_by_itself(&mut self) -> Vec<Effect> {
        let idle = matches!(self.state.phase, super::Phase::Idle);
        if !idle || !self.state.plan.auto_start {
            return Vec::new();
        }
        let (actor, reason) = (AUTO_START.to_owned(), String::new());
        self.take(Input::Command(Command { verb: Verb::Start, actor, reason }))
    }

    fn look(&mut self, now: Moment, step: usize, elapsed: Duration, sample: &Sample) -> Judgement {
        let plan = &self.state.plan;
        self.breaker.mark(now, &sample.canary, &sample.baseline, plan.breaker.within);
        let settled = *self.settled.get_or_insert(now + plan.settle);
        if now >= settled {
            self.canary.mark(now, &sample.canary);
            self.baseline.mark(now, &sample.baseline);
        }
        let reflex = self.breaker.trips(&plan.breaker, sample.failures_in_a_row);
        let (canary, baseline) = (&self.canary, &self.baseline);
        let evidence = Evidence { plan, canary, baseline, sample };
        judge(&evidence, step, &mut self.state.clocks, elapsed, reflex)
    }

    fn alert(&self, change: &AlertChange) -> Effect {
        let (kind, message) = if change.raised {
            (NewsKind::AlertRaised, change.reading.to_string())
        } else {
            (NewsKind::AlertResolved, format!("over: {}", change.reading))
        };
        let mut news = self.state.news(kind, None, message);
        news.severity = change.severity;
        news.rule.clone_from(&change.reading.condition);
        Effect::Tell(Box::new(news))
    }

    /// Inputs that are never refused.
    fn take(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.state.step(input).unwrap_or_default();
        self.follow(&effects);
        effects
    }

    /// Evidence of another weight is no evidence for the present one.
    fn follow(&mut self, effects: &[Effect]) {
        if !effects.iter().any(|effect| matches!(effect, Effect::SetWeight(_))) {
            return;
        }
        self.restart_windows();
        self.breaker.restart();
        // The last look before an end stays: it says why.
        if self.state.phase.is_running() {
            self.judgement = Judgement::default();
        }
    }

    fn restart_windows(&mut self) {
        let longest = self.state.plan.longest_window();
        self.canary.restart(longest);
        self.baseline.restart(longest);
        self.settled = None;
    }

    /// After a time that was not watched: what was under way then ends late, and says nothing of the canary. The breaker goes
    /// on: it must see failures even on a machine so busy that looks are rare.
    fn begin_evidence_anew(&mut self, gap: Duration) -> Effect {
        self.restart_windows();
        let gap = format_duration(Duration::from_millis(gap.as_millis() as u64));
        let message = format!(
            "nobody looked for {gap}, as when the process is stopped: that time counts for nothing, and evidence begins anew"
        );
        self.state.tell(NewsKind::Unwatched, None, message)
    }

    /// Asks for a checkpoint when one is due and no move is under way, whose own record would be overwritten by it.
    fn save(&mut self, elapsed: Duration, effects: &mut Vec<Effect>) {
        self.unsaved = self.unsaved.saturating_add(elapsed);
        let asked = effects.iter().any(|effect| matches!(effect, Effect::Checkpoint));
        if asked {
            self.unsaved = Duration::ZERO;
        } else if self.unsaved >= CHECKPOINT_EVERY
            && self.state.phase.is_running()
            && !self.state.is_moving()
        {
            self.unsaved = Duration::ZERO;
            effects.push(Effect::Checkpoint);
        }
    }
}
