//! Conditions that are good, and those that are not with what is said of them.

use proptest::prelude::*;

use super::*;
use crate::domain::MetricName;

fn parsed(text: &str) -> Condition {
    Condition::parse(text, Externals::Unchecked).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

#[test]
fn the_contracts_conditions_are_understood() {
    for text in [
        "requests >= 500",
        "success_rate >= 95%",
        "error_rate < 0.05%",
        "p95 < 150ms",
        "p95 < 1.2 * baseline.p95",
        "p95 > baseline.p95 + 2s",
        "fallback_rate > 25%",
        "healthy_endpoints < 1",
        "error_rate[5m] > 1%",
        "rps + baseline.rps > 6k",
        "process.memory > 80% * 512MiB",
        "process.cpu > 95%",
        "external.queue-depth == 0",
        "checks_failed > 0",
        "mean - 10ms <= baseline.mean",
    ] {
        let condition = parsed(text);
        assert_eq!(condition.to_string(), text);
        assert_eq!(parsed(&condition.to_string()), condition);
    }
}

#[test]
fn spaces_matter_nowhere_and_compound_durations_are_taken() {
    assert_eq!(parsed("  p95<1.2*baseline.p95+2s ").to_string(), "p95 < 1.2 * baseline.p95 + 2s");
    assert_eq!(parsed("p95 < 1m30s").to_string(), "p95 < 90000ms");
}

/// A text, what is said of it, where the carets begin, and what the hint holds.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    (
        "p95 > 5%",
        "5% is a share and cannot be compared with: p95 is a duration",
        "      ^^",
        "one unit",
    ),
    (
        "error_rate < 0.05",
        "0.05 is a plain number and",
        "             ^^^^",
        "write a share in percent: 5%",
    ),
    ("p95 < 100", "100 is a plain number and", "      ^^^", "give the unit: 150ms, 2s"),
    ("eror_rate < 1%", "there is no metric \"eror_rate\"", "^^^^^^^^^", "did you mean error_rate?"),
    ("nonsense < 1%", "there is no metric \"nonsense\"", "^^^^^^^^", "known: requests, rps"),
    (
        "error_rate",
        "expected a comparison: one of < <= > >= ==, found the end",
        "          ^",
        "compares two terms",
    ),
    (
        "error_rate => 1%",
        "expected a comparison: one of < <= > >= ==, found \"=>\"",
        "           ^^",
        "compares",
    ),
    ("error_rate < ", "expected a metric or a number, found the end", "             ^", "compares"),
    (
        "error_rate < 1% 2",
        "expected an operator or the end, found \"2\"",
        "                ^",
        "compares",
    ),
    ("p95 < 5parsec", "\"5parsec\" is no number with a unit", "      ^^^^^^^", "known units: k %"),
    ("p95 * p95 < 1s", "a duration cannot be multiplied by a duration", "      ^^^", ""),
    (
        "p95 + 1% < 1s",
        "1% is a share and cannot be added to: p95 is a duration",
        "      ^^",
        "one unit",
    ),
    (
        "baseline.checks_failed > 0",
        "checks_failed is not measured on the baseline",
        "^^^^^^^",
        "write checks_failed",
    ),
    (
        "process.memory[5m] > 1GB",
        "process.memory is a value of the moment",
        "               ^^",
        "",
    ),
    ("error_rate[0s] > 1%", "\"0s\" is no window", "           ^^", "from 1s to 7d"),
    ("error_rate[5m > 1%", "expected a closing bracket, found", "             ^", ""),
    ("", "expected a metric or a number, found the end", "^", "compares"),
];

#[test]
fn faults_show_the_place_and_the_way_out() {
    for (text, message, carets, hint) in FAULTS {
        let fault = Condition::parse(text, Externals::Unchecked).unwrap_err();
        assert!(fault.message.contains(message), "{text}: {}", fault.message);
        let picture = fault.picture();
        let under = picture.lines().nth(1).unwrap();
        assert!(under.starts_with(carets), "{text}:\n{picture}");
        let told = fault.hint.clone().unwrap_or_default();
        assert!(told.contains(hint), "{text}: hint {told:?}");
    }
}

#[test]
fn metrics_from_outside_are_held_against_those_that_exist() {
    let cpu = [(MetricName::new("cpu").unwrap(), Unit::Share)];
    let parse = |text| Condition::parse(text, Externals::Known(&cpu));
    assert!(parse("external.cpu > 80%").is_ok());
    assert!(parse("external.cpu > 2s").unwrap_err().message.contains("cpu is a share"));
    assert_eq!(parse("external.cp > 1%").unwrap_err().hint.unwrap(), "did you mean external.cpu?");
    let unknown = parse("external.memory > 1%").unwrap_err();
    assert_eq!(unknown.message, "there is no section [metric.memory]");
    let json = serde_json::to_string(&parse("external.cpu > 80%").unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Condition>(&json).unwrap().to_string(), "external.cpu > 80%");
}

#[test]
fn values_are_shown_in_their_unit() {
    for (unit, value, text) in [
        (Unit::Share, 0.0125, "1.25%"),
        (Unit::Share, 0.00001, "0.0010%"),
        (Unit::Duration, 0.150, "150ms"),
        (Unit::Duration, 2.5, "2.5s"),
        (Unit::Bytes, 2.4e9, "2.4GB"),
        (Unit::Rate, 6000.0, "6000/s"),
        (Unit::Count, 0.0, "0"),
    ] {
        assert_eq!(unit.show(value), text);
    }
}

fn factors() -> impl Strategy<Value = String> {
    let metric = prop::sample::select(vec!["p50", "p95[5m]", "baseline.p99", "baseline.mean[90s]"]);
    let number = (0..100_000u32, prop::sample::select(vec!["ms", "s", "us", "m"]))
        .prop_map(|(number, unit)| format!("{}{unit}", f64::from(number) / 100.0));
    let plain = (0..1_000u32).prop_map(|number| format!("{} * p90", f64::from(number) / 10.0));
    prop_oneof![metric.prop_map(str::to_owned), number, plain]
}

proptest! {
    #[test]
    fn what_is_displayed_is_parsed_back(
        left in prop::collection::vec(factors(), 1..4),
        right in prop::collection::vec(factors(), 1..4),
        op in prop::sample::select(vec!["<", "<=", ">", ">=", "=="]),
        sign in prop::sample::select(vec![" + ", " - "]),
    ) {
        let text = format!("{} {op} {}", left.join(sign), right.join(sign));
        let condition = parsed(&text);
        prop_assert_eq!(&parsed(&condition.to_string()), &condition);
        let json = serde_json::to_string(&condition).unwrap();
        prop_assert_eq!(serde_json::from_str::<Condition>(&json).unwrap(), condition);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|[a-z0-9.%*<>=\\[\\] +-])*") {
        if let Err(fault) = Condition::parse(&text, Externals::Unchecked) {
            let _ = fault.to_string();
        }
    }
}

/// A plan is kept by what its conditions are written as, which may be longer than what was read.
#[test]
fn whatever_is_taken_can_be_read_back() {
    let of = |length: usize| {
        let factors = vec![format!("external.{}", "a".repeat(length)); 10];
        let text = factors.join("*") + ">5";
        assert!(text.len() <= MAX_CONDITION, "{} bytes", text.len());
        Condition::parse(&text, Externals::Unchecked)
    };
    let taken = of(38).unwrap();
    assert_eq!(parsed(&taken.to_string()), taken);
    let refused = of(40).unwrap_err().to_string();
    assert!(refused.contains("at most 512 bytes"), "{refused}");
}
