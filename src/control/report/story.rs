//! What every form of a report tells, before it is put into a form.

use std::time::Duration;

use super::{Report, words};
use crate::{
    control::rollouts::{ConditionStatus, RolloutStatus, SideSample},
    telemetry::Event,
};

/// A name and its value.
pub(super) type Fact = (&'static str, String);

/// The head of the report.
pub(super) fn facts(report: &Report) -> Vec<Fact> {
    let rollout = &report.rollout;
    let step = match &rollout.step {
        Some(step) => format!("{step} ({} of {})", rollout.step_number, rollout.steps.len()),
        None => "none".to_owned(),
    };
    let mut facts = vec![
        ("Route", rollout.route.to_string()),
        ("From", format!("{} (baseline)", rollout.baseline)),
        ("To", format!("{} (canary)", rollout.canary)),
        ("Phase", phase(&rollout.phase)),
        ("Step", step),
        ("Weight of the canary", format!("{} %", rollout.weight)),
        ("Run", rollout.run.to_string()),
    ];
    if let Some(started) = report.started_at_ms {
        let end = report.ended_at_ms.unwrap_or(report.made_at_ms);
        facts.push(("Began", format!("{} UTC", words::time(started))));
        facts.push(match report.ended_at_ms {
            Some(ended) => ("Ended", format!("{} UTC", words::time(ended))),
            None => ("Ended", "it still runs".to_owned()),
        });
        facts.push(("Took", words::millis(end.saturating_sub(started))));
    }
    facts.push(("Because", rollout.because.clone()));
    facts.extend(exposure(rollout));
    if !rollout.changed.is_empty() {
        facts.push(("Changed by hand", rollout.changed.join("; ")));
    }
    facts
}

fn exposure(rollout: &RolloutStatus) -> Vec<Fact> {
    let exposure = rollout.exposure;
    let of =
        |limit: Option<u64>| limit.map_or_else(String::new, |limit| format!(" of {limit} allowed"));
    let mut facts = vec![
        ("Requests that the canary took", exposure.requests.to_string()),
        (
            "Requests that the canary failed",
            format!("{}{}", exposure.bad_responses, of(exposure.max_bad_responses)),
        ),
    ];
    if let Some(keys) = exposure.keys {
        facts.push(("Users exposed (split keys)", format!("{keys}{}", of(exposure.max_keys))));
    }
    facts
}

/// A phase as people say it.
pub(super) fn phase(word: &str) -> String {
    words::plain(&word.replace('_', " "))
}

/// Time and text of an event, with who did it where that was somebody.
pub(super) fn event_text(event: &Event) -> String {
    format!("{} [{}]", words::plain(&event.message), words::plain(&event.actor))
}

/// A condition's present values, or what is missing for them.
pub(super) fn values(condition: &ConditionStatus) -> String {
    let sides = match (&condition.left, &condition.right) {
        (Some(left), Some(right)) => format!("{left} against {right}"),
        (Some(value), None) | (None, Some(value)) => value.clone(),
        (None, None) => String::new(),
    };
    let lasting = if condition.true_for_s > 0.0 && condition.for_s > 0.0 {
        format!(
            "for {} of {}",
            words::seconds(condition.true_for_s),
            words::seconds(condition.for_s)
        )
    } else {
        String::new()
    };
    let missing = condition.missing.clone().unwrap_or_default();
    let parts = [sides, lasting, missing].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

/// One row for each side: requests and means over the whole run.
pub(super) fn sides(report: &Report) -> Vec<[String; 6]> {
    let rollout = &report.rollout;
    let row = |name: String, side: &dyn Fn(usize) -> SideSample| {
        let count = report.samples.len();
        let busy: Vec<_> = (0..count).map(side).filter(|side| side.rps > 0.0).collect();
        // The sum of nothing is -0.
        let all: f64 = busy.iter().map(|side| side.rps).sum::<f64>() + 0.0;
        let mean = |value: &dyn Fn(&SideSample) -> Option<f64>| {
            let weighed: Vec<_> =
                busy.iter().filter_map(|side| Some((side.rps, value(side)?))).collect();
            let weight: f64 = weighed.iter().map(|(rps, _)| rps).sum();
            let sum: f64 = weighed.iter().map(|(rps, value)| rps * value).sum();
            (weight > 0.0).then(|| sum / weight)
        };
        let latency = |value: &dyn Fn(&SideSample) -> Option<u64>| {
            let mean = mean(&|side| value(side).map(|us| us as f64));
            mean.map_or_else(|| "–".to_owned(), |us| format!("{} ms", words::number(us / 1_000.0)))
        };
        let rate = mean(&|side| side.error_rate);
        [
            name,
            words::number(all / (busy.len().max(1)) as f64),
            rate.map_or_else(
                || "–".to_owned(),
                |rate| format!("{} %", words::number(rate * 100.0)),
            ),
            latency(&|side| side.p50_us),
            latency(&|side| side.p95_us),
            latency(&|side| side.p99_us),
        ]
    };
    vec![
        row(format!("{} (baseline)", rollout.baseline), &|at| report.samples[at].baseline),
        row(format!("{} (canary)", rollout.canary), &|at| report.samples[at].canary),
    ]
}

/// Heads of [`sides`].
pub(super) const SIDE_HEADS: [&str; 6] = ["Side", "Requests/s", "Error rate", "p50", "p95", "p99"];

/// Time that a hook took, against what it was given.
pub(super) fn against_budget(took_ms: u64, budget_ms: u64) -> String {
    format!("{} of {}", words::millis(took_ms), words::millis(budget_ms))
}

/// What to do next.
pub(in crate::control) fn recommend(rollout: &RolloutStatus, rungs_failed: &[String]) -> String {
    let RolloutStatus { name, canary, baseline, because, left_s, missing, .. } = rollout;
    let left = words::span(Duration::try_from_secs_f64(*left_s).unwrap_or_default());
    let text = match rollout.phase.as_str() {
        "promoted" => format!(
            "{canary} takes all requests. Keep {baseline} running until you no longer want it as the instant way back, \
             then make {canary} the baseline in the configuration."
        ),
        "rolled_back" => format!(
            "{baseline} takes all requests ({because}). Find out why in the logs of {canary} from the time of the first \
             failures on, mend it, and start again with: tidegate start {name}"
        ),
        "failed" => format!(
            "It ended without an answer ({because}). See which check or hook failed, mend that, and start again with: \
             tidegate start {name}"
        ),
        "paused" => format!(
            "It is paused ({because}) and goes no further by itself. Go on with: tidegate resume {name}; turn back with: \
             tidegate rollback {name}"
        ),
        "awaiting_gate" => format!(
            "The evidence is good and a person must decide. Go on with: tidegate advance {name}; turn back with: \
             tidegate rollback {name}"
        ),
        "holding" => format!(
            "It waits and may turn back, but does not go on: {}. Bring more traffic, mend what is missing, or decide by hand.",
            if missing.is_empty() { because.clone() } else { missing.join("; ") }
        ),
        "idle" => format!("Nothing runs. Begin with: tidegate start {name}"),
        _ => format!("Let it run: the next decision is due in {left} at the earliest."),
    };
    if rungs_failed.is_empty() {
        return text;
    }
    format!("{text} These hooks failed and need a hand: {}.", rungs_failed.join(", "))
}
