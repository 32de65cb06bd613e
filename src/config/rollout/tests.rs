//! Rollouts in small files: those that are good, odd, and wrong.

use crate::config::{Config, ConfigErrors, explain, parse, warnings};

const MINIMAL: &str = include_str!("../../../config/examples/minimal.toml");

const ROLLOUT: &str = "\
[rollout.api]
route = \"api\"
baseline = \"blue\"
canary = \"green\"
[[rollout.api.step]]
name = \"canary\"
weight = 10
hold = \"1h\"
require = [\"error_rate < 1%\", \"p95 < 1.2 * baseline.p95\"]
[[rollout.api.step]]
name = \"full\"
weight = 100
hold = \"24h\"
require = [\"external.cpu < 80%\"]
[[rollout.api.rollback]]
when = \"error_rate > 10%\"
for = \"5m\"
steps = [\"canary\"]
[[rollout.api.alert]]
when = \"error_rate > 1%\"
[metric.cpu]
prometheus = \"http://127.0.0.1:9090\"
query = \"cpu\"
unit = \"share\"
";

fn whole(rollout: &str) -> String {
    let minimal = MINIMAL.replace("split = { blue = 90, green = 10 }", "split = { blue = 100 }");
    format!("{minimal}{rollout}")
}

fn config(rollout: &str) -> Config {
    parse(&whole(rollout), "test.toml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"))
}

/// `ROLLOUT` with `old` replaced, and the one fault that it has.
fn fault(old: &str, new: &str) -> (String, String) {
    assert!(ROLLOUT.contains(old), "{old}");
    match parse(&whole(&ROLLOUT.replacen(old, new, 1)), "test.toml", &|_| None) {
        Err(ConfigErrors::Faulty { faults, .. }) if faults.len() == 1 => {
            (faults[0].key.clone(), faults[0].to_string())
        }
        other => panic!("{new} gave {other:?}"),
    }
}

#[test]
fn a_plan_is_read_with_its_defaults() {
    let config = config(ROLLOUT);
    assert_eq!(warnings(&config), []);
    let plan = &config.rollouts[0].plan;
    assert_eq!((plan.min_requests, plan.window.as_secs(), plan.settle.as_secs()), (50, 60, 2));
    assert_eq!(plan.breaker.consecutive_failures.value(), Some(10));
    assert_eq!(plan.rollback[0].when.to_string(), "error_rate > 10%");
    assert_eq!(plan.rollback[0].steps[0].as_str(), "canary");
    let kept = serde_json::to_string(plan).unwrap();
    assert_eq!(serde_json::from_str::<crate::domain::Plan>(&kept).unwrap(), *plan);
}

#[test]
fn what_is_wrong_is_told_at_its_key() {
    for (old, new, key, told) in [
        ("route = \"api\"", "route = \"apo\"", "route", "did you mean \"api\"?"),
        ("baseline = \"blue\"", "baseline = \"red\"", "baseline", "there is no backend"),
        ("canary = \"green\"", "canary = \"blue\"", "canary", "is the baseline too"),
        ("name = \"full\"", "name = \"canary\"", "step[1].name", "taken already"),
        ("weight = 100", "weight = 5", "step[1].weight", "falls from 10 to 5"),
        ("weight = 10\n", "weight = 101\n", "step[0].weight", "between 0 and 100"),
        ("hold = \"1h\"\n", "", "step[0]", "\"hold\" is missing"),
        ("\"error_rate < 1%\"", "\"p95 > 5%\"", "step[0].require[0]", "5% is a share"),
        (
            "external.cpu < 80%",
            "external.cpo < 80%",
            "step[1].require[0]",
            "did you mean external.cpu?",
        ),
        (
            "external.cpu < 80%",
            "external.cpu < 2s",
            "step[1].require[0]",
            "external.cpu is a share",
        ),
        ("external.cpu < 80%", "p95 < baseline.p95", "step[1].require[0]", "can never be met"),
        (
            "steps = [\"canary\"]",
            "steps = [\"canry\"]",
            "rollback[0].steps[0]",
            "did you mean \"canary\"?",
        ),
        ("route = \"api\"", "route = \"api\"\ndeadline = \"1h\"", "deadline", "take at least 25h"),
        (
            "route = \"api\"",
            "route = \"api\"\nwindow = \"500ms\"",
            "window",
            "from \"1s\" to \"7d\"",
        ),
        (
            "route = \"api\"",
            "route = \"api\"\non_failure = \"stop\"",
            "on_failure",
            "expected one of",
        ),
        (
            "route = \"api\"",
            "route = \"api\"\nbudget = { max_bad_responses = 0 }",
            "budget.max_bad_responses",
            "\"off\" or a whole number",
        ),
        (
            "hold = \"24h\"",
            "hold = \"24h\"\ngate = \"auto\"",
            "step[1].gate",
            "expected one of \"none\", \"manual\"",
        ),
    ] {
        let (at, text) = fault(old, new);
        assert_eq!(at, format!("rollout.api.{key}"), "{text}");
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn a_condition_is_shown_with_a_caret_under_its_fault() {
    let (_, text) = fault("error_rate < 1%", "p95 < baseline.p59");
    let picture = "\n  | p95 < baseline.p59\n  |       ^^^^^^^^^^^^\n  hint: did you mean ";
    assert!(text.contains(picture), "{text}");
}

#[test]
fn a_condition_that_never_changes_is_a_fault_or_where_it_may_be_meant_a_warning() {
    for (old, new, key, told) in [
        ("error_rate < 1%", "1 < 2", "step[0].require[0]", "is always true"),
        ("error_rate < 1%", "error_rate < 0%", "step[0].require[0]", "the step would never end"),
        ("error_rate > 10%", "error_rate > 150%", "rollback[0].when", "it would never act"),
        ("error_rate > 1%", "healthy_endpoints < 0", "alert[0].when", "can never be true"),
    ] {
        let (at, text) = fault(old, new);
        assert_eq!(at, format!("rollout.api.{key}"), "{text}");
        let carets = "^".repeat(new.len());
        assert!(text.contains(told) && text.contains(&format!("\n  | {carets}\n")), "{text}");
        assert!(text.contains("hint: "), "{text}");
    }
    let off = ROLLOUT.replace("\"error_rate < 1%\"", "\"success_rate >= 0%\"");
    let off = off.replace("when = \"error_rate > 10%\"", "when = \"error_rate > 100%\"");
    let config = parse(&whole(&off), "test.toml", &|_| None).unwrap();
    let told: Vec<_> = warnings(&config).iter().map(ToString::to_string).collect();
    let expected = [
        "rollout api: success_rate >= 0% is always true: it asks for nothing",
        "rollout api: error_rate > 100% can never be true: it is switched off",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_route_has_one_rollout_and_two_sides() {
    let twice = ROLLOUT.to_owned()
        + &ROLLOUT.split("[metric").next().unwrap().replace("rollout.api", "rollout.b");
    let Err(errors) = parse(&whole(&twice), "test.toml", &|_| None) else { panic!("it is taken") };
    assert!(errors.to_string().contains("rollout api moves route api already"), "{errors}");
    let third = whole(ROLLOUT).replace("{ blue = 100 }", "{ blue = 99, red = 1 }");
    let third = format!("{third}[backend.red]\nendpoints = [\"a:1\"]\n");
    let Err(errors) = parse(&third, "test.toml", &|_| None) else { panic!("it is taken") };
    assert!(errors.to_string().contains("its split names red"), "{errors}");
}

#[test]
fn odd_plans_are_warned_of() {
    let odd = ROLLOUT
        .replace("weight = 100", "weight = 50")
        .replace("hold = \"1h\"", "hold = \"10s\"")
        .replace("when = \"error_rate > 1%\"", "when = \"fallback_rate > 1%\"")
        .replace("\"error_rate < 1%\"", "\"cache_hit_rate > 70%\"");
    let whole = whole(&odd).replace("{ blue = 100 }", "{ blue = 90, green = 10 }");
    let config = parse(&whole, "test.toml", &|_| None).unwrap();
    let told: Vec<_> = warnings(&config).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "rollout api: its last step has 50 %: promotion takes the canary from there to 100 % at once",
            "rollout api: step canary lasts 10s, and its criteria look back 1m",
            "rollout api: green has 10 % of route api before it begins, unjudged",
            "rollout api: fallback_rate stays 0: route api has no fallback",
            "rollout api: cache_hit_rate says nothing: backend green has no cache_status_header",
        ]
    );
}

#[test]
fn a_service_that_nobody_checks_is_never_seen_down() {
    let told = |backend: &str| {
        let down =
            ROLLOUT.replace("when = \"error_rate > 10%\"", "when = \"healthy_endpoints < 1\"");
        assert_ne!(down, ROLLOUT);
        let green = "[backend.green]\n";
        let whole = whole(&down).replace(green, &format!("{green}{backend}"));
        let config = parse(&whole, "test.toml", &|_| None).unwrap();
        let told: Vec<_> = warnings(&config).iter().map(ToString::to_string).collect();
        told.iter().filter(|told| told.contains("backend green has no health_check")).count()
    };
    assert_eq!((told(""), told("health_check = { path = \"/health\" }\n")), (1, 0));
}

#[test]
fn a_plan_is_explained_with_its_earliest_end() {
    let text = explain(&config(ROLLOUT));
    for line in [
        "  api  route api: blue → green  begins by hand  promoted 1d 1h after its begin at the earliest",
        "  api  after 0s  10 %   canary  for 1h  needs error_rate < 1%, p95 < 1.2 * baseline.p95",
        "  api  after 1h  100 %  full    for 1d  needs external.cpu < 80%",
        "  api  rollback        error_rate > 10% for 5m at canary",
        "  api  alert, warning  error_rate > 1%",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
}
