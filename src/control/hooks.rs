//! Hooks: what a rollout calls on its way, one after the other, each within its own time.
//!
//! On a rollback they are the rungs of a ladder, climbed in the order of their levels after the traffic has moved; one that
//! fails keeps none of the others back. Before that, the first required one that fails ends the row: the rollout holds.

use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Serialize;

use super::{
    Outbound,
    outbound::Outgoing,
    program::{Ended, Program},
    status::rfc3339,
};
use crate::{
    config::model::{Hook, HookAction},
    domain::{BackendName, HookPoint, HookResult, RolloutName, RouteName, Weight},
    lifecycle::clock,
};

/// What hooks are told.
#[derive(Debug, Clone, Serialize)]
pub struct HookContext {
    /// The rollout.
    pub rollout: RolloutName,
    /// Its route.
    pub route: RouteName,
    /// What is known to be good.
    pub baseline: BackendName,
    /// What is under trial.
    pub canary: BackendName,
    /// The step's name, where there is one.
    pub step: Option<String>,
    /// The canary's weight, before a step the one to come.
    pub weight: Weight,
    /// Why, in one line; may be empty.
    pub reason: String,
}

/// Calls the hooks of `point`, and tells each result as it comes. Gives whether the rollout has to hold.
pub async fn run_hooks(
    hooks: &[Hook],
    point: HookPoint,
    context: &HookContext,
    outbound: &Outbound,
    mut told: impl FnMut(HookResult),
) -> bool {
    for hook in in_order(hooks, point) {
        let result = run_hook(hook, context, outbound).await;
        let holds = result.holds();
        told(result);
        if holds {
            return true;
        }
    }
    false
}

/// The hooks of `point` as they are called: by level, then as the file has them.
pub(super) fn in_order(hooks: &[Hook], point: HookPoint) -> Vec<&Hook> {
    let mut own: Vec<_> = hooks.iter().filter(|hook| hook.point == point).collect();
    own.sort_by_key(|hook| hook.level);
    own
}

async fn run_hook(hook: &Hook, context: &HookContext, outbound: &Outbound) -> HookResult {
    let Ended { outcome, took, output } = match &hook.action {
        HookAction::Exec(words) => {
            let environment = environment(hook, context);
            Program { words, environment, timeout: hook.timeout }.run().await
        }
        HookAction::Post(url) => post(url, hook, context, outbound).await,
    };
    HookResult {
        name: hook.name.to_string(),
        point: hook.point,
        level: hook.level,
        took,
        budget: hook.timeout,
        ok: outcome.is_ok(),
        required: hook.required,
        detail: outcome.map_or_else(|why| why, |()| "done".to_owned()),
        output,
    }
}

fn environment(hook: &Hook, context: &HookContext) -> Vec<(&'static str, String)> {
    let HookContext { rollout, route, baseline, canary, step, weight, reason } = context;
    vec![
        ("TIDEGATE_EVENT", hook.point.label().to_owned()),
        ("TIDEGATE_HOOK", hook.name.to_string()),
        ("TIDEGATE_ROLLOUT", rollout.to_string()),
        ("TIDEGATE_ROUTE", route.to_string()),
        ("TIDEGATE_BASELINE", baseline.to_string()),
        ("TIDEGATE_CANARY", canary.to_string()),
        ("TIDEGATE_STEP", step.clone().unwrap_or_default()),
        ("TIDEGATE_WEIGHT", weight.to_string()),
        ("TIDEGATE_REASON", reason.clone()),
    ]
}

/// What an address gets.
#[derive(Serialize)]
struct Body<'h> {
    event: HookPoint,
    hook: &'h str,
    #[serde(flatten)]
    context: &'h HookContext,
    at: String,
}

async fn post(url: &str, hook: &Hook, context: &HookContext, outbound: &Outbound) -> Ended {
    let at = rfc3339(clock::wall_millis());
    let body = Body { event: hook.point, hook: &hook.name, context, at };
    // Every part of it has a form in JSON.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
    let timeout = hook.timeout;
    let began = clock::now();
    let answer = outbound.ask(Outgoing { method: Method::POST, url, headers, body, timeout }).await;
    let took = clock::now().since(began);
    match answer {
        Ok(answer) => {
            let good = (200..300).contains(&answer.status);
            let outcome = if good { Ok(()) } else { Err(format!("status {}", answer.status)) };
            Ended { outcome, took, output: super::program::shown(&answer.body) }
        }
        Err(error) => Ended { outcome: Err(error.to_string()), took, output: String::new() },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::{
        outbound::tests::{answer, server},
        program::tests::shell,
    };

    fn hook(name: &str, point: HookPoint, level: Option<u8>, action: HookAction) -> Hook {
        let timeout = Duration::from_secs(60);
        Hook { name: name.into(), point, level, action, timeout, required: false }
    }

    fn exec(name: &str, point: HookPoint, level: Option<u8>, script: &str) -> Hook {
        hook(name, point, level, HookAction::Exec(shell(script)))
    }

    fn context() -> HookContext {
        HookContext {
            rollout: RolloutName::new("api").unwrap(),
            route: RouteName::new("web").unwrap(),
            baseline: BackendName::new("blue").unwrap(),
            canary: BackendName::new("green").unwrap(),
            step: Some("canary".into()),
            weight: Weight::from_percent(12.5).unwrap(),
            reason: "error_rate 12% > 10%".into(),
        }
    }

    async fn run(hooks: &[Hook], point: HookPoint) -> (bool, Vec<HookResult>) {
        let mut results = Vec::new();
        let outbound = Outbound::default();
        let holds = run_hooks(hooks, point, &context(), &outbound, |r| results.push(r)).await;
        (holds, results)
    }

    #[tokio::test]
    async fn the_ladder_is_climbed_by_level_and_no_rung_keeps_another_back() {
        let hooks = [
            exec("database", HookPoint::Rollback, Some(4), "echo 4"),
            exec("other", HookPoint::Promote, None, "echo no"),
            exec("application", HookPoint::Rollback, Some(3), "echo 3; exit 1"),
            exec("flag", HookPoint::Rollback, Some(1), "echo 1"),
        ];
        let (holds, results) = run(&hooks, HookPoint::Rollback).await;
        assert!(!holds, "nothing holds a rollback");
        let told: Vec<_> = results.iter().map(|r| (&*r.name, r.level, r.ok, &*r.output)).collect();
        assert_eq!(
            told,
            [
                ("flag", Some(1), true, "1"),
                ("application", Some(3), false, "3"),
                ("database", Some(4), true, "4")
            ]
        );
        assert_eq!(results[1].detail, "ended with exit status: 1");
    }

    #[tokio::test]
    async fn a_program_is_told_what_it_is_about() {
        let script = "env | grep ^TIDEGATE_ | sort";
        let hooks = [exec("tell", HookPoint::BeforeStep, None, script)];
        let (_, results) = run(&hooks, HookPoint::BeforeStep).await;
        let expected = [
            "TIDEGATE_BASELINE=blue",
            "TIDEGATE_CANARY=green",
            "TIDEGATE_EVENT=before_step",
            "TIDEGATE_HOOK=tell",
            "TIDEGATE_REASON=error_rate 12% > 10%",
            "TIDEGATE_ROLLOUT=api",
            "TIDEGATE_ROUTE=web",
            "TIDEGATE_STEP=canary",
            "TIDEGATE_WEIGHT=12.5",
        ];
        assert_eq!(results[0].output.lines().collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn a_required_failure_holds_and_ends_the_row() {
        let mut gate = exec("gate", HookPoint::BeforeStep, None, "false");
        let after = exec("after", HookPoint::BeforeStep, None, "true");
        let (holds, results) = run(&[gate.clone(), after.clone()], HookPoint::BeforeStep).await;
        assert_eq!((holds, results.len()), (false, 2), "it is not required");
        gate.required = true;
        let (holds, results) = run(&[gate, after], HookPoint::BeforeStep).await;
        assert_eq!((holds, results.len()), (true, 1));
    }

    #[tokio::test]
    async fn an_address_gets_the_same_as_json() {
        let (address, mut requests) =
            server(vec![answer(200, "", "noted"), answer(500, "", "broken")]).await;
        let url: Box<str> = format!("http://{address}/flags/off").into();
        let hooks = [hook("flag", HookPoint::Rollback, Some(1), HookAction::Post(url))];
        let (_, results) = run(&hooks, HookPoint::Rollback).await;
        assert_eq!((results[0].ok, &*results[0].output), (true, "noted"));
        let request = requests.recv().await.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /flags/off HTTP/1.1\r\n"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        for (key, value) in [("event", "rollback"), ("canary", "green"), ("hook", "flag")] {
            assert_eq!(body[key], value, "{body}");
        }
        assert_eq!(body["weight"], 12.5);
        let (_, results) = run(&hooks, HookPoint::Rollback).await;
        assert_eq!((results[0].ok, &*results[0].detail), (false, "status 500"));
    }
}
