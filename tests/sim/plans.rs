//! Random plans: any number of steps, any limits, conditions of every kind.

use std::time::Duration;

use fastrand::Rng;
use tidegate::domain::{
    BackendName, Condition, Plan, RolloutName, RouteName, Severity, StepName, Weight,
    condition::Externals,
    plan::{
        Alert, Breaker, Budget, ExternalSources, Limit, OnFailure, OnThinTraffic, Rule, Span, Step,
    },
};

/// What steps may require.
const CRITERIA: &[&str] = &[
    "error_rate < 1%",
    "success_rate >= 97%",
    "p95 < 200ms",
    "p95 < 1.5 * baseline.p95 + 20ms",
    "requests >= 200",
    "requests[10s] >= 5",
    "error_rate[30s] < 2%",
    "rps + baseline.rps > 1",
    "external.cpu < 80%",
    "healthy_endpoints >= 1",
    "mean <= baseline.mean + 1s",
];

/// What rules may turn on.
const RULES: &[&str] = &[
    "error_rate > 10%",
    "error_rate > baseline.error_rate + 5%",
    "p99 > 3s",
    "p95 > baseline.p95 + 2s",
    "fallback_rate > 25%",
    "healthy_endpoints < 1",
    "external.cpu > 95%",
    "process.memory > 2GB",
    "checks_failed > 2",
];

/// A plan drawn by `rng`.
pub(crate) fn plan(rng: &mut Rng) -> Plan {
    let mut weights: Vec<u16> = (0..rng.usize(1..6)).map(|_| rng.u16(0..=10_000)).collect();
    weights.sort_unstable();
    if rng.u8(..4) > 0 {
        weights.push(10_000);
    }
    let steps: Vec<Step> = weights.iter().enumerate().map(|(at, w)| step(rng, at, *w)).collect();
    Plan {
        name: RolloutName::new("simulated").unwrap(),
        route: RouteName::new("route").unwrap(),
        baseline: BackendName::new("blue").unwrap(),
        canary: BackendName::new("green").unwrap(),
        auto_start: rng.u8(..8) == 0,
        window: Duration::from_secs(rng.u64(5..120)),
        min_requests: rng.u64(0..100),
        settle: Duration::from_millis(rng.u64(0..5_000)),
        on_thin_traffic: if rng.u8(..4) == 0 {
            OnThinTraffic::Advance
        } else {
            OnThinTraffic::Hold
        },
        on_failure: if rng.u8(..5) == 0 { OnFailure::Pause } else { OnFailure::Rollback },
        external: if rng.bool() { ExternalSources::Required } else { ExternalSources::Optional },
        deadline: match rng.u8(..6) {
            0 => Limit::At(Span(Duration::from_secs(rng.u64(60..7_200)))),
            _ => Limit::Off,
        },
        rollback: (0..rng.usize(0..4)).map(|_| rule(rng, &steps)).collect(),
        alerts: (0..rng.usize(0..3)).map(|_| alert(rng, &steps)).collect(),
        steps,
        breaker: Breaker {
            consecutive_failures: if rng.bool() { Limit::At(rng.u64(3..30)) } else { Limit::Off },
            failure_share: 0.5,
            of_at_least: rng.u64(1..50),
            within: Duration::from_secs(rng.u64(1..30)),
        },
        budget: Budget {
            max_bad_responses: match rng.u8(..4) {
                0 => Limit::At(rng.u64(1..2_000)),
                _ => Limit::Off,
            },
            max_exposed_keys: Limit::Off,
        },
    }
}

fn step(rng: &mut Rng, at: usize, points: u16) -> Step {
    Step {
        name: StepName::new(&format!("step-{at}")).unwrap(),
        weight: Weight::from_basis_points(points).unwrap(),
        hold: Duration::from_secs(rng.u64(0..1_200)),
        gate: rng.u8(..6) == 0,
        require: (0..rng.usize(0..3)).map(|_| condition(rng, CRITERIA)).collect(),
    }
}

fn rule(rng: &mut Rng, steps: &[Step]) -> Rule {
    let name = |step: &Step| step.name.clone();
    Rule {
        when: condition(rng, RULES),
        lasting: Duration::from_secs(rng.u64(0..120)),
        steps: match rng.u8(..4) {
            0 => steps.first().map(name).into_iter().collect(),
            _ => Vec::new(),
        },
    }
}

fn alert(rng: &mut Rng, steps: &[Step]) -> Alert {
    let severity = if rng.bool() { Severity::Warning } else { Severity::Critical };
    Alert { rule: rule(rng, steps), severity }
}

fn condition(rng: &mut Rng, among: &[&str]) -> Condition {
    let text = among[rng.usize(..among.len())];
    Condition::parse(text, Externals::Unchecked).unwrap()
}
