//! Moves forward: durable first, then in the data plane, then told.

use std::time::Duration;

use super::{
    Effect, Errands, Hold, News, NewsKind, Phase, Progress, State, Stay, Ticket,
    state::{Pending, Target},
};
use crate::domain::{HookPoint, Weight, format_duration};

/// A move that could not be made durable is tried again after this.
const WRITE_RETRY: Duration = Duration::from_secs(5);

impl State {
    /// Asks for the state behind a move to be made durable; the move itself waits for the answer.
    pub(super) fn begin_move(
        &mut self,
        target: Target,
        actor: Option<String>,
        reason: String,
    ) -> Vec<Effect> {
        if self.pending.as_ref().is_some_and(|pending| pending.target == target) {
            return Vec::new();
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut kept = self.clone();
        kept.arrive(target);
        kept.pending = None;
        self.pending = Some(Pending { ticket, target, actor, reason });
        vec![Effect::Persist { ticket, state: Box::new(kept) }]
    }

    /// The same for a move of the rollout's own, which after a failed write waits for a while.
    pub(super) fn begin_move_unless_blocked(&mut self, target: Target) -> Vec<Effect> {
        match self.blocked {
            Some(left) if !left.is_zero() => Vec::new(),
            Some(_) | None => self.begin_move(target, None, String::new()),
        }
    }

    /// Gives a move up whose state may be durable already: what is kept is set right.
    pub(super) fn cancel_move(&mut self) -> Vec<Effect> {
        self.pending.take().map(|_| Effect::Checkpoint).into_iter().collect()
    }

    /// A move is durable: now it happens.
    pub(super) fn arrive_durably(&mut self, ticket: Ticket) -> Vec<Effect> {
        let Some(pending) = self.pending.take_if(|pending| pending.ticket == ticket) else {
            return Vec::new();
        };
        self.blocked = None;
        self.arrive(pending.target);
        let weight = self.weight().unwrap_or(Weight::ZERO);
        let mut effects = vec![Effect::SetWeight(weight)];
        let actor = pending.actor.as_deref();
        let why =
            if pending.reason.is_empty() { String::new() } else { format!(": {}", pending.reason) };
        match pending.target {
            Target::Step(step) => {
                effects.push(self.tell(NewsKind::Advanced, actor, self.step_message(step)));
            }
            Target::Promoted => {
                let message = format!("{} is the baseline now{why}", self.plan.canary);
                effects.push(self.tell(NewsKind::Promoted, actor, message));
                effects.push(Effect::CallHooks(HookPoint::Promote));
            }
        }
        // What was learnt or set by hand meanwhile.
        effects.push(Effect::Checkpoint);
        effects
    }

    /// A move is not durable: it does not happen.
    pub(super) fn stay_undurably(&mut self, ticket: Ticket, why: &str) -> Vec<Effect> {
        if self.pending.take_if(|pending| pending.ticket == ticket).is_none() {
            return Vec::new();
        }
        let told = self.blocked.replace(WRITE_RETRY).is_some();
        if let Phase::Baking(stay) | Phase::Holding { stay, .. } | Phase::AwaitingGate(stay) =
            &self.phase
        {
            self.phase = Phase::Holding { stay: stay.clone(), why: Hold::NotWritten };
        }
        // Where the move would have led may be on its way to the disk all the same: what is so goes over it.
        let mut effects = vec![Effect::Checkpoint];
        if !told {
            let message = format!("nothing goes forward, for the state cannot be kept: {why}");
            effects.push(self.tell(NewsKind::NotWritten, None, message));
        }
        effects
    }

    /// After a restart: the weights of the state that was kept, and errands that were cut off again.
    pub(super) fn go_on(&mut self) -> Vec<Effect> {
        self.pending = None;
        self.blocked = None;
        let again = |errands: &mut Errands| {
            if errands.next == Progress::Running {
                errands.again();
            }
        };
        match &mut self.phase {
            Phase::Checking { errands } => again(errands),
            Phase::Baking(stay)
            | Phase::Holding { stay, .. }
            | Phase::AwaitingGate(stay)
            | Phase::Paused { stay, .. } => again(&mut stay.errands),
            Phase::Idle | Phase::Promoted | Phase::RolledBack { .. } | Phase::Failed { .. } => {}
        }
        let mut effects: Vec<_> = self.weight().map(Effect::SetWeight).into_iter().collect();
        if self.phase.is_running() {
            let message = format!("goes on after a restart, {}", self.phase.label());
            effects.push(self.tell(NewsKind::Continued, None, message));
        }
        effects
    }

    /// The phase behind a move.
    fn arrive(&mut self, target: Target) {
        self.phase = match target {
            Target::Step(step) => Phase::Baking(Stay::at(step)),
            Target::Promoted => Phase::Promoted,
        };
    }

    fn step_message(&self, step: usize) -> String {
        let Some(planned) = self.plan.steps.get(step) else { return String::new() };
        format!(
            "step {} of {}, {}: {} gets {} % for at least {}",
            step + 1,
            self.plan.steps.len(),
            planned.name,
            self.plan.canary,
            planned.weight,
            format_duration(planned.hold)
        )
    }

    pub(super) fn tell(&self, kind: NewsKind, actor: Option<&str>, message: String) -> Effect {
        Effect::Tell(Box::new(self.news(kind, actor, message)))
    }

    pub(super) fn news(&self, kind: NewsKind, actor: Option<&str>, message: String) -> News {
        News {
            kind,
            severity: kind.severity(),
            actor: actor.map(str::to_owned),
            step: self.step_name().cloned(),
            weight: self.weight().unwrap_or(Weight::ZERO),
            before: None,
            after: None,
            message,
            rule: String::new(),
        }
    }
}
