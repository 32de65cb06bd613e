//! What must never happen, held after each step of a life.

use std::time::Duration;

use tidegate::{
    decision::{
        condition::Reading,
        judge::Clocks,
        rollout::{Effect, Phase},
    },
    domain::{Moment, Verdict, Weight, plan::OnThinTraffic, verdict::Lack},
};

use super::World;

/// The time after a change of weight that no evidence is taken from, as this world knows it.
#[derive(Debug, Default)]
pub(super) struct Settling {
    over: Option<Moment>,
    /// The canary's judged attempts at the first look after it.
    before: Option<u64>,
}

impl Settling {
    /// A look at `now`, with so many judged attempts; gives those that are evidence, where there was a look before.
    fn look(&mut self, now: Moment, settle: Duration, judged: u64) -> Option<u64> {
        let over = *self.over.get_or_insert(now + settle);
        if now < over {
            return None;
        }
        let begun = self.before.map(|before| judged - before);
        self.before.get_or_insert(judged);
        begun
    }
}

impl World {
    /// No rule has lasted through a time in which nobody looked.
    pub(super) fn check_clocks(&self, before: &Clocks) {
        let lasted = |clocks: &Clocks| -> Vec<Duration> {
            let alerts = clocks.alerts.iter().map(|alert| alert.clock.lasted);
            clocks.rollback.iter().map(|clock| clock.lasted).chain(alerts).collect()
        };
        let (before, now) = (lasted(before), lasted(&self.state().clocks));
        let grew = now.iter().zip(&before).any(|(now, before)| now > before);
        assert!(!grew, "a rule lasted while nobody looked: {before:?}, {now:?}");
    }

    /// What came before the weight had settled is no evidence, and nothing leads on from a step before there is some.
    pub(super) fn check_settling(&mut self, before: &Phase, effects: &[Effect]) {
        if before.stay().is_none() {
            return;
        }
        let judged = self.canary.totals.judged();
        let settled = self.settling.look(self.now, self.state().plan.settle, judged);
        let forward = |effect: &Effect| matches!(effect, Effect::Persist { .. } | Effect::Run(_));
        let moved = effects.iter().any(forward) && !self.meddled && self.weight > Weight::ZERO;
        assert!(!moved || settled.is_some(), "{effects:?} before the weight had settled");
        let counted = |reading: &&Reading| reading.condition.starts_with("requests >=");
        for reading in self.engine.judgement().criteria.iter().filter(counted) {
            let expected = settled.map(|requests| requests as f64);
            assert_eq!(reading.left, expected, "{} since the weight settled", reading.condition);
        }
    }

    /// A tick in doubt begins nothing that would lead on from a step.
    pub(super) fn check_doubt(&self, before: &Phase, effects: &[Effect]) {
        let verdict = &self.engine.judgement().verdict;
        let thin = self.state().plan.on_thin_traffic == OnThinTraffic::Advance
            && *verdict == Verdict::Inconclusive(Lack::Traffic);
        let doubt = matches!(verdict, Verdict::Inconclusive(_)) && !thin && !self.meddled;
        let forward = |effect: &Effect| matches!(effect, Effect::Persist { .. } | Effect::Run(_));
        let moved = effects.iter().any(forward);
        assert!(!(doubt && moved && before.stay().is_some()), "{effects:?} in doubt: {verdict:?}");
    }

    /// What holds after each step of a life that was at `before`.
    pub(super) fn check(&mut self, before: Option<usize>) {
        let state = self.engine.state();
        assert!(state.is_sound());
        if let Some(weight) = state.weight() {
            assert_eq!(weight, self.weight, "{:?}", state.phase);
        }
        let now = state.phase.stay().map(|stay| stay.step);
        if let (Some(before), Some(now)) = (before, now)
            && now != before
        {
            assert_eq!(now, before + 1, "a step was left out");
            let hold = state.plan.steps[before].hold;
            let served = self.served;
            assert!(self.meddled || served >= hold, "step {before} took {served:?} of {hold:?}");
            assert!(
                self.meddled || !state.plan.steps[before].gate,
                "gate {before} opened by itself"
            );
        }
        if now != before {
            (self.served, self.meddled) = (Duration::ZERO, false);
        }
    }
}
