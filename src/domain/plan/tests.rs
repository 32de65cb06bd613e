//! Plans kept as text and changed by hand.

use super::*;
use crate::domain::condition::Externals;

/// The condition that `text` says.
pub(crate) fn condition(text: &str) -> Condition {
    Condition::parse(text, Externals::Unchecked).unwrap_or_else(|fault| panic!("{fault}"))
}

/// A rule over all steps.
pub(crate) fn rule(when: &str, lasting_s: u64) -> Rule {
    Rule { when: condition(when), lasting: Duration::from_secs(lasting_s), steps: Vec::new() }
}

/// 10 % for ten minutes, then everything for ten more.
pub(crate) fn plan() -> Plan {
    let step = |name: &str, percent, gate| Step {
        name: StepName::new(name).unwrap(),
        weight: Weight::from_percent(percent).unwrap(),
        hold: Duration::from_mins(10),
        gate,
        require: vec![condition("error_rate < 1%")],
    };
    Plan {
        name: RolloutName::new("api").unwrap(),
        route: RouteName::new("api").unwrap(),
        baseline: BackendName::new("blue").unwrap(),
        canary: BackendName::new("green").unwrap(),
        auto_start: false,
        window: Duration::from_mins(1),
        min_requests: 50,
        settle: Duration::from_secs(2),
        on_thin_traffic: OnThinTraffic::Hold,
        on_failure: OnFailure::Rollback,
        external: ExternalSources::Required,
        deadline: Limit::Off,
        steps: vec![step("canary", 10.0, false), step("full", 100.0, false)],
        rollback: vec![rule("error_rate > 10%", 60), rule("p95 > baseline.p95 + 2s", 0)],
        alerts: vec![Alert { rule: rule("error_rate > 5%", 0), severity: Severity::Warning }],
        breaker: Breaker {
            consecutive_failures: Limit::At(10),
            failure_share: 0.5,
            of_at_least: 20,
            within: Duration::from_secs(5),
        },
        budget: Budget::default(),
    }
}

#[test]
fn a_plan_survives_json() {
    let text = serde_json::to_string(&plan()).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan());
}

#[test]
fn every_threshold_takes_its_own_value() {
    let mut changed = plan();
    for (key, value) in plan().thresholds() {
        let change = changed.set(&key, &value, Externals::Unchecked).unwrap();
        assert_eq!(change.before, change.after, "{key}");
    }
    assert_eq!(changed, plan());
}

#[test]
fn thresholds_are_changed_and_told() {
    let mut changed = plan();
    let mut set = |key, value| changed.set(key, value, Externals::Unchecked).unwrap().to_string();
    assert_eq!(set("step.canary.hold", "30m"), "step.canary.hold 10m → 30m");
    assert_eq!(
        set("step.full.require.0", "error_rate<2%"),
        "step.full.require.0 error_rate < 1% → error_rate < 2%"
    );
    assert_eq!(set("rollback.0.for", "0s"), "rollback.0.for 1m → 0s");
    assert_eq!(
        set("rollback.1.when", "p95 > 1s"),
        "rollback.1.when p95 > baseline.p95 + 2s → p95 > 1s"
    );
    assert_eq!(set("budget.max_bad_responses", "50"), "budget.max_bad_responses off → 50");
    assert_eq!(set("deadline", "2d"), "deadline off → 2d");
    assert_eq!(set("breaker.failure_share", "25%"), "breaker.failure_share 50% → 25%");
    assert_eq!(set("on_failure", "pause"), "on_failure rollback → pause");
    assert_eq!(changed.on_failure, OnFailure::Pause);
    assert_eq!(changed.steps[0].hold, Duration::from_mins(30));
}

#[test]
fn what_cannot_be_set_says_what_can() {
    let mut changed = plan();
    for (key, value, told) in [
        ("step.canry.hold", "1m", "did you mean step.canary.hold?"),
        ("weight", "50", "known: window, min_requests"),
        ("rollback.7.when", "p95 > 1s", "did you mean rollback.0.when?"),
        ("window", "0s", "expected a duration from \"1s\""),
        ("window", "5%", "expected a duration"),
        ("min_requests", "-1", "expected a whole number"),
        ("deadline", "x", "\"off\" for none"),
        ("on_failure", "stop", "expected one of rollback, pause"),
        ("rollback.0.when", "p95 > 5%", "5% is a share"),
        ("breaker.failure_share", "0.5", "expected a share such as \"50%\""),
    ] {
        let fault = changed.set(key, value, Externals::Unchecked).unwrap_err().to_string();
        assert!(fault.contains(told), "{key}: {fault}");
    }
    assert_eq!(changed, plan());
}
