//! Rollouts: what their keys mean together, and with routes, backends and metrics.

pub(super) mod explain;
mod facts;
pub(super) mod leaf;
pub(super) mod raw;
mod steps;
pub(super) mod warning;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use super::{
    fault::{Refusal, nearest, quote},
    model::{self, Metric, MetricUnit},
    outside,
    reader::{At, Reader},
    source::Span,
    validate::KnownBackends,
};
use crate::domain::{
    BackendName, Condition, MetricName, Plan, RolloutName, RouteName, Split, StepName,
    condition::{ConditionFault, Externals, Oddity, Purpose, Unit},
    plan::{Alert, Breaker, Budget, Limit, Rule, Span as PlanSpan},
};

/// What rollouts may speak of.
pub(super) struct Surroundings<'s> {
    /// Routes by name, with their splits; `None` where they could not be read.
    pub(super) routes: Option<HashMap<RouteName, Split>>,
    /// Every backend.
    pub(super) backends: &'s KnownBackends,
    /// Metrics from outside; `None` where they could not be read.
    pub(super) metrics: Option<Vec<(MetricName, Unit)>>,
}

impl<'s> Surroundings<'s> {
    /// Of what was read of the file.
    pub(super) fn new(
        routes: Option<&[model::Route]>,
        backends: &'s KnownBackends,
        metrics: Option<&[Metric]>,
    ) -> Self {
        let split = |route: &model::Route| (route.name.clone(), route.split.clone());
        let unit = |metric: &Metric| (metric.name.clone(), unit_of(metric.unit));
        Self {
            routes: routes.map(|routes| routes.iter().map(split).collect()),
            backends,
            metrics: metrics.map(|metrics| metrics.iter().map(unit).collect()),
        }
    }

    fn externals(&self) -> Externals<'_> {
        self.metrics.as_deref().map_or(Externals::Unchecked, Externals::Known)
    }
}

const fn unit_of(unit: MetricUnit) -> Unit {
    match unit {
        MetricUnit::Share => Unit::Share,
        MetricUnit::Duration => Unit::Duration,
        MetricUnit::Count => Unit::Count,
        MetricUnit::Bytes => Unit::Bytes,
    }
}

/// The rollouts of `named`; those with faults are left out.
pub(super) fn rollouts(
    named: Vec<(At<RolloutName>, At<raw::Rollout>)>,
    around: &Surroundings<'_>,
    reader: &mut Reader<'_>,
) -> Vec<model::Rollout> {
    let mut owners: HashMap<RouteName, RolloutName> = HashMap::new();
    let mut rollouts = Vec::with_capacity(named.len());
    for (name, section) in named {
        if let Some(route) = &section.value.route
            && let Some(other) = owners.insert(route.value.clone(), name.value.clone())
        {
            let message = format!("rollout {other} moves route {} already", route.value);
            let refusal = Refusal::new(message).hint("a route has one rollout at most");
            reader.fault(route.span, format!("rollout.{}.route", name.value), refusal);
        }
        let mut place = Place { name: name.value, around, reader };
        rollouts.extend(place.rollout(section.value));
    }
    rollouts
}

/// The routes that rollouts name, whatever else is wrong with them.
pub(super) fn routes_of(
    named: &[(At<RolloutName>, At<raw::Rollout>)],
) -> impl Iterator<Item = RouteName> {
    named.iter().filter_map(|(_, rollout)| rollout.value.route.as_ref().map(|at| at.value.clone()))
}

/// One rollout, and where its faults go.
struct Place<'p, 's> {
    name: RolloutName,
    around: &'p Surroundings<'p>,
    reader: &'p mut Reader<'s>,
}

impl Place<'_, '_> {
    fn fault(&mut self, span: Span, key: &str, refusal: Refusal) {
        self.reader.fault(span, format!("rollout.{}.{key}", self.name), refusal);
    }

    fn rollout(&mut self, section: raw::Rollout) -> Option<model::Rollout> {
        self.check_sides(&section);
        let names = steps::names(section.step.as_ref());
        let rollback = self.rollback_rules(section.rollback.value.0, &names);
        let alerts = self.alerts(section.alert.value.0, &names);
        let window = section.window;
        if !(SHORTEST_WINDOW..=LONGEST_WINDOW).contains(&window.value) {
            self.fault(window.span, "window", Refusal::new("must be from \"1s\" to \"7d\""));
        }
        let steps = section.step.and_then(|list| self.steps(list));
        let key = format!("rollout.{}", self.name);
        let checks = outside::checks(section.check.value.0, &key, self.reader);
        let hooks = outside::hooks(section.hook.value.0, &key, self.reader);
        let plan = Plan {
            name: self.name.clone(),
            route: section.route?.value,
            baseline: section.baseline?.value,
            canary: section.canary?.value,
            auto_start: section.auto_start.value,
            window: window.value,
            min_requests: section.min_requests.value.0,
            settle: section.settle.value.0,
            on_thin_traffic: section.on_thin_traffic.value,
            on_failure: section.on_failure.value,
            external: section.external.value,
            deadline: section.deadline.value.0.map(PlanSpan).into(),
            steps: steps?,
            rollback: rollback?,
            alerts: alerts?,
            breaker: breaker(&section.breaker),
            budget: Budget {
                max_bad_responses: section.budget.max_bad_responses.value.0.into(),
                max_exposed_keys: section.budget.max_exposed_keys.value.0.into(),
            },
        };
        if let Limit::At(deadline) = plan.deadline
            && plan.shortest() > deadline.0
        {
            let message = format!("the steps take at least {}", PlanSpan(plan.shortest()));
            let hint = "give it more time, or leave it out";
            self.fault(section.deadline.span, "deadline", Refusal::new(message).hint(hint));
        }
        Some(model::Rollout { plan, checks, hooks })
    }

    /// Route and backends exist, and the route knows no third one.
    fn check_sides(&mut self, section: &raw::Rollout) {
        for (side, name) in [("baseline", &section.baseline), ("canary", &section.canary)] {
            let Some(name) = name else { continue };
            let key = || format!("rollout.{}.{side}", self.name);
            self.around.backends.check(&name.value, name.span, key, self.reader);
        }
        if let (Some(baseline), Some(canary)) = (&section.baseline, &section.canary)
            && baseline.value == canary.value
        {
            let refusal = Refusal::new("is the baseline too");
            let hint = "name the backend under trial here";
            self.fault(canary.span, "canary", refusal.hint(hint));
        }
        let (Some(route), Some(routes)) = (&section.route, &self.around.routes) else { return };
        let Some(split) = routes.get(&route.value) else {
            let message = format!("there is no route {}", quote(route.value.as_str()));
            let names = routes.keys().map(RouteName::as_str);
            let hint = match nearest(route.value.as_str(), names) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => "name a [[route]] of this file".to_owned(),
            };
            self.fault(route.span, "route", Refusal::new(message).hint(hint));
            return;
        };
        let (Some(baseline), Some(canary)) = (&section.baseline, &section.canary) else { return };
        let known = |name: &BackendName| self.around.backends.has(name);
        if !known(&baseline.value) || !known(&canary.value) {
            return;
        }
        let side = |name: &BackendName| *name == baseline.value || *name == canary.value;
        if let Some((third, _)) = split.shares().iter().find(|(name, _)| !side(name)) {
            let message = format!("its split names {third}, which is neither side of the rollout");
            let hint = "a rollout moves a route between two backends";
            self.fault(route.span, "route", Refusal::new(message).hint(hint));
        }
    }

    fn rollback_rules(
        &mut self,
        list: Vec<At<raw::RollbackRule>>,
        names: &HashSet<StepName>,
    ) -> Option<Vec<Rule>> {
        let rules = list.into_iter().enumerate().map(|(at, At { value: rule, .. })| {
            self.rule(&format!("rollback[{at}]"), rule.when, &rule.r#for, rule.steps, names)
        });
        all(rules.collect())
    }

    fn alerts(
        &mut self,
        list: Vec<At<raw::AlertRule>>,
        names: &HashSet<StepName>,
    ) -> Option<Vec<Alert>> {
        let alerts = list.into_iter().enumerate().map(|(at, At { value: alert, .. })| {
            let key = format!("alert[{at}]");
            let rule = self.rule(&key, alert.when, &alert.r#for, alert.steps, names)?;
            Some(Alert { rule, severity: alert.severity.value })
        });
        all(alerts.collect())
    }

    fn rule(
        &mut self,
        key: &str,
        when: Option<At<leaf::ConditionText>>,
        lasting: &At<leaf::DurationOrZero>,
        steps: At<super::collection::List<StepName, 0, 64>>,
        names: &HashSet<StepName>,
    ) -> Option<Rule> {
        for (at, step) in steps.value.0.iter().enumerate() {
            if names.contains(&step.value) {
                continue;
            }
            let message = format!("there is no step {}", quote(step.value.as_str()));
            let hint = match nearest(step.value.as_str(), names.iter().map(StepName::as_str)) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => "name a step of this rollout".to_owned(),
            };
            self.fault(step.span, &format!("{key}.steps[{at}]"), Refusal::new(message).hint(hint));
        }
        let when = self.condition(&format!("{key}.when"), &when?, Purpose::Rule)?;
        Some(Rule { when, lasting: lasting.value.0, steps: steps.value.into_values() })
    }

    fn condition(
        &mut self,
        key: &str,
        text: &At<leaf::ConditionText>,
        purpose: Purpose,
    ) -> Option<Condition> {
        let told = &text.value.0;
        let condition = match Condition::parse(told, self.around.externals()) {
            Ok(condition) => condition,
            Err(fault) => {
                self.fault(text.span, key, refusal(&fault));
                return None;
            }
        };
        match condition.oddity(told, purpose) {
            Some(Oddity::Fault(fault)) => {
                self.fault(text.span, key, refusal(&fault));
                None
            }
            Some(Oddity::Warning(_)) | None => Some(condition),
        }
    }
}

fn refusal(fault: &ConditionFault) -> Refusal {
    let picture = fault.picture().replace('\n', "\n  | ");
    let mut refusal = Refusal::new(format!("{}\n  | {picture}", fault.message));
    refusal.hint.clone_from(&fault.hint);
    refusal
}

fn breaker(section: &raw::Breaker) -> Breaker {
    Breaker {
        consecutive_failures: section.consecutive_failures.value.0.into(),
        failure_share: section.failure_share.value.share(),
        of_at_least: section.of_at_least.value.0,
        within: section.within.value,
    }
}

/// Every item, or nothing after a fault. All of them were looked at by then.
fn all<T>(items: Vec<Option<T>>) -> Option<Vec<T>> {
    items.into_iter().collect()
}

/// Windows are made of ticks of a tenth of a second.
const SHORTEST_WINDOW: std::time::Duration = std::time::Duration::from_secs(1);

/// Beyond it a window would be kept too coarse.
const LONGEST_WINDOW: std::time::Duration = std::time::Duration::from_hours(7 * 24);
