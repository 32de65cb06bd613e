//! Tables: to standard output, and between the markers of `benches/README.md`.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    idle::Idle,
    peers::Kind,
    rounds::{Costs, Outcome, QUIET, Sample, Series, median, median_ratio},
    syscalls::PerRequest,
};

/// The table of a comparison: every row against the rows named in `against`.
pub(crate) fn comparison(outcome: &Outcome, against: &[&str]) -> Result<String> {
    let bases: Vec<&Series> =
        outcome.series.iter().filter(|series| against.contains(&series.name.as_str())).collect();
    let mut text = String::new();
    writeln!(text, "Closed loop, each connection asks again as soon as it is answered:\n")?;
    write!(text, "| peer | CPU µs/request | quartiles |")?;
    write_heads(&mut text, "CPU", &bases)?;
    writeln!(text, " requests/s | core busy | to green | failed |")?;
    writeln!(text, "|---|--:|--:|{}--:|--:|--:|--:|", "--:|".repeat(bases.len()))?;
    for one in &outcome.series {
        let middle = |value: fn(&Sample) -> f64| median(one.closed.iter().map(value));
        let [low, high] = quartiles(one.closed.iter().map(|sample| sample.cpu_us));
        write!(text, "| {} | {:.2} | {low:.2}–{high:.2} |", one.name, middle(|s| s.cpu_us))?;
        for base in &bases {
            write!(text, " {:.2} |", median_ratio(&one.closed, &base.closed, |s| s.cpu_us))?;
        }
        let failed: u64 = one.closed.iter().map(|sample| sample.failed).sum();
        let (busy, green) = (100.0 * middle(|s| s.busy), 100.0 * middle(|s| s.green));
        let rate = middle(|s| s.rate);
        writeln!(text, " {rate:.0} | {busy:.0} % | {green:.1} % | {failed} |")?;
    }
    writeln!(text, "\nOpen loop, the same {:.0} requests/s for all:\n", outcome.rate)?;
    write!(text, "| peer | p50 µs | p99 µs |")?;
    write_heads(&mut text, "p50", &bases)?;
    write_heads(&mut text, "p99", &bases)?;
    writeln!(text, " CPU µs/request | failed |")?;
    writeln!(text, "|---|--:|--:|{}--:|--:|", "--:|".repeat(2 * bases.len()))?;
    for one in &outcome.series {
        let middle = |value: fn(&Sample) -> f64| median(one.paced.iter().map(value));
        write!(
            text,
            "| {} | {:.0} | {:.0} |",
            one.name,
            middle(|s| s.p50_us),
            middle(|s| s.p99_us)
        )?;
        for base in &bases {
            write!(text, " {:.2} |", median_ratio(&one.paced, &base.paced, |s| s.p50_us))?;
        }
        for base in &bases {
            write!(text, " {:.2} |", median_ratio(&one.paced, &base.paced, |s| s.p99_us))?;
        }
        let failed: u64 = one.paced.iter().map(|sample| sample.failed).sum();
        writeln!(text, " {:.2} | {failed} |", middle(|s| s.cpu_us))?;
    }
    writeln!(text, "\n{}", disturbance(outcome))?;
    Ok(text)
}

/// The table of memory for each idle connection.
pub(crate) fn idle(rows: &[Idle]) -> Result<String> {
    let mut text = String::from(
        "| peer | KiB/connection, after one request | KiB/connection, never sent a byte |\n\
         |---|--:|--:|\n",
    );
    for row in rows {
        writeln!(text, "| {} | {:.2} | {:.2} |", row.kind, row.used_kib, row.silent_kib)?;
    }
    Ok(text)
}

/// The table of new connections under TLS, each with the memory of an idle one.
pub(crate) fn handshakes(rows: &[(Costs, f64)]) -> Result<String> {
    let costs: Vec<&Costs> = rows.iter().map(|(costs, _)| costs).collect();
    let idle = rows.iter().map(|(_, kib)| format!(" {kib:.1} |")).collect();
    costs_table(&costs, "connection", Some((" KiB/idle connection |", idle)))
}

/// The table of requests over HTTP/2.
pub(crate) fn http2(rows: &[Costs]) -> Result<String> {
    costs_table(&rows.iter().collect::<Vec<_>>(), "request", None)
}

/// CPU time for each `unit`, against Nginx and HAProxy; and a last column, if there is one: its head and its cells.
fn costs_table(rows: &[&Costs], unit: &str, last: Option<(&str, Vec<String>)>) -> Result<String> {
    let base = |name: &str| rows.iter().find(|row| row.kind.to_string() == name);
    let bases: Vec<_> = ["Nginx", "HAProxy"].into_iter().filter_map(base).collect();
    let (last_head, cells) = last.unwrap_or_default();
    let mut text = format!("| peer | CPU µs/{unit} | quartiles |");
    for base in &bases {
        write!(text, " CPU ÷ {} |", base.kind)?;
    }
    let columns = bases.len() + usize::from(!last_head.is_empty());
    writeln!(text, "{last_head}\n|---|--:|--:|{}", "--:|".repeat(columns))?;
    for (at, row) in rows.iter().enumerate() {
        let [low, high] = quartiles(row.cpu_us.iter().copied());
        write!(text, "| {} | {:.1} | {low:.1}–{high:.1} |", row.kind, row.cpu_us())?;
        for base in &bases {
            write!(text, " {:.2} |", row.ratio(base))?;
        }
        writeln!(text, "{}", cells.get(at).map_or("", String::as_str))?;
    }
    Ok(text)
}

/// The table of system calls for each request.
pub(crate) fn syscalls(rows: &[(Kind, PerRequest)]) -> Result<String> {
    let mut text = String::from("| peer | calls/request | of which |\n|---|--:|---|\n");
    for (kind, calls) in rows {
        let total: f64 = calls.iter().map(|(_, share)| share).sum();
        let named: Vec<String> =
            calls.iter().map(|(name, share)| format!("{name} {share:.2}")).collect();
        writeln!(text, "| {kind} | {total:.2} | {} |", named.join(", "))?;
    }
    Ok(text)
}

/// Puts a scenario's table into the file, between its markers.
pub(crate) fn write_into(path: &Path, scenario: &str, table: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let (begin, end) = (format!("<!-- {scenario}:begin -->"), format!("<!-- {scenario}:end -->"));
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no {end}"))?;
    fs::write(path, format!("{before}{begin}\n\n{}\n\n{end}{after}", table.trim()))?;
    Ok(())
}

fn write_heads(text: &mut String, value: &str, bases: &[&Series]) -> Result<()> {
    for base in bases {
        write!(text, " {value} ÷ {} |", base.name)?;
    }
    Ok(())
}

/// How much else the cores had to do: the reader's measure of how far to trust the rest.
fn disturbance(outcome: &Outcome) -> String {
    let samples = outcome.series.iter().flat_map(|one| one.closed.iter().chain(&one.paced));
    let share = median(samples.map(|sample| sample.disturbed));
    let verdict =
        if share <= QUIET { "quiet" } else { "disturbed: measure again on a quiet machine" };
    let percent = 100.0 * share;
    format!("Ready to run, but kept waiting for a core: {percent:.2} % of the time ({verdict}).")
}

fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    [at(0.25), at(0.75)]
}
