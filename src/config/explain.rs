//! A configuration in plain text, as `tidegate check` prints it: routes stand in the order in which
//! they are tried.

use std::{
    cmp::Reverse,
    fmt::{Display, Write as _},
};

use super::{
    Config,
    facts::{balance_name, describe_split, list},
    model::{Admin, Backend, ErrorPage, HostPattern, Listener, PathPattern, Route, Sink, Traces},
    outside::discreet,
    rollout,
    units::{format_duration, format_size},
    warning::warnings,
};
use crate::domain::NotificationKind;

/// All that `config` means, and what is odd about it, in aligned lines.
pub fn explain(config: &Config) -> String {
    let mut out = String::new();
    table(&mut out, "Listeners", config.listeners.iter().map(listener));
    table(&mut out, "Backends", config.backends.iter().map(backend));
    let checks = config.backends.iter().filter_map(|backend| {
        Some(vec![backend.name.to_string(), backend.health_check.as_ref()?.to_string()])
    });
    table(&mut out, "Health checks", checks);
    table(&mut out, "Routes, the first match wins", in_match_order(config).map(rule));
    let overrides = config.routes.iter().flat_map(|route| {
        let row = |exception: &_| vec![route.name.to_string(), format!("{exception}")];
        route.overrides.iter().map(row)
    });
    table(&mut out, "Overrides, before the split", overrides);
    let fallbacks = of_routes(config, |route| route.fallback.as_ref());
    table(&mut out, "Fallbacks, from canary to baseline", fallbacks);
    let mirrors = of_routes(config, |route| route.mirror.as_ref());
    table(&mut out, "Mirrors, which no client waits for", mirrors);
    edges(&mut out, config);
    table(&mut out, "Rollouts", config.rollouts.iter().map(rollout::explain::row));
    table(&mut out, "Steps", config.rollouts.iter().flat_map(rollout::explain::steps));
    table(
        &mut out,
        "What turns back or tells",
        config.rollouts.iter().flat_map(rollout::explain::rules),
    );
    let checks = config.rollouts.iter().flat_map(|rollout| {
        rollout.checks.iter().map(|check| vec![rollout.plan.name.to_string(), check.to_string()])
    });
    table(&mut out, "Checks", checks);
    let hooks = config.rollouts.iter().flat_map(|rollout| {
        rollout.hooks.iter().map(|hook| vec![rollout.plan.name.to_string(), hook.to_string()])
    });
    table(&mut out, "Hooks", hooks);
    table(&mut out, "Notifications", config.sinks.iter().map(sink));
    table(&mut out, "Traces", config.traces.iter().map(traces));
    table(&mut out, "Operator's side", [admin(&config.admin)].into_iter());
    let row = |warning: super::Warning| vec![warning.subject, warning.message];
    table(&mut out, "Warnings", warnings(config).into_iter().map(row));
    out
}

/// What routes do to heads and bodies on their way, and the pages.
fn edges(out: &mut String, config: &Config) {
    table(out, "Headers", of_routes(config, |route| route.edge.headers.as_ref()));
    table(out, "Rewrites", of_routes(config, |route| route.edge.rewrite.as_ref()));
    table(out, "Rate limits", of_routes(config, |route| route.edge.rate_limit.as_ref()));
    table(out, "Compression", of_routes(config, |route| route.edge.compress.as_ref()));
    let page = |page: &ErrorPage| vec![page.status.to_string(), page.file.display().to_string()];
    table(out, "Error pages", config.error_pages.iter().map(page));
}

/// A row for each route that has the `part`.
fn of_routes<'c, T: Display + 'c>(
    config: &'c Config,
    part: impl Fn(&'c Route) -> Option<&'c T>,
) -> impl Iterator<Item = Vec<String>> {
    let row = move |route: &'c Route| Some(vec![route.name.to_string(), part(route)?.to_string()]);
    config.routes.iter().filter_map(row)
}

fn sink(sink: &Sink) -> Vec<String> {
    let kinds = sink.events.iter().copied().map(NotificationKind::label);
    let least = sink.min_severity.label();
    vec![sink.name.to_string(), sink.kind.to_string(), format!("{} from {least}", list(kinds))]
}

fn listener(listener: &Listener) -> Vec<String> {
    vec![
        listener.bind.to_string(),
        match (&listener.tls, listener.redirect_to_https) {
            (Some(tls), _) => {
                let clients = if tls.client_auth.is_some() { ", of clients too" } else { "" };
                format!("TLS, certificates: {}{clients}", tls.certificates.len())
            }
            (None, Some(port)) => format!("to https at port {port}"),
            (None, None) => "in the clear".to_owned(),
        },
        format!("{} connections", listener.max_connections),
        format!(
            "head of {} and {} lines within {}",
            format_size(listener.max_header_bytes as u64),
            listener.max_headers,
            format_duration(listener.header_timeout)
        ),
        format!("idle {}", format_duration(listener.idle_timeout)),
        list(listener.protocols.iter().map(|protocol| protocol.name())),
        format!("trusts {}", list(listener.trusted_proxies.iter())),
    ]
}

fn backend(backend: &Backend) -> Vec<String> {
    vec![
        backend.name.to_string(),
        list(backend.endpoints.iter()),
        balance_name(backend.balance).to_owned(),
        format!("{} in flight", backend.max_in_flight),
        backend.tls.as_ref().map_or_else(|| "in the clear".to_owned(), |tls| format!("TLS: {tls}")),
    ]
}

fn traces(traces: &Traces) -> Vec<String> {
    vec![
        discreet(&traces.endpoint),
        format!("as {}", traces.service_name),
        format!("{}% of what begins here", traces.sample),
        format!("within {}", format_duration(traces.max_delay)),
    ]
}

fn admin(admin: &Admin) -> Vec<String> {
    let scheme = if admin.tls.is_some() { "https" } else { "http" };
    let tcp = match (admin.listen, &admin.token_file) {
        (None, _) => "no TCP".to_owned(),
        (Some(address), Some(_)) => format!("{scheme}://{address}, writes with a token"),
        (Some(address), None) => format!("{scheme}://{address}, read-only"),
    };
    vec![admin.socket.display().to_string(), format!("mode {:04o}", admin.socket_mode), tcp]
}

fn rule((host, route): (&HostPattern, &Route)) -> Vec<String> {
    vec![
        host.to_string(),
        route.path.to_string(),
        route.name.to_string(),
        match &route.edge.redirect {
            Some(redirect) => format!("redirects: {redirect}"),
            None => describe_split(&route.split),
        },
        format!("affinity: {}", route.affinity),
    ]
}

/// Each host of each route, as `routing::matcher` prefers them.
fn in_match_order(config: &Config) -> impl Iterator<Item = (&HostPattern, &Route)> {
    let rules = config.routes.iter().flat_map(|route| route.hosts.iter().map(move |h| (h, route)));
    let mut rules: Vec<_> = rules.collect();
    // The sort is stable: regular expressions keep the order of the file.
    rules.sort_by_key(|(host, route)| (host_rank(host), path_rank(&route.path)));
    rules.into_iter()
}

fn host_rank(host: &HostPattern) -> (u8, Reverse<usize>, &str) {
    match host {
        HostPattern::Exact(name) => (0, Reverse(0), name),
        HostPattern::Suffix(name) => (1, Reverse(name.len()), name),
        HostPattern::Any => (2, Reverse(0), ""),
    }
}

fn path_rank(path: &PathPattern) -> (u8, Reverse<usize>, &str) {
    match path {
        PathPattern::Exact(path) => (0, Reverse(0), path),
        PathPattern::Regex(_) => (1, Reverse(0), ""),
        PathPattern::Prefix(path) => (2, Reverse(path.len()), path),
    }
}

/// `rows` under `title`, their columns aligned; nothing when there are none.
fn table(out: &mut String, title: &str, rows: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<_> = rows.collect();
    let Some(columns) = rows.iter().map(Vec::len).max() else { return };
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(title);
    out.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "  {cell:<width$}");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
