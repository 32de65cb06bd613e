//! The report as one page that needs nothing else: no script, no picture or font from elsewhere, light and dark.

use std::fmt::Write as _;

use super::{
    Report,
    chart::{Chart, Line, Mark},
    story, words,
};
use crate::{
    control::rollouts::{ConditionStatus, Sample, SideSample},
    telemetry::Event,
};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn render(report: &Report) -> String {
    let rollout = &report.rollout;
    let title = format!("Rollout {}: {}", rollout.name, story::phase(&rollout.phase));
    let title = escape(&title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p class=\"lead {}\">{}</p>\n",
        escape(&rollout.phase),
        escape(&report.recommendation)
    );
    let facts = story::facts(report).into_iter();
    out.push_str("<dl>\n");
    for (name, value) in facts {
        // Writing to a text cannot fail, here and below.
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    out.push_str("</dl>\n<h2>Both sides over time</h2>\n");
    charts(&mut out, report);
    table(
        &mut out,
        &story::SIDE_HEADS,
        story::sides(report).into_iter().map(|row| (Vec::from(row), "")),
    );
    criteria(&mut out, report);
    plan(&mut out, report);
    checks_and_hooks(&mut out, report);
    out.push_str("<h2>Timeline</h2>\n");
    let row = |event: &Event| {
        let kind = event.kind.label().to_owned();
        (vec![words::time(event.at_ms), kind, event.message.clone(), event.actor.clone()], "")
    };
    table(&mut out, &["Time (UTC)", "Event", "What", "Who"], report.events.iter().map(row));
    if !report.complete {
        out.push_str(
            "<p>The state file could not be read: older events and samples are missing here.</p>\n",
        );
    }
    let made = words::time(report.made_at_ms);
    let _ = writeln!(
        out,
        "<footer>Made by Tidegate {} at {made} UTC.</footer>\n</body>\n</html>",
        escape(&report.version)
    );
    out
}

fn charts(out: &mut String, report: &Report) {
    let mark = |event: &Event| Mark {
        at_ms: event.at_ms,
        text: format!("{} {}", words::time(event.at_ms), story::event_text(event)),
    };
    let marks: Vec<_> = report.events.iter().map(mark).collect();
    let rollout = &report.rollout;
    let points = |value: &dyn Fn(&Sample) -> Option<f64>| {
        report.samples.iter().map(|sample| (sample.at_ms, value(sample))).collect::<Vec<_>>()
    };
    let weight = points(&|sample| Some(sample.weight.percent()));
    let canary = rollout.canary.as_str();
    let weight = Chart {
        title: "Weight of the canary",
        unit: " %",
        lines: vec![Line { class: "canary", name: canary, points: weight }],
        marks: &marks,
        stepped: true,
        at_least: 1.0,
    };
    out.push_str(&weight.svg());
    type Value = fn(&SideSample) -> Option<f64>;
    let both: [(&str, &str, f64, Value); 3] = [
        ("Requests per second", "", 1.0, |side| Some(side.rps)),
        ("Error rate", " %", 1.0, |side| side.error_rate.map(|rate| rate * 100.0)),
        ("Latency: 95 % stay below", " ms", 1.0, |side| side.p95_us.map(|us| us as f64 / 1_000.0)),
    ];
    for (title, unit, at_least, value) in both {
        let baseline = points(&|sample| value(&sample.baseline));
        let canary_points = points(&|sample| value(&sample.canary));
        let lines = vec![
            Line { class: "baseline", name: rollout.baseline.as_str(), points: baseline },
            Line { class: "canary", name: canary, points: canary_points },
        ];
        out.push_str(&Chart { title, unit, lines, marks: &marks, stepped: false, at_least }.svg());
    }
}

fn criteria(out: &mut String, report: &Report) {
    let rollout = &report.rollout;
    let outcome = story::phase(&rollout.verdict.outcome);
    let _ = writeln!(
        out,
        "<h2>Criteria</h2>\n<p>Verdict: <strong>{}</strong></p>\n<ul>",
        escape(&outcome)
    );
    for reason in &rollout.verdict.reasons {
        let _ = writeln!(out, "<li>{}</li>", escape(reason));
    }
    out.push_str("</ul>\n");
    let row = |condition: &ConditionStatus| {
        let class = match (condition.truth.as_str(), condition.role.as_str()) {
            ("true", "require") => "good",
            ("false", "require") | ("true", _) => "bad",
            _ => "",
        };
        let cells = vec![
            condition.role.clone(),
            condition.condition.clone(),
            condition.truth.clone(),
            story::values(condition),
        ];
        (cells, class)
    };
    table(out, &["For", "Condition", "Truth", "Values"], rollout.conditions.iter().map(row));
}

fn plan(out: &mut String, report: &Report) {
    let rollout = &report.rollout;
    out.push_str("<h2>Plan</h2>\n");
    let rows = (1..).zip(&rollout.steps).map(|(number, step)| {
        let class = if number == rollout.step_number { "here" } else { "" };
        let gate = if step.gate { "by hand" } else { "" };
        let cells = vec![
            step.name.clone(),
            format!("{} %", step.weight),
            words::seconds(step.hold_s),
            gate.to_owned(),
            step.require.join(", "),
        ];
        (cells, class)
    });
    table(out, &["Step", "Weight", "Hold", "Gate", "Requires"], rows);
}

fn checks_and_hooks(out: &mut String, report: &Report) {
    let class = |ok| if ok { "good" } else { "bad" };
    if !report.checks.is_empty() {
        out.push_str("<h2>Checks</h2>\n");
        let rows = report.checks.iter().map(|check| {
            let result = if check.ok { "passed" } else { "failed" };
            let took = words::millis(check.took_ms);
            let [name, category, stage, detail] =
                [&check.name, &check.category, &check.stage, &check.detail].map(Clone::clone);
            (vec![name, category, stage, result.to_owned(), took, detail], class(check.ok))
        });
        table(out, &["Check", "Category", "Stage", "Result", "Took", "Seen"], rows);
    }
    if !report.hooks.is_empty() {
        out.push_str("<h2>Hooks</h2>\n");
        let rows = report.hooks.iter().map(|hook| {
            let result = if hook.ok { "done" } else { "failed" };
            let took = story::against_budget(hook.took_ms, hook.budget_ms);
            let level = hook.level.to_string();
            let [name, on, output] = [&hook.name, &hook.on, &hook.output].map(Clone::clone);
            (vec![name, on, level, result.to_owned(), took, output], class(hook.ok))
        });
        table(out, &["Hook", "At", "Level", "Result", "Took, of its budget", "Output"], rows);
    }
}

/// A table whose rows have a class each.
fn table(
    out: &mut String,
    heads: &[&str],
    rows: impl Iterator<Item = (Vec<String>, &'static str)>,
) {
    let heads: String = heads.iter().map(|head| format!("<th>{}</th>", escape(head))).collect();
    let _ = writeln!(out, "<div class=\"wide\"><table>\n<tr>{heads}</tr>");
    for (cells, class) in rows {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let _ = writeln!(out, "<tr class=\"{class}\">{cells}</tr>");
    }
    out.push_str("</table></div>\n");
}

/// Text that is text in a page, in an attribute too.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in words::plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
