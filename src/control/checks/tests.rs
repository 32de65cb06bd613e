//! Checks against made-up endpoints.

use std::collections::HashMap;

use super::*;
use crate::{
    config::model::StatusSet,
    control::{
        outbound::tests::{answer, server},
        program::tests::shell,
    },
    domain::{CheckCategory, SeriesId},
    lifecycle::Tasks,
    routing::{Ingredients, TablePublisher, build},
};

pub(super) fn expectations(status: &str) -> Expectations {
    Expectations {
        status: StatusSet::parse(status).unwrap(),
        max_latency: None,
        headers: Vec::new(),
        body_contains: "".into(),
        json: Vec::new(),
    }
}

fn request(method: Method) -> CheckRequest {
    let headers = vec![("x-a".parse().unwrap(), "b".into())];
    CheckRequest { method, path: "/health?x=1".into(), headers, body: "".into() }
}

fn check(name: &str, action: CheckAction) -> Check {
    Check {
        name: name.into(),
        category: CheckCategory::Api,
        stages: vec![CheckStage::During],
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(30),
        required: true,
        action,
    }
}

fn http(target: CheckTarget, method: Method) -> Check {
    let (request, expect) = (request(method), expectations("200"));
    check("http", CheckAction::Http { target, request, expect })
}

fn side(name: &str, endpoints: &[SocketAddr]) -> Side {
    let endpoints = endpoints.iter().map(|address| address.to_string().parse().unwrap());
    let (name, protocol) = (BackendName::new(name).unwrap(), BackendProtocol::Http1);
    Side { name, endpoints: endpoints.collect(), protocol, tls: None }
}

fn targets(blue: &[SocketAddr], green: &[SocketAddr]) -> CheckTargets {
    CheckTargets {
        rollout: RolloutName::new("api").unwrap(),
        baseline: side("blue", blue),
        canary: side("green", green),
        listener: None,
        listener_tls: None,
        host: Some("shop.example.com".into()),
    }
}

async fn run(check: &Check, targets: &CheckTargets) -> CheckResult {
    run_check(check, CheckStage::Pre, targets, &Outbound::default()).await
}

#[tokio::test]
async fn each_endpoint_is_asked_unless_it_may_change_something() {
    let (good, mut requests) = server(vec![answer(200, "", "ok")]).await;
    let (bad, _) = server(vec![answer(500, "", "no")]).await;
    let targets = targets(&[], &[good, bad]);
    let result = run(&http(CheckTarget::Canary, Method::GET), &targets).await;
    assert!(!result.passed);
    assert_eq!(result.detail, format!("green at {bad}: status 500, expected 200"));
    let sent = requests.recv().await.unwrap().to_lowercase();
    assert!(sent.starts_with("get /health?x=1 http/1.1\r\n"), "{sent}");
    assert!(sent.contains("host: shop.example.com\r\n") && sent.contains("x-a: b\r\n"), "{sent}");
    assert!(run(&http(CheckTarget::Canary, Method::POST), &targets).await.passed);
}

#[tokio::test]
async fn both_sides_are_held_against_each_other() {
    let (blue, _one) = server(vec![answer(200, "", r#"{"v":1}"#)]).await;
    let (green, _two) = server(vec![answer(200, "", r#"{"v":2}"#)]).await;
    let targets = targets(&[blue], &[green]);
    let result = run(&http(CheckTarget::Both, Method::GET), &targets).await;
    let says = format!("blue at {blue} and green at {green} disagree: $.v is 1 and 2");
    assert_eq!((result.passed, result.detail), (false, says));
    assert!(run(&http(CheckTarget::Baseline, Method::GET), &targets).await.passed);
}

#[tokio::test]
async fn who_is_not_there_fails() {
    let nobody = targets(&[], &[]);
    let result = run(&http(CheckTarget::Canary, Method::GET), &nobody).await;
    assert_eq!((result.passed, &*result.detail), (false, "green has no endpoint in use"));
    let result = run(&http(CheckTarget::Proxy, Method::GET), &nobody).await;
    assert_eq!((result.passed, &*result.detail), (false, "there is no listener to ask"));
    let (listener, _requests) = server(vec![answer(200, "", "ok")]).await;
    let through = CheckTargets { listener: Some(listener), ..nobody };
    assert!(run(&http(CheckTarget::Proxy, Method::GET), &through).await.passed);
}

#[tokio::test]
async fn a_program_passes_with_exit_code_zero() {
    let (blue, _requests) = server(vec![answer(200, "", "ok")]).await;
    let targets = targets(&[blue], &[]);
    let script = "echo \"$TIDEGATE_STAGE $TIDEGATE_BASELINE_ENDPOINTS\"";
    let result = run(&check("a", CheckAction::Exec(shell(script))), &targets).await;
    assert_eq!((result.passed, result.detail), (true, format!("exit code 0: pre {blue}")));
    let result = run(&check("a", CheckAction::Exec(shell("echo why; exit 2"))), &targets).await;
    assert_eq!((result.passed, &*result.detail), (false, "ended with exit status: 2: why"));
}

#[tokio::test]
async fn a_stage_runs_its_own_checks_in_order() {
    let exec = |name, script| check(name, CheckAction::Exec(shell(script)));
    let mut checks = [exec("a", "true"), exec("b", "false"), exec("c", "true")];
    checks[0].stages = vec![CheckStage::Pre, CheckStage::Post];
    checks[2].stages = vec![CheckStage::Pre];
    let outbound = Outbound::default();
    let results = run_stage(&checks, CheckStage::Pre, &targets(&[], &[]), &outbound).await;
    let names: Vec<_> = results.iter().map(|result| result.name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
}

/// A table with a blue and a green that nobody asks.
fn table() -> TablePublisher {
    let text = include_str!("../../../config/examples/minimal.toml");
    let ingredients = Ingredients {
        splits: &HashMap::new(),
        secret: &mut |_| Ok(Vec::new()),
        series: &mut |_, _| Ok(SeriesId(1)),
        fallbacks: &mut |_, _, _| Ok(SeriesId(2)),
        mirrors: &mut |_, _| Ok(SeriesId(3)),
        pages: &HashMap::new(),
        previous: None,
        tls: &crate::tls::Material::default(),
        workers: 1,
        now: crate::domain::Moment::default(),
    };
    let config = crate::config::parse(text, "test.toml", &|_| None).unwrap();
    TablePublisher::new(build(&config, ingredients).unwrap())
}

#[tokio::test]
async fn checks_run_again_and_again_and_their_failures_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    let script = format!("test ! -e {}", broken.display());
    let mut optional = check("optional", CheckAction::Exec(shell("false")));
    optional.required = false;
    let checks = [check("flag", CheckAction::Exec(shell(&script))), optional];
    let tasks = Tasks::new(|failure| panic!("{failure}"));
    let whom = (&targets(&[], &[]), &table().view());
    let running = RunningChecks::start(&checks, whom, &tasks, &Outbound::default());
    assert_eq!(running.failed(), None, "nothing is known yet");
    let until = async |failed| {
        while running.failed() != Some(failed) || running.results().len() != 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    until(0).await;
    std::fs::write(&broken, "").unwrap();
    until(1).await;
    std::fs::remove_file(&broken).unwrap();
    until(0).await;
    assert!(!running.results()[1].passed, "an optional failure is shown, and not counted");
}

#[test]
fn an_address_for_all_is_reached_at_home() {
    for (bind, reached) in
        [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80")]
    {
        assert_eq!(reachable(bind.parse().unwrap()), reached.parse().unwrap());
    }
}
