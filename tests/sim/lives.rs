//! One random life of one random plan: weather, operators, a full disk, kills.

use std::time::Duration;

use fastrand::Rng;
use tidegate::{
    decision::rollout::{NewsKind, Phase, Verb},
    domain::{MetricName, Weight, plan::OnFailure},
};

use crate::{
    plans, world,
    world::{Health, Question, Weather, World},
};

/// Steps of a life. With ticks of up to a minute that is some hours.
const STEPS: usize = 120;

/// How a life ended, for the sum of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct End {
    pub(crate) phase: &'static str,
    pub(crate) restarted: bool,
}

/// Lives the life that `seed` says; panics when something happens that must not.
pub(crate) fn live(seed: u64) -> End {
    let mut rng = Rng::with_seed(seed);
    let plan = plans::plan(&mut rng);
    let rps = [0.0, 2.0, 50.0, 1_000.0][rng.usize(..4)] * (0.5 + rng.f64());
    let mut world = World::new(plan, Weather::fair(rps));
    world.weather.external.insert(MetricName::new("cpu").unwrap(), 0.5);
    if !world.state().plan.auto_start {
        world.command(Verb::Start);
    }
    let mut restarted = false;
    for _ in 0..STEPS {
        weather(&mut rng, &mut world.weather);
        world.pass(span(&mut rng));
        answer_some(&mut rng, &mut world);
        match rng.u8(..60) {
            0..=3 => operate(&mut rng, &mut world),
            4 => drop(world.set("step.step-0.hold", ["10s", "5m"][rng.usize(..2)])),
            5 => drop(world.set("min_requests", "10")),
            7 => world.stop(world::SELDOM + Duration::from_secs(rng.u64(1..7_200))),
            6 => {
                restarted = true;
                world.restart();
            }
            _ => {}
        }
    }
    outage_turns_it_back(&mut world);
    End { phase: world.phase().label(), restarted }
}

fn span(rng: &mut Rng) -> Duration {
    match rng.u8(..4) {
        0 => Duration::from_millis(100),
        1 => Duration::from_millis(rng.u64(100..2_000)),
        2 => Duration::from_secs(rng.u64(1..20)),
        _ => Duration::from_secs(rng.u64(20..60)),
    }
}

/// Now and then the weather changes: a bad canary, a shared outage, a lull, a full disk, silence from outside.
fn weather(rng: &mut Rng, weather: &mut Weather) {
    let bad = |rng: &mut Rng| Health {
        errors: [0.002, 0.02, 0.15, 0.6, 1.0][rng.usize(..5)],
        latency: Duration::from_millis([30, 150, 900, 4_000][rng.usize(..4)]),
        endpoints: rng.u64(..3),
        cache_hits: rng.f64(),
        fallbacks: rng.f64() / 3.0,
        differences: 0.0,
    };
    match rng.u8(..80) {
        0..=1 => weather.canary = bad(rng),
        2 => {
            weather.canary = bad(rng);
            weather.baseline = weather.canary;
        }
        3..=8 => {
            weather.canary = Health::GOOD;
            weather.baseline = Health::GOOD;
        }
        9 => weather.rps = 0.0,
        10..=11 => weather.rps = rng.f64() * 2_000.0,
        12..=13 => weather.disk = !weather.disk,
        14 => weather.external.clear(),
        15..=16 => drop(weather.external.insert(MetricName::new("cpu").unwrap(), rng.f64())),
        17 => weather.errands = !weather.errands,
        18..=20 => (weather.errands, weather.disk) = (true, true),
        _ => {}
    }
}

/// Questions are answered in any order, late or not at all.
fn answer_some(rng: &mut Rng, world: &mut World) {
    while !world.open.is_empty() && rng.u8(..4) > 0 {
        let question: Question = world.open.swap_remove(rng.usize(..world.open.len()));
        world.answer_one(question);
    }
}

fn operate(rng: &mut Rng, world: &mut World) {
    let verb = match rng.u8(..12) {
        0 => Verb::Rollback,
        1 => Verb::Promote,
        2..=3 => Verb::Pause,
        4..=6 => Verb::Resume,
        7..=8 => Verb::Start,
        _ => Verb::Advance,
    };
    let (before, weight) = (world.state().clone(), world.state().weight());
    if !world.command(verb) {
        assert_eq!(*world.state(), before, "a refused {verb} changed something");
        return;
    }
    let raised = world.state().weight() > weight.or(Some(Weight::ZERO));
    assert!(!raised, "{verb} raised the weight before that was durable");
}

/// Whatever a life has come to: when everything the canary does fails, it gets nothing more within seconds, whether it is
/// paused, held or at a gate, and whether the disk is full or not.
fn outage_turns_it_back(world: &mut World) {
    let with_traffic = world.state().weight().is_some_and(|weight| weight > Weight::ZERO);
    if !world.phase().is_running() || !with_traffic {
        return;
    }
    world.weather.disk = false;
    world.weather.rps = 1e6;
    world.weather.baseline = Health::GOOD;
    world.weather.canary = Health { errors: 1.0, ..Health::GOOD };
    let most = world.state().plan.breaker.within * 2 + Duration::from_secs(1);
    let tick = Duration::from_millis(500);
    let mut passed = Duration::ZERO;
    let over = |world: &World| match world.state().plan.on_failure {
        OnFailure::Rollback => matches!(world.phase(), Phase::RolledBack { .. }),
        OnFailure::Pause => matches!(world.phase(), Phase::Paused { .. }),
    };
    while !over(world) {
        assert!(passed <= most, "{:?} after {passed:?} of outage", world.phase());
        world.pass(tick);
        passed += tick;
    }
    if world.state().plan.on_failure == OnFailure::Rollback {
        assert!(world.has_heard(NewsKind::RolledBack));
        assert_eq!(world.state().weight(), Some(Weight::ZERO));
    }
}
