//! Evidence of a rollout that can begin, and what is said of it when one thing after the other is wrong.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    config::model::{Affinity, Check, CheckAction, Hook, HookAction, Sink, SinkKind},
    control::preflight::{
        evidence::{Brief, EndpointEvidence, Machine, Sample, SideEvidence},
        report::{Preflight, Recommendation},
    },
    domain::{CheckStage, HookPoint, MetricName, NotificationKind, Plan, Severity, SinkName},
};

fn plan() -> Plan {
    serde_json::from_value(json!({
        "name": "api", "route": "web", "baseline": "blue", "canary": "green",
        "auto_start": false, "window": "1m", "min_requests": 50, "settle": "2s",
        "on_thin_traffic": "hold", "on_failure": "rollback", "external": "required",
        "deadline": "off",
        "steps": [
            { "name": "canary", "weight": 10, "hold": "10m", "gate": false,
              "require": ["requests >= 500", "error_rate < 2%"] },
            { "name": "full", "weight": 100, "hold": "1h", "gate": false,
              "require": ["rps > 50", "external.cpu < 80%"] },
        ],
        "rollback": [{ "when": "error_rate > 10%", "for": "0s", "steps": [] }],
        "alerts": [
            { "rule": { "when": "error_rate > 1%", "for": "1m", "steps": [] }, "severity": "warning" },
        ],
        "breaker": { "consecutive_failures": { "at": 10 }, "failure_share": 0.5,
                     "of_at_least": 20, "within": "5s" },
        "budget": { "max_bad_responses": "off", "max_exposed_keys": "off" },
    }))
    .unwrap()
}

fn config() -> crate::config::Config {
    let text = "[admin]\nlisten = \"127.0.0.1:9900\"\n\
        [[listener]]\nbind = \"127.0.0.1:8080\"\n\
        [backend.blue]\nendpoints = [\"127.0.0.1:9001\"]\n\
        [backend.green]\nendpoints = [\"127.0.0.1:9002\"]\n\
        [[route]]\nname = \"web\"\nsplit = { blue = 100 }\n\
        [notify.chat]\nkind = \"slack\"\nurl = \"http://127.0.0.1:1/x\"\n";
    crate::config::parse(text, "test.toml", &|_| None).unwrap()
}

fn side(name: &str, address: &str) -> SideEvidence {
    SideEvidence {
        name: name.into(),
        endpoints: vec![EndpointEvidence {
            address: address.parse().unwrap(),
            drained: false,
            ill: None,
            resolved: Ok(1),
            connected: Ok(Duration::from_millis(1)),
            certificate: Some(Ok(60 * 86_400)),
        }],
        in_flight: 3,
        max_in_flight: 1024,
        requests_per_s: 100.0,
        failures_per_s: 0.0,
        latency: Some(Duration::from_millis(10)),
    }
}

fn brief(version: &str) -> Brief {
    Brief {
        status: 200,
        content_type: Some("text/html".into()),
        version: Some(("x-version", version.into())),
        clock_ahead_s: Some(1),
    }
}

/// Everything is as it should be.
fn evidence() -> Evidence {
    let data = Check {
        name: "data".into(),
        category: CheckCategory::Database,
        stages: vec![CheckStage::Pre],
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(30),
        required: true,
        action: CheckAction::Exec(vec!["data".into()]),
    };
    let undo = Hook {
        name: "undo".into(),
        point: HookPoint::Rollback,
        level: Some(4),
        action: HookAction::Exec(vec!["undo".into()]),
        timeout: Duration::from_secs(60),
        required: false,
    };
    Evidence {
        plan: plan(),
        checks: vec![data],
        hooks: vec![undo],
        config: config(),
        reload_rejected: false,
        draining: false,
        phase: Some("idle".into()),
        durable: true,
        baseline: side("blue", "127.0.0.1:9001"),
        canary: side("green", "127.0.0.1:9002"),
        samples: vec![Sample {
            path: "/".into(),
            baseline: vec![("127.0.0.1:9001".into(), Ok(brief("1")))],
            canary: vec![("127.0.0.1:9002".into(), Ok(brief("2")))],
        }],
        listener: Ok(brief("1")),
        machine: Machine {
            state_folder: "/var/lib/tidegate".into(),
            writable: Some(Ok(())),
            free_bytes: Some(1 << 40),
            free_files: Some(1 << 20),
            descriptors: Some(1 << 20),
            available_memory: Some(8 << 30),
            load: Some(0.5),
            cores: 2,
        },
        programs: vec![("hook undo".into(), Ok(()))],
        addresses: vec![("flags".into(), Ok(()))],
        sinks: vec![(SinkName::new("chat").unwrap(), Ok(()))],
        metrics: vec![(MetricName::new("cpu").unwrap(), Ok(0.2))],
        certificates: vec![("fullchain.pem of listener 0.0.0.0:443".into(), 60 * 86_400)],
    }
}

/// What one change to the evidence makes of it: the items that do not pass, and the recommendation.
fn changed(change: impl FnOnce(&mut Evidence)) -> (Vec<(String, PreflightResult)>, Recommendation) {
    let mut evidence = evidence();
    change(&mut evidence);
    let preflight = Preflight::conclude(evidence.plan.name.clone(), assess(&evidence));
    let bad = preflight.items.iter().filter(|item| item.result != PreflightResult::Pass);
    let bad = bad.map(|item| {
        assert!(item.mend.as_ref().is_some_and(|mend| !mend.is_empty()), "{item:?}");
        (item.name.clone(), item.result)
    });
    (bad.collect(), preflight.recommendation)
}

#[test]
fn a_rollout_that_can_begin_passes_every_check() {
    let evidence = evidence();
    let items = assess(&evidence);
    let bad: Vec<_> = items.iter().filter(|item| item.result != PreflightResult::Pass).collect();
    assert_eq!(bad, Vec::<&PreflightItem>::new());
    let all: usize = TABLES.iter().map(|(_, checks)| checks.len()).sum();
    assert_eq!(items.len(), all, "every check applies");
    assert!(all >= 25, "{all}");
    for category in CheckCategory::ALL {
        assert!(items.iter().any(|item| item.category == category), "{}", category.label());
    }
    let names: std::collections::HashSet<_> = items.iter().map(|item| &item.name).collect();
    assert_eq!(names.len(), all, "a name is used once");
}

type Change = Box<dyn Fn(&mut Evidence)>;

fn change(change: impl Fn(&mut Evidence) + 'static) -> Change {
    Box::new(change)
}

#[test]
fn what_would_hurt_users_stops() {
    let cases: Vec<(&str, Change)> = vec![
        ("canary names resolve", change(|e| e.canary.endpoints[0].resolved = Err("no".into()))),
        (
            "canary accepts connections",
            change(|e| e.canary.endpoints[0].connected = Err("refused".into())),
        ),
        (
            "baseline accepts connections",
            change(|e| e.baseline.endpoints[0].connected = Err("refused".into())),
        ),
        (
            "canary answers without errors",
            change(|e| e.samples[0].canary[0].1 = Err("reset".into())),
        ),
        (
            "certificates of endpoints are taken",
            change(|e| e.canary.endpoints[0].certificate = Some(Err("UnknownIssuer".into()))),
        ),
        ("the state file is written", change(|e| e.durable = false)),
        (
            "the state folder is writable",
            change(|e| e.machine.writable = Some(Err("read-only".into()))),
        ),
        ("the state folder is writable", change(|e| e.machine.writable = None)),
        ("the state disk has room", change(|e| e.machine.free_bytes = Some(1 << 20))),
        (
            "the two sides are different endpoints",
            change(|e| e.canary.endpoints[0].address = "127.0.0.1:9001".parse().unwrap()),
        ),
        ("Tidegate serves", change(|e| e.draining = true)),
        ("the rollout can be started", change(|e| e.phase = Some("baking".into()))),
        (
            "the route leads to both sides",
            change(|e| e.plan.route = crate::domain::RouteName::new("gone").unwrap()),
        ),
    ];
    for (name, change) in cases {
        let (bad, recommendation) = changed(change);
        assert!(bad.contains(&(name.to_owned(), PreflightResult::Fail)), "{name}: {bad:?}");
        assert_eq!(recommendation, Recommendation::Stop, "{name}");
    }
    let (bad, recommendation) =
        changed(|e| e.canary.endpoints[0].ill = Some("unhealthy: GET / gives 503".into()));
    assert!(bad.contains(&("canary endpoints are well".into(), PreflightResult::Fail)), "{bad:?}");
    assert_eq!(recommendation, Recommendation::Stop);
    let (bad, recommendation) = changed(|e| e.canary.endpoints[0].drained = true);
    assert!(bad.contains(&("canary endpoints in use".into(), PreflightResult::Fail)), "{bad:?}");
    assert_eq!(recommendation, Recommendation::Stop);
}

#[test]
fn what_is_to_be_mended_first_holds() {
    let cases: Vec<(&str, Change)> = vec![
        (
            "both sides answer with the same status",
            change(|e| e.samples[0].canary[0].1.as_mut().unwrap().status = 404),
        ),
        (
            "baseline answers without errors",
            change(|e| e.samples[0].baseline[0].1 = Err("reset".into())),
        ),
        ("the route is reached through the listener", change(|e| e.listener = Err("no".into()))),
        (
            "a failure turns back by itself",
            change(|e| {
                e.plan.rollback.clear();
                e.plan.breaker.consecutive_failures = crate::domain::plan::Limit::Off;
            }),
        ),
        (
            "canary is about as fast as the baseline",
            change(|e| e.canary.latency = Some(Duration::from_secs(1))),
        ),
        (
            "canary may have as many requests in flight",
            change(|e| e.canary.max_in_flight = e.baseline.in_flight),
        ),
        ("certificates last", change(|e| e.certificates[0].1 = -1)),
        ("certificates last", change(|e| e.canary.endpoints[0].certificate = Some(Ok(0)))),
        ("memory is available", change(|e| e.machine.available_memory = Some(1 << 20))),
        ("the baseline is well", change(|e| e.baseline.failures_per_s = 20.0)),
        ("the state disk takes more files", change(|e| e.machine.free_files = Some(0))),
        ("the configuration in force is the file's", change(|e| e.reload_rejected = true)),
        ("programs can be run", change(|e| e.programs[0].1 = Err("not found".into()))),
        ("addresses of hooks answer", change(|e| e.addresses[0].1 = Err("refused".into()))),
        ("sinks of notifications answer", change(|e| e.sinks[0].1 = Err("refused".into()))),
        ("metrics from outside have an answer", change(|e| e.metrics[0].1 = Err("NaN".into()))),
    ];
    for (name, change) in cases {
        let (bad, recommendation) = changed(change);
        assert_eq!(bad, [(name.to_owned(), PreflightResult::Fail)]);
        assert_eq!(recommendation, Recommendation::Hold, "{name}");
    }
}

#[test]
fn what_is_odd_is_said_and_does_not_hold() {
    let cases: Vec<(&str, Change)> = vec![
        (
            "both sides answer with the same content type",
            change(|e| e.samples[0].canary[0].1.as_mut().unwrap().content_type = None),
        ),
        (
            "the canary is another version",
            change(|e| {
                let brief = e.samples[0].canary[0].1.as_mut().unwrap();
                brief.version = Some(("x-version", "1".into()));
            }),
        ),
        (
            "canary is about as fast as the baseline",
            change(|e| e.canary.latency = Some(Duration::from_millis(60))),
        ),
        (
            "canary has as many endpoints",
            change(|e| {
                let mut more = e.baseline.endpoints[0].clone();
                more.address = "127.0.0.1:9003".parse().unwrap();
                e.baseline.endpoints.push(more);
            }),
        ),
        (
            "open files are enough for the listeners",
            change(|e| e.machine.descriptors = Some(1_024)),
        ),
        ("certificates last", change(|e| e.certificates[0].1 = 13 * 86_400)),
        ("the processor has room", change(|e| e.machine.load = Some(9.0))),
        ("the baseline is well", change(|e| e.baseline.failures_per_s = 2.0)),
        ("the state disk has room", change(|e| e.machine.free_bytes = Some(100 << 20))),
        ("data has a check of its own", change(|e| e.checks.clear())),
        ("data has a way back", change(|e| e.hooks.clear())),
        ("sessions stay on their side", change(|e| e.config.routes[0].affinity = Affinity::None)),
        ("the first step is small", change(|e| drop(e.plan.steps.remove(0)))),
        ("the last step is all traffic", change(|e| drop(e.plan.steps.pop()))),
        ("a failure turns back by itself", change(|e| e.plan.rollback.clear())),
        ("each step has criteria", change(|e| e.plan.steps[1].require.clear())),
        (
            "the clocks agree",
            change(|e| e.samples[0].canary[0].1.as_mut().unwrap().clock_ahead_s = Some(-60)),
        ),
        (
            "metrics from outside have an answer",
            change(|e| {
                e.metrics[0].1 = Err("NaN".into());
                e.plan.external = crate::domain::plan::ExternalSources::Optional;
            }),
        ),
        ("notifications go somewhere", change(|e| e.config.sinks.clear())),
        ("a rollback is told", change(|e| e.config.sinks[0].events = vec![NotificationKind::Held])),
        ("the plan has alerts", change(|e| e.plan.alerts.clear())),
        ("metrics can be scraped", change(|e| e.config.admin.listen = None)),
    ];
    for (name, change) in cases {
        let (bad, recommendation) = changed(change);
        assert_eq!(bad, [(name.to_owned(), PreflightResult::Warn)]);
        assert_eq!(recommendation, Recommendation::Proceed, "{name}");
    }
}

#[test]
fn thresholds_are_held_against_the_present_traffic() {
    let quiet = |rps: f64| {
        changed(move |e| {
            e.baseline.requests_per_s = rps;
            e.canary.requests_per_s = 0.0;
        })
        .0
    };
    let enough =
        ("there is enough traffic for rates and latencies".to_owned(), PreflightResult::Warn);
    let volumes =
        ("volumes that the plan asks for are reachable".to_owned(), PreflightResult::Warn);
    assert_eq!(quiet(100.0), []);
    // 8 requests a second: 48 of the canary in a window of a minute, 480 in its 10 minutes.
    assert_eq!(quiet(8.0), [enough.clone(), volumes.clone()]);
    assert_eq!(quiet(40.0), std::slice::from_ref(&volumes), "rps > 50 is out of reach");
    assert_eq!(quiet(0.0), [enough, volumes]);
}

#[test]
fn a_sink_is_only_looked_at_when_there_is_one() {
    let (bad, _) = changed(|e| {
        e.config.sinks.clear();
        e.sinks.clear();
        e.metrics.clear();
        e.programs.clear();
        e.addresses.clear();
    });
    assert_eq!(bad, [("notifications go somewhere".to_owned(), PreflightResult::Warn)]);
    let sink = Sink {
        name: SinkName::new("a").unwrap(),
        kind: SinkKind::Slack(crate::config::model::Address::File("/x".into())),
        events: NotificationKind::ALL.to_vec(),
        min_severity: Severity::Info,
        timeout: Duration::from_secs(1),
    };
    assert_eq!(changed(move |e| e.config.sinks = vec![sink]).0, []);
}
