//! One report in its three forms.

use serde_json::json;

use super::*;
use crate::telemetry::EventKind;

/// A rollout that was rolled back, with names that mean harm.
pub(crate) fn report() -> Report {
    let rollout = json!({
        "name": "api", "route": "api", "baseline": "blue", "canary": "green", "phase": "rolled_back",
        "step": null, "weight": 0, "since": "2026-01-01T00:10:00Z", "started": "2026-01-01T00:00:00Z", "run": 2,
        "step_number": 0, "served_s": 0.0, "left_s": 0.0, "because": "error_rate > 10%",
        "steps": [{ "name": "<b>one</b>", "weight": 1.5, "hold_s": 600.0, "gate": true,
            "require": ["requests >= 500"] }],
        "missing": [], "verdict": { "outcome": "fail", "reasons": ["error_rate > 10%: 25% for 5 s"] },
        "conditions": [{ "role": "rollback", "condition": "error_rate > 10%", "truth": "true", "left": "25%",
            "right": "10%", "missing": null, "for_s": 5.0, "true_for_s": 5.0 }],
        "fits": ["start"], "changed": ["rollback.0.for 5m → 5s"], "plan_differs": false, "durable": true,
        "exposure": { "requests": 80, "bad_responses": 20, "max_bad_responses": 50, "keys": 7, "max_keys": null },
    });
    let side = |rps: f64, rate: f64| json!({ "rps": rps, "error_rate": rate, "p95_us": 1_500 });
    let sample = |at: u64, rate: f64| {
        let (baseline, canary) = (side(90.0, 0.0), side(10.0, rate));
        let at_ms = 1_700_000_000_000 + at;
        json!({ "at_ms": at_ms, "weight": 1.5, "baseline": baseline, "canary": canary })
    };
    let event = Event::new(
        EventKind::TaskFailed,
        1_700_000_000_500,
        "api",
        "a | b <script>alert(1)</script>",
    );
    Report {
        version: "9.9.9".to_owned(),
        made_at_ms: 1_700_000_100_000,
        started_at_ms: Some(1_700_000_000_000),
        ended_at_ms: Some(1_700_000_090_000),
        recommendation: "Mend \"green\" & start again.".to_owned(),
        rollout: serde_json::from_value(rollout).unwrap(),
        checks: vec![CheckRun {
            name: "reads back".to_owned(),
            category: "api".to_owned(),
            stage: "pre".to_owned(),
            ok: true,
            detail: "200".to_owned(),
            took_ms: 12,
        }],
        hooks: vec![HookRun {
            name: "undo".to_owned(),
            on: "rollback".to_owned(),
            level: 3,
            ok: false,
            took_ms: 2_000,
            budget_ms: 300_000,
            output: "no such deployment".to_owned(),
        }],
        events: vec![event.by("uid:alice(1000)")],
        samples: serde_json::from_value(json!([sample(0, 0.0), sample(1_000, 0.5)])).unwrap(),
        complete: true,
    }
}

#[test]
fn markdown_tells_it_all_in_tables() {
    let text = report().render(ReportFormat::Md).unwrap();
    for part in [
        "# Rollout api: rolled back\n",
        "| Took | 1 min 30 s |",
        "| Users exposed (split keys) | 7 |",
        "| Requests that the canary failed | 20 of 50 allowed |",
        "| green (canary) | 10.0 | 25.0 % | – | 1.50 ms | – |",
        "| rollback | error\\_rate > 10% | true | 25% against 10%, for 5.0 s of 5.0 s |",
        "| &lt;b>one&lt;/b> | 1.5 % | 10 min 0 s | by hand | requests >= 500 |",
        "| undo | rollback | 3 | FAILED | 2.0 s of 5 min 0 s | no such deployment |",
        "| 2023-11-14 22:13:20 | task\\_failed | a \\| b &lt;script>alert(1)&lt;/script> | uid:alice(1000) |",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn the_page_stands_alone_and_nothing_in_it_runs() {
    let page = report().render(ReportFormat::Html).unwrap();
    assert!(
        !page.contains("<script") && !page.contains("<b>one") && !page.contains("NaN"),
        "{page}"
    );
    for elsewhere in ["http://", "https://", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(elsewhere), "the page asks for something at {elsewhere}");
    }
    assert_eq!(page.matches("<svg ").count(), 4);
    assert_eq!(page.matches("<path ").count(), 7, "the weight is one line, all else two");
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("Mend &quot;green&quot; &amp; start again."));
    for tag in ["table", "figure", "svg", "div", "dl"] {
        let count = |mark: &str| page.matches(mark).count();
        assert_eq!(
            count(&format!("<{tag}>")) + count(&format!("<{tag} ")),
            count(&format!("</{tag}>")),
            "{tag}"
        );
    }
}

#[test]
fn json_is_the_report_itself() {
    let text = report().render(ReportFormat::Json).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report());
}

#[test]
fn every_phase_has_its_recommendation() {
    let mut rollout = report().rollout;
    let mut seen = std::collections::HashSet::new();
    for phase in [
        "idle",
        "baking",
        "holding",
        "awaiting_gate",
        "paused",
        "promoted",
        "rolled_back",
        "failed",
    ] {
        rollout.phase = phase.to_owned();
        assert!(seen.insert(story::recommend(&rollout, &[])), "{phase}");
    }
    assert!(story::recommend(&rollout, &["undo".to_owned()]).ends_with("need a hand: undo."));
}
