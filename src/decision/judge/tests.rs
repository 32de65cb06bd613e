//! What the judge makes of numbers.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::{
    decision::{
        condition::Missing,
        stats::{Totals, Window},
    },
    domain::{
        MetricName, Moment, Weight,
        plan::{
            Budget, ExternalSources, Limit, OnThinTraffic, Rule,
            tests::{condition, plan, rule},
        },
        verdict::CauseKind,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Attempts of one side over a minute.
#[derive(Debug, Clone, Copy)]
struct Side {
    good: u64,
    bad: u64,
    latency_ms: u64,
    same: u64,
    different: u64,
}

const HEALTHY: Side = Side { good: 1_000, bad: 0, latency_ms: 50, same: 75, different: 25 };

fn window(side: Side) -> Window {
    let mut window = Window::new(Duration::from_hours(1));
    window.mark(Moment::from_nanos(0), &Totals::default());
    let mut totals = Totals { success: side.good, failure: side.bad, ..Totals::default() };
    totals.comparisons = [side.same, side.different, 1_000, 1_000, 1_000];
    for _ in 0..(side.good + side.bad).min(100) {
        totals.total.record(Duration::from_millis(side.latency_ms));
    }
    window.mark(Moment::from_nanos(60_000_000_000), &totals);
    window
}

/// The plan, both sides and the present of one look.
struct Look {
    plan: Plan,
    canary: Side,
    baseline: Side,
    sample: Sample,
    clocks: Clocks,
}

impl Look {
    fn new() -> Self {
        let plan = plan();
        let clocks = Clocks::new(&plan);
        Self { plan, canary: HEALTHY, baseline: HEALTHY, sample: Sample::default(), clocks }
    }

    fn judged(&mut self) -> Judgement {
        self.judged_after(SECOND)
    }

    fn judged_after(&mut self, elapsed: Duration) -> Judgement {
        let (canary, baseline) = (window(self.canary), window(self.baseline));
        let evidence = Evidence {
            plan: &self.plan,
            canary: &canary,
            baseline: &baseline,
            sample: &self.sample,
        };
        judge(&evidence, 0, &mut self.clocks, elapsed, None)
    }

    fn verdict(&mut self) -> Verdict {
        self.judged().verdict
    }
}

fn lack(lack: Lack) -> Verdict {
    Verdict::Inconclusive(lack)
}

#[test]
fn a_healthy_canary_passes_and_a_poor_one_waits() {
    let mut look = Look::new();
    assert_eq!(look.verdict(), Verdict::Pass);
    look.canary.bad = 50;
    let judged = look.judged();
    assert_eq!(judged.verdict, lack(Lack::Criteria));
    assert_eq!(judged.reasons().collect::<Vec<_>>(), ["error_rate < 1% (4.76% against 1%)"]);
}

#[test]
fn too_few_requests_neither_pass_nor_fail() {
    let mut look = Look::new();
    look.canary = Side { good: 0, bad: 49, ..HEALTHY };
    assert_eq!(look.verdict(), lack(Lack::Traffic));
    look.canary.bad = 50;
    look.judged_after(Duration::ZERO);
    assert!(matches!(look.judged_after(60 * SECOND).verdict, Verdict::Fail(_)));
}

#[test]
fn a_rule_fails_once_it_has_lasted_and_holds_before() {
    let mut look = Look::new();
    look.plan.steps[0].require.clear();
    look.canary = Side { good: 80, bad: 20, ..HEALTHY };
    assert_eq!(look.verdict(), lack(Lack::Criteria));
    assert_eq!(look.judged_after(59 * SECOND).verdict, lack(Lack::Criteria));
    let Verdict::Fail(cause) = look.verdict() else { panic!("it does not fail") };
    assert_eq!(cause.kind, CauseKind::Rule);
    assert_eq!(cause.text, "error_rate > 10% (20% against 10%) for 1m");
    look.canary = HEALTHY;
    assert_eq!(look.verdict(), Verdict::Pass);
    assert_eq!(look.clocks.rollback[0], RuleClock::default());
}

#[test]
fn a_rule_is_looked_at_in_its_steps_alone() {
    let mut look = Look::new();
    look.canary = Side { good: 80, bad: 20, ..HEALTHY };
    look.plan.steps[0].require.clear();
    look.plan.rollback =
        vec![Rule { steps: vec![look.plan.steps[1].name.clone()], ..rule("error_rate > 10%", 0) }];
    assert_eq!(look.verdict(), Verdict::Pass);
    look.plan.rollback[0].steps[0] = look.plan.steps[0].name.clone();
    assert!(matches!(look.verdict(), Verdict::Fail(_)));
}

#[test]
fn a_comparison_needs_both_sides() {
    let mut look = Look::new();
    look.canary.latency_ms = 3_000;
    assert!(matches!(look.verdict(), Verdict::Fail(_)), "p95 is more than 2 s over the baseline's");
    look.baseline.good = 0;
    assert_eq!(look.verdict(), lack(Lack::Traffic));
    look.plan.steps[0].weight = Weight::FULL;
    assert_eq!(look.verdict(), Verdict::Pass, "at 100 % there is nothing to compare with");
}

#[test]
fn a_source_out_of_reach_holds_or_is_left_out() {
    let mut look = Look::new();
    look.plan.steps[0].require = vec![condition("external.cpu < 80%")];
    assert_eq!(look.verdict(), lack(Lack::Source));
    look.plan.external = ExternalSources::Optional;
    assert_eq!(look.verdict(), Verdict::Pass);
    look.sample.external = BTreeMap::from([(MetricName::new("cpu").unwrap(), 0.9)]);
    let judged = look.judged();
    assert_eq!(judged.verdict, lack(Lack::Criteria));
    assert_eq!(judged.criteria[0].to_string(), "external.cpu < 80% (90% against 80%)");
}

#[test]
fn what_is_not_measured_turns_nothing_back_and_lets_nothing_pass() {
    let mut look = Look::new();
    look.plan.rollback = vec![rule("cache_hit_rate < 70%", 0)];
    assert_eq!(look.verdict(), Verdict::Pass);
    look.plan.steps[0].require = vec![condition("cache_hit_rate > 70%")];
    let judged = look.judged();
    let unmeasured = Truth::Inconclusive(Missing::Unmeasured("cache_hit_rate".into()));
    assert_eq!(
        (judged.criteria[0].truth.clone(), judged.verdict),
        (unmeasured, lack(Lack::Source))
    );
}

#[test]
fn a_spent_budget_fails_or_holds() {
    let mut look = Look::new();
    look.plan.budget = Budget { max_bad_responses: Limit::At(50), max_exposed_keys: Limit::At(10) };
    look.sample.spent = Spent { bad_responses: 49, exposed_keys: 10 };
    assert_eq!(look.verdict(), lack(Lack::Budget));
    look.sample.spent.bad_responses = 50;
    let Verdict::Fail(cause) = look.verdict() else { panic!("it does not fail") };
    assert_eq!(cause.kind, CauseKind::Budget);
}

#[test]
fn an_alert_is_raised_once_and_resolved_once() {
    let mut look = Look::new();
    look.canary = Side { good: 93, bad: 7, ..HEALTHY };
    let raised: Vec<_> = (0..3).map(|_| look.judged().alerts.len()).collect();
    assert_eq!(raised, [1, 0, 0]);
    look.canary.good = 10;
    let thin = look.judged();
    assert_eq!(thin.alerts, [], "too few requests resolve nothing");
    let truth = &thin.watched[0].reading.truth;
    assert!(matches!(truth, Truth::Inconclusive(_)), "nor do they look well: {truth:?}");
    look.canary = HEALTHY;
    assert_eq!(look.judged_after(59 * SECOND).alerts, [], "a moment's calm is not the end");
    let over = look.judged().alerts;
    assert!(!over[0].raised && look.judged().alerts.is_empty());
}

#[test]
fn every_metric_of_the_sample_is_read() {
    let mut look = Look::new();
    look.sample = Sample {
        canary_endpoints: Some(2),
        baseline_endpoints: Some(3),
        checks_failed: Some(1),
        is_mirrored: true,
        process_memory: Some(1 << 30),
        process_cpu: Some(0.5),
        ..Sample::default()
    };
    for text in [
        "healthy_endpoints == 2",
        "baseline.healthy_endpoints == 3",
        "checks_failed == 1",
        "difference_rate == 25%",
        "process.memory == 1GiB",
        "process.cpu == 50%",
        "requests == 1000",
        "requests + baseline.requests == 2k",
        "rps > 16",
        "success_rate == 100%",
        "fallback_rate == 0%",
        "mean < 60ms",
        "p50 > 49ms",
        "p99 < 60ms",
    ] {
        look.plan.steps[0].require = vec![condition(text)];
        let judged = look.judged();
        assert!(judged.criteria[0].is_true(), "{}", judged.criteria[0]);
    }
}

#[test]
fn mirrored_answers_that_differ_turn_back_once_enough_are_compared() {
    let mut look = Look::new();
    look.plan.rollback = vec![rule("difference_rate > 20%", 0)];
    assert_eq!(look.verdict(), Verdict::Pass, "what is not mirrored is left out");
    look.sample.is_mirrored = true;
    look.canary = Side { same: 20, different: 29, ..HEALTHY };
    assert_eq!(look.verdict(), lack(Lack::Traffic));
    let text = look.judged().rules[0].reading.to_string();
    assert_eq!(text, "difference_rate > 20% (49 of 50 mirrored answers compared)");
    look.canary.different = 30;
    let Verdict::Fail(cause) = look.verdict() else { panic!("it does not fail") };
    assert_eq!(cause.kind, CauseKind::Rule);
    look.canary = Side { same: 90, different: 10, ..HEALTHY };
    assert_eq!(look.verdict(), Verdict::Pass);
    look.canary = Side { same: 0, different: 0, ..HEALTHY };
    look.plan.steps[0].weight = Weight::FULL;
    assert_eq!(look.verdict(), Verdict::Pass, "at 100 % nothing is mirrored");
}

#[test]
fn few_requests_that_mostly_fail_are_more_than_thin_traffic() {
    let mut look = Look::new();
    look.plan.on_thin_traffic = OnThinTraffic::Advance;
    for (good, bad, lack) in [
        (0, 0, Lack::Traffic),
        (3, 1, Lack::Traffic),
        (2, 2, Lack::Criteria),
        (0, 1, Lack::Criteria),
    ] {
        look.canary = Side { good, bad, ..HEALTHY };
        let opinion = look.judged().opinions.into_iter().find(|o| o.source == Source::Traffic);
        assert_eq!(opinion.unwrap().verdict, Verdict::Inconclusive(lack), "{good} and {bad}");
    }
}
