//! `tidegate status`: how things stand, once or again and again.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
    process::ExitCode,
    time::Duration,
};

use super::{exit::Failure, output, rollout, words};
use crate::admin::{
    client::Client,
    wire::{BackendStatus, ConfigStatus, ReloadOutcome, RouteStatus, SplitSource, Status},
};

const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Cursor home; after each line, clear its rest; at the end, clear what is below.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_ALL: &str = "\x1b[2J";

/// Shows the status.
pub(super) async fn status(client: &Client, watch: bool, json: bool) -> Result<ExitCode, Failure> {
    let redraw = watch && !json && io::stdout().is_terminal();
    if redraw {
        output::print(CLEAR_ALL)?;
    }
    loop {
        let status: Status = client.get("/v1/status").await?;
        let text = match (json, watch) {
            (true, true) => serde_json::to_string(&status)? + "\n",
            (true, false) => serde_json::to_string_pretty(&status)? + "\n",
            (false, _) => render(&status),
        };
        if redraw {
            let lines = text.replace('\n', CLEAR_LINE);
            output::print(&format!("{HOME}{lines}{CLEAR_BELOW}"))?;
        } else {
            output::print(&text)?;
        }
        if !watch {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// The status for people.
fn render(status: &Status) -> String {
    let mut out = String::new();
    let up = words::span(Duration::from_secs(status.uptime_s));
    let draining = if status.draining { "  DRAINING" } else { "" };
    // Writing to a text cannot fail.
    let _ = writeln!(out, "tidegate {}  up {up}{draining}", status.version);
    config(&mut out, &status.config);
    status.routes.iter().for_each(|known| route(&mut out, known));
    status.rollouts.iter().for_each(|known| rollout::show(&mut out, known));
    status.backends.iter().for_each(|known| backend(&mut out, known));
    words::plain(&out)
}

fn config(out: &mut String, config: &ConfigStatus) {
    let _ = writeln!(out, "{}  {}  loaded {}", config.path, config.hash, config.loaded_at);
    let last = &config.last_reload;
    if last.outcome == ReloadOutcome::Rejected {
        let _ = writeln!(out, "REJECTED at {}, the configuration before it stays:", last.at);
        for error in &last.errors {
            let _ = writeln!(out, "  {}", error.replace('\n', "\n  "));
        }
    }
}

fn route(out: &mut String, route: &RouteStatus) {
    let source = match (route.source, &route.set) {
        (SplitSource::Admin, Some(set)) => format!("set by {} at {}", set.actor, set.at),
        (SplitSource::Admin, None) => "set by hand".to_owned(),
        (SplitSource::Rollout, _) => "by its rollout".to_owned(),
        (SplitSource::Config, _) => "as configured".to_owned(),
    };
    let _ = writeln!(out, "\nroute {}  ({source})", route.name);
    let width = width(route.split.keys().map(|name| name.as_str()));
    for (name, weight) in &route.split {
        let bar = words::bar(weight.percent());
        let name_text = name.as_str();
        let _ = write!(out, "  {name_text:<width$}  {bar}  {:>6}%", weight.to_string());
        let file = route.set.as_ref().and_then(|set| set.file_split.get(name));
        let _ = match file {
            Some(file) => writeln!(out, "  (file: {file}%)"),
            None => writeln!(out),
        };
    }
}

fn backend(out: &mut String, backend: &BackendStatus) {
    let rate = backend.rate;
    let _ = writeln!(
        out,
        "\nbackend {}  {:.1} requests/s  {:.1} failures/s",
        backend.name, rate.requests_per_s, rate.failures_per_s
    );
    let width = width(backend.endpoints.iter().map(|endpoint| endpoint.address.as_str()));
    for endpoint in &backend.endpoints {
        let (address, in_flight) = (&endpoint.address, endpoint.in_flight);
        let state = endpoint.state.label();
        let _ = write!(out, "  {address:<width$}  {state:<9}  {in_flight:>5} in flight");
        let _ = match &endpoint.detail {
            Some(detail) => writeln!(out, "  {detail}"),
            None => writeln!(out),
        };
    }
}

fn width<'n>(names: impl Iterator<Item = &'n str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_readable() {
        let status: Status = serde_json::from_value(json!({
            "version": "0.1.0", "uptime_s": 7380, "draining": false,
            "config": { "path": "/etc/t.toml", "hash": "00ff", "loaded_at": "2026-01-01T00:00:00Z",
                "last_reload": { "outcome": "rejected", "errors": ["t.toml:1:2: no"], "at": "later" } },
            "routes": [{ "name": "api", "split": { "blue": 99.5, "green": 0.5 }, "source": "admin",
                "set": { "actor": "uid:alice(1000)", "at": "noon",
                    "file_split": { "blue": 90, "green": 10 } } }],
            "backends": [{ "name": "blue", "rate": { "requests_per_s": 12.34, "failures_per_s": 0.0 },
                "endpoints": [{ "address": "10.0.0.1:80", "state": "drained", "in_flight": 3 },
                    { "address": "10.0.0.2:80", "state": "unhealthy", "in_flight": 0,
                        "detail": "GET / gives 503" }] }],
            "rollouts": []
        }))
        .unwrap();
        let expected = "\
tidegate 0.1.0  up 2h 3m
/etc/t.toml  00ff  loaded 2026-01-01T00:00:00Z
REJECTED at later, the configuration before it stays:
  t.toml:1:2: no

route api  (set by uid:alice(1000) at noon)
  blue   ███████████████████░    99.5%  (file: 90%)
  green  █░░░░░░░░░░░░░░░░░░░     0.5%  (file: 10%)

backend blue  12.3 requests/s  0.0 failures/s
  10.0.0.1:80  drained        3 in flight
  10.0.0.2:80  unhealthy      0 in flight  GET / gives 503
";
        assert_eq!(render(&status), expected);
    }
}
