//! Commands that operate a rollout, and how one looks in the status.

use std::{fmt::Write as _, fs, path::Path, process::ExitCode, time::Duration};

use http::Method;

use super::{
    exit::{self, Failure},
    output, words,
};
use crate::admin::{
    client::{Client, segment},
    wire::{ConditionStatus, ReportFormat, RolloutStatus, Signature, ThresholdWish, Verb},
};

/// Does `verb`, and shows the rollout as it is then.
pub(super) async fn operate(
    client: &Client,
    verb: Verb,
    rollout: &str,
    reason: Option<String>,
) -> Result<ExitCode, Failure> {
    let path = format!("/v1/rollouts/{}/{}", segment(rollout), verb.word());
    let signature = Signature { actor: None, reason };
    let status: RolloutStatus = client.send(Method::POST, &path, &signature).await?;
    let mut out = String::new();
    show(&mut out, &status);
    output::print(&words::plain(&out))
}

/// Changes one threshold.
pub(super) async fn set(
    client: &Client,
    rollout: &str,
    key: String,
    value: String,
    reason: Option<String>,
) -> Result<ExitCode, Failure> {
    let path = format!("/v1/rollouts/{}", segment(rollout));
    let changes = [(key, value.into())].into();
    let wish = ThresholdWish { actor: None, reason, changes };
    let status: RolloutStatus = client.send(Method::PATCH, &path, &wish).await?;
    let last = status.changed.last().map_or("nothing to change", String::as_str);
    output::print(&words::plain(&format!("rollout {}: {last}\n", status.name)))
}

/// Prints the report, or writes it to `file`.
pub(super) async fn report(
    client: &Client,
    rollout: &str,
    format: ReportFormat,
    file: Option<&Path>,
) -> Result<ExitCode, Failure> {
    let format = match format {
        ReportFormat::Md => "md",
        ReportFormat::Html => "html",
        ReportFormat::Json => "json",
    };
    let path = format!("/v1/rollouts/{}/report?format={format}", segment(rollout));
    let text = client.text(&path).await?;
    match file {
        None => output::print(&text),
        Some(file) => {
            fs::write(file, text).map_err(|error| {
                let message = format!("{} cannot be written: {error}", file.display());
                Failure::new(exit::BROKEN, message)
            })?;
            output::print(&format!("{} written\n", file.display()))
        }
    }
}

/// A rollout for people.
pub(super) fn show(out: &mut String, rollout: &RolloutStatus) {
    let RolloutStatus { name, route, baseline, canary, weight, .. } = rollout;
    let phase = rollout.phase.replace('_', " ");
    // Writing to a text cannot fail, here and below.
    let _ = writeln!(out, "\nrollout {name}  {phase}  ({baseline} → {canary} on route {route})");
    let width = name_width(rollout);
    let bar = words::bar(weight.percent());
    let _ = writeln!(out, "  {:<width$}  {bar}  {:>6}%", canary.as_str(), weight.to_string());
    step(out, rollout, width);
    if !rollout.because.is_empty() {
        let _ = writeln!(out, "  because  {}", rollout.because);
    }
    if !rollout.verdict.outcome.is_empty() {
        let reasons = rollout.verdict.reasons.join("; ");
        let colon = if reasons.is_empty() { "" } else { ": " };
        let _ = writeln!(out, "  verdict  {}{colon}{reasons}", rollout.verdict.outcome);
    }
    for missing in &rollout.missing {
        let _ = writeln!(out, "  missing  {missing}");
    }
    rollout.conditions.iter().for_each(|known| condition(out, known));
    exposure(out, rollout);
    for changed in &rollout.changed {
        let _ = writeln!(out, "  changed by hand  {changed}");
    }
    if rollout.plan_differs {
        let _ = writeln!(out, "  the file's plan is another one; it counts from the next start on");
    }
    if !rollout.durable {
        let _ =
            writeln!(out, "  NOT IN THE STATE FILE: nothing goes forward until it can be written");
    }
    if !rollout.fits.is_empty() {
        let _ = writeln!(out, "  you can  {}", rollout.fits.join(", "));
    }
}

fn name_width(rollout: &RolloutStatus) -> usize {
    let step = rollout.step.as_deref().map_or(0, |step| step.chars().count());
    rollout.canary.as_str().chars().count().max(step)
}

fn step(out: &mut String, rollout: &RolloutStatus, width: usize) {
    let Some(name) = &rollout.step else { return };
    let hold = rollout.steps.get(rollout.step_number.saturating_sub(1)).map(|step| step.hold_s);
    let whole = hold.unwrap_or_default();
    let served = if whole > 0.0 { (1.0 - rollout.left_s / whole) * 100.0 } else { 100.0 };
    let left = words::span(seconds(rollout.left_s));
    let of = rollout.steps.len();
    let _ = writeln!(
        out,
        "  {name:<width$}  {}  step {} of {of}, {left} left of {}",
        words::bar(served),
        rollout.step_number,
        words::span(seconds(whole)),
    );
}

fn condition(out: &mut String, condition: &ConditionStatus) {
    let ConditionStatus { role, condition: text, truth, left, missing, .. } = condition;
    let good = match (role.as_str(), truth.as_str()) {
        ("require", "true") | ("rollback" | "alert", "false") => "✓",
        (_, "inconclusive") => "?",
        _ => "✗",
    };
    let now = left.as_deref().unwrap_or("–");
    let missing = missing.as_deref().map_or_else(String::new, |text| format!("  ({text})"));
    let lasting = if condition.true_for_s > 0.0 && condition.for_s > 0.0 {
        let (so_far, of) = (seconds(condition.true_for_s), seconds(condition.for_s));
        format!("  for {} of {}", words::span(so_far), words::span(of))
    } else {
        String::new()
    };
    let _ = writeln!(out, "  {good} {role:<8}  {text}  now {now}{lasting}{missing}");
}

fn exposure(out: &mut String, rollout: &RolloutStatus) {
    let exposure = rollout.exposure;
    if exposure.requests == 0 && exposure.bad_responses == 0 {
        return;
    }
    let of = |limit: Option<u64>| limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let keys = exposure
        .keys
        .map_or_else(String::new, |keys| format!(", {keys}{} split keys", of(exposure.max_keys)));
    let _ = writeln!(
        out,
        "  exposed  {} requests, {}{} failed{keys}",
        exposure.requests,
        exposure.bad_responses,
        of(exposure.max_bad_responses)
    );
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rollout_shows_where_it_is_and_what_it_waits_for() {
        let rollout: RolloutStatus = serde_json::from_value(json!({
            "name": "api", "route": "web", "baseline": "blue", "canary": "green", "phase": "awaiting_gate",
            "step": "testing", "weight": 10, "since": "now", "started": "before", "run": 1, "step_number": 2,
            "steps": [
                { "name": "canary", "weight": 1, "hold_s": 60.0, "gate": false, "require": [] },
                { "name": "testing", "weight": 10, "hold_s": 120.0, "gate": true, "require": [] },
            ],
            "served_s": 90.0, "left_s": 30.0, "because": "step testing", "missing": ["180 requests"],
            "verdict": { "outcome": "inconclusive", "reasons": ["too few requests"] },
            "conditions": [
                { "role": "require", "condition": "requests >= 500", "truth": "false", "left": "320",
                  "right": "500", "missing": null, "for_s": 0.0, "true_for_s": 0.0 },
                { "role": "rollback", "condition": "p95 > 2s", "truth": "true", "left": "3s",
                  "right": "2s", "missing": null, "for_s": 300.0, "true_for_s": 20.0 },
                { "role": "alert", "condition": "error_rate > 1%", "truth": "inconclusive", "left": null,
                  "right": null, "missing": "too few requests", "for_s": 0.0, "true_for_s": 0.0 },
            ],
            "fits": ["advance", "rollback"], "changed": ["rollback.0.for 5m → 5s"], "plan_differs": true,
            "durable": false,
            "exposure": { "requests": 80, "bad_responses": 2, "max_bad_responses": 50, "keys": 7, "max_keys": null },
        }))
        .unwrap();
        let mut out = String::new();
        show(&mut out, &rollout);
        let expected = "
rollout api  awaiting gate  (blue → green on route web)
  green    ██░░░░░░░░░░░░░░░░░░      10%
  testing  ███████████████░░░░░  step 2 of 2, 30s left of 2m 0s
  because  step testing
  verdict  inconclusive: too few requests
  missing  180 requests
  ✗ require   requests >= 500  now 320
  ✗ rollback  p95 > 2s  now 3s  for 20s of 5m 0s
  ? alert     error_rate > 1%  now –  (too few requests)
  exposed  80 requests, 2 of 50 failed, 7 split keys
  changed by hand  rollback.0.for 5m → 5s
  the file's plan is another one; it counts from the next start on
  NOT IN THE STATE FILE: nothing goes forward until it can be written
  you can  advance, rollback
";
        assert_eq!(out, expected);
    }
}
