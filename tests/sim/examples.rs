//! The shipped plans with their true hours: to Promoted on a healthy canary, and back on each of their own triggers.

use std::time::Duration;

use tidegate::{
    config,
    decision::rollout::{NewsKind, Phase, Verb},
    domain::{MetricName, Plan, Severity, verdict::CauseKind},
};

use crate::world::{Health, Weather, World};

const HOURLY: &str = include_str!("../../config/examples/hourly-four-step.toml");
const FIVE: &str = include_str!("../../config/examples/five-stage.toml");
const PHASED: &str = include_str!("../../config/examples/phased-with-fallback.toml");
const FLAGS: &str = include_str!("../../config/examples/feature-flags.toml");
const BLUE_GREEN: &str = include_str!("../../config/examples/blue-green.toml");

const MIRROR: &str = include_str!("../../config/examples/mirror.toml");

const HOUR: u64 = 3_600;

fn plan(text: &str, env: &[(&str, &str)]) -> Plan {
    let value = |name: &str| {
        env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let config = config::parse(text, "example.toml", &value).unwrap_or_else(|e| panic!("{e}"));
    config.rollouts[0].plan.clone()
}

/// Runs for `span` in ticks of `tick`, answering everything at once, until the rollout ends.
fn run(world: &mut World, span: Duration, tick: Duration) -> Duration {
    let mut passed = Duration::ZERO;
    while passed < span && (world.phase().is_running() || matches!(world.phase(), Phase::Idle)) {
        world.pass(tick);
        world.answer();
        passed += tick;
    }
    passed
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A started rollout of `plan` at its step `step`, five minutes old.
fn at_step(plan: Plan, weather: Weather, step: usize) -> World {
    let mut world = World::new(plan, weather);
    if matches!(world.phase(), Phase::Idle) && !world.state().plan.auto_start {
        assert!(world.command(Verb::Start));
    }
    let reached = |world: &World| world.phase().stay().is_some_and(|stay| stay.step == step);
    while !reached(&world) {
        assert!(!matches!(world.phase(), Phase::RolledBack { .. }), "{:?}", world.phase());
        run(&mut world, seconds(10), seconds(10));
        if world.phase().stay().is_some() && !reached(&world) {
            world.command(Verb::Advance);
            world.answer();
        }
    }
    run(&mut world, seconds(300), seconds(5));
    assert!(world.phase().is_running(), "{:?}", world.phase());
    world
}

/// The weather turns at step `step`; the rollout must turn back after `lasting`, and not `tick` sooner.
fn turns_back(
    plan: &Plan,
    fair: &Weather,
    step: usize,
    lasting: Duration,
    turn: impl Fn(&mut Weather),
) -> String {
    let mut world = at_step(plan.clone(), fair.clone(), step);
    turn(&mut world.weather);
    let most = lasting + plan.window + seconds(30);
    let took = run(&mut world, most, seconds(1));
    let Phase::RolledBack { cause, step: from } = world.phase() else {
        panic!("{:?} after {took:?}", world.phase())
    };
    assert_eq!(*from, Some(step));
    assert!(took >= lasting, "{cause} after {took:?}, sooner than {lasting:?}");
    assert!(world.has_heard(NewsKind::RolledBack));
    assert!(matches!(cause.kind, CauseKind::Rule | CauseKind::Breaker), "{cause}");
    cause.text.clone()
}

fn errors(share: f64) -> impl Fn(&mut Weather) {
    move |weather| weather.canary.errors = share
}

fn latency(millis: u64) -> impl Fn(&mut Weather) {
    move |weather| weather.canary.latency = Duration::from_millis(millis)
}

fn down(weather: &mut Weather) {
    weather.canary.endpoints = 0;
}

fn assert_promoted_after(mut world: World, expected_s: u64, tick_s: u64) {
    assert!(world.command(Verb::Start));
    let expected = seconds(expected_s);
    let took = run(&mut world, expected * 2, seconds(tick_s));
    assert_eq!(*world.phase(), Phase::Promoted, "{:?}", world.news().last());
    let slack = seconds(tick_s * 40);
    assert!(took >= expected && took < expected + slack, "{took:?} instead of {expected:?}");
    assert!(!world.has_heard(NewsKind::Held), "{:?}", world.news());
    assert!(world.command(Verb::Rollback), "the baseline is the way back after promotion too");
}

#[test]
fn hourly_four_step() {
    let plan = plan(HOURLY, &[]);
    let fair = Weather::fair(200.0);
    assert_promoted_after(World::new(plan.clone(), fair.clone()), 4 * HOUR, 5);
    let at_once = Duration::ZERO;
    assert!(turns_back(&plan, &fair, 0, at_once, errors(0.02)).contains("error_rate > 1%"));
    assert!(turns_back(&plan, &fair, 3, at_once, latency(120)).contains("p95 > 100ms"));
    assert!(turns_back(&plan, &fair, 1, at_once, down).contains("healthy_endpoints < 1"));
    assert!(turns_back(&plan, &fair, 2, at_once, errors(1.0)).contains("in a row"));
}

/// Between what is good enough to go on and what turns back it stays where it is.
#[test]
fn hourly_four_step_waits_between_its_limits() {
    let mut weather = Weather::fair(200.0);
    weather.canary.errors = 0.005;
    let mut world = World::new(plan(HOURLY, &[]), weather);
    world.command(Verb::Start);
    run(&mut world, seconds(3 * HOUR), seconds(5));
    assert!(matches!(world.phase(), Phase::Holding { stay, .. } if stay.step == 0));
    world.weather.canary = Health::GOOD;
    run(&mut world, seconds(3 * HOUR + 180), seconds(5));
    assert_eq!(*world.phase(), Phase::Promoted);
}

/// No night without traffic counts as a failure, nor as a pass.
#[test]
fn hourly_four_step_waits_for_traffic() {
    let mut world = World::new(plan(HOURLY, &[]), Weather::fair(0.0));
    world.command(Verb::Start);
    run(&mut world, seconds(24 * HOUR), seconds(30));
    assert!(matches!(world.phase(), Phase::Holding { stay, .. } if stay.step == 0));
    assert!(world.has_heard(NewsKind::Held));
    world.weather.rps = 200.0;
    run(&mut world, seconds(4 * HOUR), seconds(5));
    assert_eq!(*world.phase(), Phase::Promoted);
}

fn busy() -> Weather {
    let mut weather = Weather::fair(7_000.0);
    for (name, value) in [("memory", 1e9), ("cpu", 0.4)] {
        weather.external.insert(MetricName::new(name).unwrap(), value);
    }
    weather
}

#[test]
fn five_stage_takes_five_days() {
    assert_promoted_after(World::new(plan(FIVE, &[]), busy()), 5 * 24 * HOUR, 30);
}

#[test]
fn five_stage_turns_back() {
    let (plan, fair) = (plan(FIVE, &[]), busy());
    let minutes = |minutes: u64| seconds(60 * minutes);
    for step in [0, 1] {
        let text = turns_back(&plan, &fair, step, minutes(5), errors(0.02));
        assert!(text.contains("error_rate > 1%") && text.contains("for 5m"), "{text}");
    }
    for step in [2, 4] {
        let text = turns_back(&plan, &fair, step, minutes(5), errors(0.12));
        assert!(text.contains("error_rate > 10%") && text.contains("for 5m"), "{text}");
    }
    let text = turns_back(&plan, &fair, 0, minutes(10), latency(600));
    assert!(text.contains("p95 > 500ms") && text.contains("for 10m"), "{text}");
    let text = turns_back(&plan, &fair, 3, minutes(5), down);
    assert!(text.contains("healthy_endpoints < 1") && text.contains("for 5m"), "{text}");
}

/// What is bad for an early stage is not bad enough to turn a late one back.
#[test]
fn five_stage_is_patient_later() {
    let mut world = at_step(plan(FIVE, &[]), busy(), 2);
    world.weather.canary.errors = 0.02;
    run(&mut world, seconds(HOUR), seconds(1));
    assert!(world.phase().is_running(), "{:?}", world.phase());
}

#[test]
fn five_stage_tells_before_it_turns() {
    let severity = |turn: &dyn Fn(&mut Weather), condition: &str| {
        let mut world = at_step(plan(FIVE, &[]), busy(), 2);
        turn(&mut world.weather);
        run(&mut world, seconds(90), seconds(1));
        let alerts = world.news().iter().filter(|news| news.kind == NewsKind::AlertRaised);
        let raised: Vec<_> = alerts.filter(|news| news.rule == condition).collect();
        assert_eq!(raised.len(), 1, "{condition}: {:?}", world.news().last());
        raised[0].severity
    };
    let outside = |name: &'static str, value: f64| {
        move |weather: &mut Weather| {
            weather.external.insert(MetricName::new(name).unwrap(), value);
        }
    };
    let (warning, critical) = (Severity::Warning, Severity::Critical);
    assert_eq!(severity(&errors(0.02), "error_rate > 1%"), warning);
    assert_eq!(severity(&errors(0.07), "error_rate > 5%"), critical);
    assert_eq!(severity(&latency(170), "p95 > 150ms"), warning);
    assert_eq!(severity(&latency(250), "p95 > 200ms"), critical);
    assert_eq!(severity(&|w: &mut Weather| w.rps = 4_000.0, "rps + baseline.rps < 5k"), warning);
    assert_eq!(severity(&outside("memory", 2.2e9), "external.memory > 2GB"), warning);
    assert_eq!(severity(&outside("memory", 2.5e9), "external.memory > 2.4GB"), critical);
    assert_eq!(severity(&outside("cpu", 0.85), "external.cpu > 80%"), warning);
    assert_eq!(severity(&outside("cpu", 0.97), "external.cpu > 95%"), critical);
}

#[test]
fn phased_with_fallback() {
    let plan = plan(PHASED, &[]);
    let fair = Weather::fair(100.0);
    assert_promoted_after(World::new(plan.clone(), fair.clone()), 600 + 1_800 + 2 * HOUR, 5);
    let at_once = Duration::ZERO;
    assert!(turns_back(&plan, &fair, 0, at_once, errors(0.3)).contains("error_rate > 10%"));
    let falls_back = |weather: &mut Weather| weather.canary.fallbacks = 0.3;
    let text = turns_back(&plan, &fair, 1, at_once, falls_back);
    assert!(text.contains("fallback_rate > 25%"), "{text}");
    let text = turns_back(&plan, &fair, 2, at_once, latency(2_500));
    assert!(text.contains("p95 > baseline.p95 + 2s"), "{text}");
    assert!(turns_back(&plan, &fair, 3, at_once, down).contains("healthy_endpoints < 1"));
    let mut alerted = at_step(plan, fair, 1);
    alerted.weather.canary.cache_hits = 0.5;
    alerted.weather.process_memory = 500 << 20;
    run(&mut alerted, seconds(600), seconds(5));
    let rules = alerted.news().iter().filter(|news| news.kind == NewsKind::AlertRaised);
    let rules: Vec<_> = rules.map(|news| news.rule.as_str()).collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
}

#[test]
fn feature_flags_are_safe_without_an_environment() {
    let mut world = World::new(plan(FLAGS, &[]), Weather::fair(100.0));
    run(&mut world, seconds(24 * HOUR), seconds(30));
    assert_eq!(world.state().weight(), Some(tidegate::domain::Weight::ZERO));
    assert!(matches!(world.phase(), Phase::Holding { stay, .. } if stay.step == 0));
    let config = config::parse(FLAGS, "flags.toml", &|_| None).unwrap();
    assert!(config.routes[0].fallback.is_some(), "the fallback is on");
    let off = |name: &str| (name == "FALLBACK_TO_V1_ON_ERROR").then(|| "false".to_owned());
    let config = config::parse(FLAGS, "flags.toml", &off).unwrap();
    assert!(config.routes[0].fallback.is_none(), "the fallback is off");
}

#[test]
fn feature_flags_follow_their_environment() {
    let env = [
        ("ROLLOUT_PERCENTAGE", "25"),
        ("ERROR_RATE_THRESHOLD", "3"),
        ("CACHE_HIT_RATE_THRESHOLD", "60"),
        ("MEMORY_USAGE_THRESHOLD", "50"),
    ];
    let plan = plan(FLAGS, &env);
    let fair = Weather::fair(100.0);
    let mut world = at_step(plan.clone(), fair.clone(), 0);
    assert_eq!(world.state().weight().unwrap().to_string(), "25");
    run(&mut world, seconds(24 * HOUR), seconds(10));
    assert!(matches!(world.phase(), Phase::AwaitingGate(_)), "{:?}", world.phase());
    assert!(world.command(Verb::Advance));
    world.answer();
    run(&mut world, seconds(HOUR), seconds(5));
    assert_eq!(*world.phase(), Phase::Promoted);
    let at_once = Duration::ZERO;
    assert!(turns_back(&plan, &fair, 0, at_once, errors(0.04)).contains("error_rate > 3%"));
    let cold = |weather: &mut Weather| weather.canary.cache_hits = 0.5;
    assert!(turns_back(&plan, &fair, 0, at_once, cold).contains("cache_hit_rate < 60%"));
    let large = |weather: &mut Weather| weather.process_memory = 300 << 20;
    assert!(turns_back(&plan, &fair, 0, at_once, large).contains("process.memory > 50%"));
}

#[test]
fn blue_green() {
    let plan = plan(BLUE_GREEN, &[]);
    let fair = Weather::fair(100.0);
    assert_promoted_after(World::new(plan.clone(), fair.clone()), 900, 1);
    let at_once = Duration::ZERO;
    assert!(turns_back(&plan, &fair, 0, at_once, errors(0.1)).contains("error_rate > 5%"));
    let text = turns_back(&plan, &fair, 0, seconds(60), latency(2_500));
    assert!(text.contains("p95 > 2s"), "{text}");
    assert!(turns_back(&plan, &fair, 0, at_once, down).contains("healthy_endpoints < 1"));
    let text = turns_back(&plan, &fair, 0, seconds(120), |weather| weather.checks_failed = 1);
    assert!(text.contains("checks_failed > 0 (1 against 0) for 2m"), "{text}");
    let mut refused = World::new(plan, fair);
    refused.weather.errands = false;
    refused.command(Verb::Start);
    refused.answer();
    assert!(matches!(refused.phase(), Phase::Failed { cause } if cause.kind == CauseKind::Check));
}

#[test]
fn mirror() {
    let plan = plan(MIRROR, &[]);
    let fair = Weather { mirrored: 0.2, ..Weather::fair(200.0) };
    assert_promoted_after(World::new(plan.clone(), fair.clone()), 1_800 + 13 * HOUR, 5);
    let other = |weather: &mut Weather| weather.canary.differences = 0.04;
    for step in [0, 1] {
        let text = turns_back(&plan, &fair, step, seconds(60), other);
        assert!(text.contains("difference_rate > 2%"), "{text}");
    }
    assert!(turns_back(&plan, &fair, 1, Duration::ZERO, errors(0.1)).contains("error_rate > 5%"));
    // Differences too few to turn back are too many to begin with.
    let mut world = World::new(plan, fair);
    world.weather.canary.differences = 0.01;
    world.command(Verb::Start);
    run(&mut world, seconds(3 * HOUR), seconds(5));
    assert!(matches!(world.phase(), Phase::Holding { stay, .. } if stay.step == 0));
}

/// Looked at as in life, ten times a second: a machine that sleeps through the step serves nothing of it.
#[test]
fn a_machine_that_sleeps_leaves_its_hold_unserved() {
    let mut world = World::watched(plan(BLUE_GREEN, &[]), Weather::fair(100.0));
    assert!(world.command(Verb::Start));
    let tick = Duration::from_millis(100);
    run(&mut world, seconds(60), tick);
    let left = world.state().left().unwrap();
    world.stop(seconds(2 * HOUR));
    run(&mut world, tick, tick);
    assert_eq!(world.state().left(), Some(left));
    assert!(world.has_heard(NewsKind::Unwatched));
    let took = run(&mut world, seconds(HOUR), seconds(1));
    assert_eq!(*world.phase(), Phase::Promoted, "{:?}", world.news().last());
    assert!(took >= left, "{took:?} of {left:?}");
}
