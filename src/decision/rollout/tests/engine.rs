//! The engine: what it looks at after a change of weight, what it keeps, and what it lets an operator change.

use std::time::Duration;

use super::{super::*, news, weights};
use crate::{
    decision::{judge::Sample, stats::Totals},
    domain::{
        Condition, Moment, Plan, Verdict, Weight,
        condition::Externals,
        plan::{Breaker, Limit, Rule, Span, tests::plan},
        verdict::{CauseKind, Lack},
    },
};

/// An engine and its clock.
struct Bench {
    engine: Engine,
    now: Moment,
    sample: Sample,
}

impl Bench {
    fn started(plan: Plan) -> Self {
        let mut bench = Self {
            engine: Engine::new(State::idle(plan)),
            now: Moment::default(),
            sample: Sample::default(),
        };
        let start = Command { verb: Verb::Start, actor: "x".into(), reason: String::new() };
        let mut effects = bench.engine.command(start).unwrap();
        for _ in 0..10 {
            effects = bench.answered(effects);
            effects.extend(bench.tick(0, 0, 0));
        }
        assert!(matches!(bench.engine.state().phase, Phase::Baking(_)));
        bench
    }

    fn answered(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut more = Vec::new();
        for effect in effects {
            if let Effect::Run(errand) = effect {
                more.extend(self.engine.done(errand, true, ""));
            } else if let Effect::Persist { ticket, .. } = effect {
                more.extend(self.engine.persisted(ticket));
            }
        }
        more
    }

    /// A tick after `millis`, with so many more good and bad attempts of the canary, and ticks without any before it, so
    /// that all the time is watched.
    fn tick(&mut self, millis: u64, good: u64, bad: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..millis.saturating_sub(1) / 2_000 {
            self.now = self.now + Duration::from_secs(2);
            effects.extend(self.engine.tick(self.now, &self.sample));
        }
        let rest = millis - millis.saturating_sub(1) / 2_000 * 2_000;
        effects.extend(self.tick_at_once(rest, good, bad));
        effects
    }

    /// One tick, with nobody looking for `millis` before it.
    fn tick_at_once(&mut self, millis: u64, good: u64, bad: u64) -> Vec<Effect> {
        self.now = self.now + Duration::from_millis(millis);
        self.sample.canary.success += good;
        self.sample.canary.failure += bad;
        self.sample.baseline.success += good + bad;
        self.sample.canary.total.histogram.add(500, good + bad);
        self.sample.baseline.total.histogram.add(500, good + bad);
        self.engine.tick(self.now, &self.sample)
    }

    fn verdict(&self) -> &Verdict {
        &self.engine.judgement().verdict
    }
}

#[test]
fn what_comes_while_the_weight_settles_is_not_judged() {
    let mut bench = Bench::started(plan());
    bench.tick(1_000, 900, 100);
    assert_eq!(*bench.verdict(), Verdict::Inconclusive(Lack::Settling));
    bench.tick(1_000, 0, 0);
    bench.tick(1_000, 100, 0);
    assert_eq!(*bench.verdict(), Verdict::Pass, "{:?}", bench.engine.judgement());
    assert_eq!(bench.engine.settling(), Duration::ZERO);
}

#[test]
fn the_breaker_does_not_wait_for_the_weight_to_settle() {
    let mut bench = Bench::started(plan());
    bench.tick(100, 0, 0);
    let effects = bench.tick(100, 10, 10);
    assert_eq!(weights(&effects), [Weight::ZERO]);
    let Phase::RolledBack { cause, .. } = &bench.engine.state().phase else { panic!("it goes on") };
    assert_eq!(cause.kind, CauseKind::Breaker);
    assert_eq!(bench.verdict().level(), -1, "the last look says why");
}

#[test]
fn evidence_of_another_weight_is_left_behind() {
    let mut bench = Bench::started(plan());
    for _ in 0..200 {
        let mut open = bench.tick(4_000, 1_000, 0);
        while !open.is_empty() {
            open = bench.answered(open);
        }
        if bench.engine.state().phase.stay().is_some_and(|stay| stay.step == 1) {
            break;
        }
    }
    assert_eq!(bench.engine.state().step_name().unwrap().as_str(), "full");
    assert_eq!(*bench.verdict(), Verdict::Inconclusive(Lack::Settling));
    // Counters of the new weight begin anew: they are not held against those of the old one.
    bench.sample.canary = Totals::default();
    bench.tick(100, 0, 0);
    bench.tick(2_000, 0, 0);
    bench.tick(1_000, 40, 0);
    assert_eq!(*bench.verdict(), Verdict::Inconclusive(Lack::Traffic));
}

/// The process was stopped, or its machine: what happened meanwhile is no evidence, for nobody looked.
#[test]
fn a_time_that_nobody_watched_serves_no_hold_and_makes_no_rule_true() {
    let lasting = Plan {
        rollback: vec![Rule {
            when: Condition::parse("requests[1m] > 40", Externals::Unchecked).unwrap(),
            lasting: Duration::from_mins(5),
            steps: Vec::new(),
        }],
        deadline: Limit::At(Span(Duration::from_hours(1))),
        breaker: Breaker { of_at_least: 1_000_000, ..plan().breaker },
        ..plan()
    };
    let mut bench = Bench::started(lasting);
    bench.tick(2_000, 0, 0);
    bench.tick(2_000, 50, 0);
    bench.tick(60_000 - 4_000, 50, 0);
    let before = bench.engine.state().clone();
    assert!(before.clocks.rollback[0].is_true);
    let told = bench.tick_at_once(3_600_000, 500, 500);
    let after = bench.engine.state();
    assert_eq!(news(&told), [NewsKind::Unwatched], "{told:?}");
    assert_eq!((after.left(), &after.clocks), (before.left(), &before.clocks));
    assert_eq!(after.elapsed, before.elapsed, "nor does it count for the deadline");
    assert_eq!(*bench.verdict(), Verdict::Inconclusive(Lack::Settling));
    bench.tick(2_000, 0, 0);
    bench.tick(1_000, 1, 0);
    let requests = &bench.engine.judgement().rules[0].reading;
    assert_eq!(requests.left, Some(1.0), "evidence began anew, after settling");
}

#[test]
fn a_look_that_is_a_little_late_counts_and_the_time_before_a_start_is_not_the_runs() {
    let mut bench = Bench::started(plan());
    let served = bench.engine.state().left();
    assert_eq!(news(&bench.tick_at_once(2_000, 0, 0)), []);
    assert_eq!(bench.engine.state().left(), served.map(|left| left - Duration::from_secs(2)));
    let command = |verb| Command { verb, actor: "x".into(), reason: String::new() };
    bench.engine.command(command(Verb::Rollback)).unwrap();
    bench.now = bench.now + Duration::from_hours(9);
    bench.engine.command(command(Verb::Start)).unwrap();
    assert_eq!(bench.tick(0, 0, 0), []);
    assert_eq!(bench.engine.state().elapsed, Duration::ZERO);
}

#[test]
fn what_it_has_learnt_is_kept_each_second() {
    let mut bench = Bench::started(plan());
    let kept = (0..100).filter(|_| bench.tick(100, 1, 0).contains(&Effect::Checkpoint)).count();
    assert!((9..=11).contains(&kept), "{kept} times in ten seconds");
}

#[test]
fn a_plan_may_begin_by_itself_once() {
    let auto = Plan { auto_start: true, ..plan() };
    let mut engine = Engine::new(State::idle(auto));
    let effects = engine.tick(Moment::default(), &Sample::default());
    assert_eq!(news(&effects), [NewsKind::Started]);
    let back = Command { verb: Verb::Rollback, actor: "x".into(), reason: String::new() };
    engine.command(back).unwrap();
    assert_eq!(engine.tick(Moment::from_nanos(1), &Sample::default()), []);
}

#[test]
fn thresholds_of_a_running_rollout_alone_can_be_set() {
    let mut idle = Engine::new(State::idle(plan()));
    let refused = idle.set("min_requests", "5", "x", "", Externals::Unchecked).unwrap_err();
    assert_eq!(refused, SetFault::NotRunning("idle"));
    let mut bench = Bench::started(plan());
    let (change, effects) = bench
        .engine
        .set("budget.max_bad_responses", "5", "uid:1000", "", Externals::Unchecked)
        .unwrap();
    assert_eq!(change.to_string(), "budget.max_bad_responses off → 5");
    assert_eq!(news(&effects), [NewsKind::ThresholdSet]);
    assert_eq!(bench.engine.state().plan.budget.max_bad_responses, Limit::At(5));
    assert!(!bench.engine.replan(plan()), "a running rollout keeps its plan");
    bench.sample.spent.bad_responses = 5;
    assert_eq!(weights(&bench.tick(100, 0, 0)), [Weight::ZERO]);
    assert!(bench.engine.replan(plan()));
}

#[test]
fn an_alert_is_news_with_its_own_severity() {
    let mut bench = Bench::started(plan());
    bench.tick(3_000, 0, 0);
    let effects = bench.tick(1_000, 94, 6);
    assert_eq!(news(&effects), [NewsKind::AlertRaised]);
    let Some(Effect::Tell(told)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(
        (told.rule.as_str(), told.severity),
        ("error_rate > 5%", crate::domain::Severity::Warning)
    );
}
