//! The report as Markdown, for tickets and chats.

use std::fmt::Write as _;

use super::{Report, story, words};

/// The whole report.
pub(super) fn render(report: &Report) -> String {
    let rollout = &report.rollout;
    // Writing to a text cannot fail, here and below.
    let mut out = format!("# Rollout {}: {}\n\n", rollout.name, story::phase(&rollout.phase));
    let _ = writeln!(out, "**{}**\n", cell(&report.recommendation));
    let facts = story::facts(report);
    table(
        &mut out,
        &["", ""],
        facts.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]),
    );
    section(&mut out, "Both sides over the run");
    table(&mut out, &story::SIDE_HEADS, story::sides(report).into_iter().map(Vec::from));
    verdict(&mut out, report);
    steps(&mut out, report);
    checks_and_hooks(&mut out, report);
    section(&mut out, "Timeline");
    let row = |event: &crate::telemetry::Event| {
        vec![
            words::time(event.at_ms),
            event.kind.label().to_owned(),
            event.message.clone(),
            event.actor.clone(),
        ]
    };
    table(&mut out, &["Time (UTC)", "Event", "What", "Who"], report.events.iter().map(row));
    if !report.complete {
        out.push_str(
            "\nThe state file could not be read: older events and samples are missing here.\n",
        );
    }
    let _ = writeln!(
        out,
        "\nMade by Tidegate {} at {} UTC.",
        report.version,
        words::time(report.made_at_ms)
    );
    out
}

fn verdict(out: &mut String, report: &Report) {
    let rollout = &report.rollout;
    section(out, "Criteria");
    let _ = writeln!(out, "Verdict: {}.\n", story::phase(&rollout.verdict.outcome));
    for reason in &rollout.verdict.reasons {
        let _ = writeln!(out, "- {}", cell(reason));
    }
    out.push('\n');
    let row = |condition: &crate::control::rollouts::ConditionStatus| {
        vec![
            condition.role.clone(),
            condition.condition.clone(),
            condition.truth.clone(),
            story::values(condition),
        ]
    };
    table(out, &["For", "Condition", "Truth", "Values"], rollout.conditions.iter().map(row));
}

fn steps(out: &mut String, report: &Report) {
    let rollout = &report.rollout;
    section(out, "Plan");
    let row = |(number, step): (usize, &crate::control::rollouts::StepStatus)| {
        let here = if number == rollout.step_number { " ← here" } else { "" };
        let gate = if step.gate { "by hand" } else { "" };
        vec![
            format!("{}{here}", step.name),
            format!("{} %", step.weight),
            words::seconds(step.hold_s),
            gate.to_owned(),
            step.require.join(", "),
        ]
    };
    table(out, &["Step", "Weight", "Hold", "Gate", "Requires"], (1..).zip(&rollout.steps).map(row));
}

fn checks_and_hooks(out: &mut String, report: &Report) {
    if !report.checks.is_empty() {
        section(out, "Checks");
        let row = |check: &super::CheckRun| {
            let result = if check.ok { "passed" } else { "FAILED" };
            let took = words::millis(check.took_ms);
            vec![
                check.name.clone(),
                check.category.clone(),
                check.stage.clone(),
                result.to_owned(),
                took,
                check.detail.clone(),
            ]
        };
        table(
            out,
            &["Check", "Category", "Stage", "Result", "Took", "Seen"],
            report.checks.iter().map(row),
        );
    }
    if !report.hooks.is_empty() {
        section(out, "Hooks");
        let row = |hook: &super::HookRun| {
            let result = if hook.ok { "done" } else { "FAILED" };
            let took = story::against_budget(hook.took_ms, hook.budget_ms);
            vec![
                hook.name.clone(),
                hook.on.clone(),
                hook.level.to_string(),
                result.to_owned(),
                took,
                hook.output.clone(),
            ]
        };
        table(
            out,
            &["Hook", "At", "Level", "Result", "Took, of its budget", "Output"],
            report.hooks.iter().map(row),
        );
    }
}

fn section(out: &mut String, title: &str) {
    let _ = writeln!(out, "\n## {title}\n");
}

fn table(out: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = writeln!(out, "| {} |", heads.join(" | "));
    let _ = writeln!(out, "|{}", " --- |".repeat(heads.len()));
    for row in rows {
        let cells: Vec<_> = row.iter().map(|text| cell(text)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}

/// Text that stays inside its cell and says nothing to Markdown.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for c in words::plain(text).chars() {
        match c {
            '\n' => cell.push_str("<br>"),
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' => {
                cell.push('\\');
                cell.push(c);
            }
            c => cell.push(c),
        }
    }
    cell
}
