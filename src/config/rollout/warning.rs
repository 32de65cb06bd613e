//! What is odd about a rollout, though allowed.

use crate::{
    config::{
        Config, Warning,
        model::{Mirror, Rollout, Route},
    },
    domain::{
        Condition, MirrorDepth, Weight,
        condition::{Metric, Oddity, Purpose, Side},
        format_duration,
        plan::{Limit, Plan, Step},
    },
};

/// Whatever is odd about the rollouts of `config`.
pub(in crate::config) fn warnings(config: &Config) -> impl Iterator<Item = Warning> {
    config.rollouts.iter().flat_map(|rollout| {
        let route = config.routes.iter().find(|route| route.name == rollout.plan.route);
        let told = of_plan(&rollout.plan).into_iter();
        let told = told.chain(route.into_iter().flat_map(|route| of_route(rollout, route)));
        let told: Vec<_> = told.chain(of_metrics(rollout, route, config)).collect();
        told.into_iter()
            .map(|message| Warning { subject: format!("rollout {}", rollout.plan.name), message })
    })
}

fn of_plan(plan: &Plan) -> Vec<String> {
    let mut told = Vec::new();
    if plan.rollback.is_empty() && plan.breaker.consecutive_failures == Limit::Off {
        told.push(
            "no condition turns it back, and the breaker waits for no number of failures".into(),
        );
    }
    if let Some(last) = plan.steps.last().filter(|step| step.weight != Weight::FULL) {
        told.push(format!(
            "its last step has {} %: promotion takes the canary from there to 100 % at once",
            last.weight
        ));
    }
    told.extend(plan.steps.iter().filter_map(|step| window_beyond_hold(plan, step)));
    told.extend(constants(plan));
    told
}

/// Conditions that never change; those that nobody can mean were refused before.
fn constants(plan: &Plan) -> impl Iterator<Item = String> {
    let criteria = plan.steps.iter().flat_map(|step| &step.require);
    let rules = plan.rollback.iter().chain(plan.alerts.iter().map(|alert| &alert.rule));
    let criteria = criteria.map(|condition| (condition, Purpose::Criterion));
    let rules = rules.map(|rule| (&rule.when, Purpose::Rule));
    criteria.chain(rules).filter_map(|(condition, purpose)| {
        match condition.oddity(&condition.to_string(), purpose) {
            Some(Oddity::Warning(message)) => Some(message),
            Some(Oddity::Fault(_)) | None => None,
        }
    })
}

/// A criterion over a window longer than the step is met by the step's begin alone.
fn window_beyond_hold(plan: &Plan, step: &Step) -> Option<String> {
    let windows = |condition: &Condition| {
        let windowed: Vec<_> = condition
            .gauges()
            .filter(|gauge| gauge.metric.is_windowed())
            .map(|gauge| gauge.window.unwrap_or(plan.window))
            .collect();
        windowed.into_iter().max()
    };
    let longest = step.require.iter().filter_map(windows).max()?;
    (longest > step.hold).then(|| {
        format!(
            "step {} lasts {}, and its criteria look back {}",
            step.name,
            format_duration(step.hold),
            format_duration(longest)
        )
    })
}

fn of_route(rollout: &Rollout, route: &Route) -> Option<String> {
    let canary = &rollout.plan.canary;
    let weight = route.split.weight(canary).filter(|weight| *weight != Weight::ZERO)?;
    Some(format!("{canary} has {weight} % of route {} before it begins, unjudged", route.name))
}

/// Metrics that nothing here measures.
fn of_metrics(rollout: &Rollout, route: Option<&Route>, config: &Config) -> Vec<String> {
    let plan = &rollout.plan;
    let speaks_of = |metric: &Metric, side: Option<Side>| {
        let mut gauges = plan.conditions().flat_map(Condition::gauges);
        gauges.any(|gauge| gauge.metric == *metric && side.is_none_or(|side| gauge.side == side))
    };
    let mut told = Vec::new();
    let falls_back = route.is_some_and(|route| route.fallback.is_some());
    if speaks_of(&Metric::FallbackRate, None) && !falls_back {
        told.push(format!("fallback_rate stays 0: route {} has no fallback", plan.route));
    }
    for (side, name) in [(Side::Canary, &plan.canary), (Side::Baseline, &plan.baseline)] {
        let backend = config.backends.iter().find(|backend| backend.name == *name);
        let measured = backend.is_some_and(|backend| backend.cache_status_header.is_some());
        if speaks_of(&Metric::CacheHitRate, Some(side)) && !measured {
            told.push(format!(
                "cache_hit_rate says nothing: backend {name} has no cache_status_header"
            ));
        }
        let unchecked = backend.is_some_and(|backend| backend.health_check.is_none());
        if speaks_of(&Metric::HealthyEndpoints, Some(side)) && unchecked {
            told.push(format!(
                "healthy_endpoints takes every endpoint for healthy that nobody took out: backend {name} has no health_check"
            ));
        }
    }
    let mirror = route.and_then(|route| route.mirror.as_ref());
    let compares = |mirror: &Mirror| mirror.to == plan.canary && mirror.compare > MirrorDepth::Off;
    if speaks_of(&Metric::DifferenceRate, None) && !mirror.is_some_and(compares) {
        told.push(format!(
            "difference_rate says nothing: route {} has no mirror to {} that compares",
            plan.route, plan.canary
        ));
    }
    let differs = |condition: &Condition| {
        condition.gauges().any(|gauge| gauge.metric == Metric::DifferenceRate)
    };
    let full = plan.steps.iter().filter(|step| step.weight == Weight::FULL);
    told.extend(full.filter(|step| step.require.iter().any(differs)).map(|step| {
        format!("step {} cannot be left: at 100 % there is nothing to compare", step.name)
    }));
    told
}
