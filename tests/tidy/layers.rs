//! Who may import whom: inside the crate by layer, and foreign crates by room.

use std::collections::BTreeSet;

use crate::source::Source;

/// Module, and what it may import from this crate; `a::b` allows that part of `a` alone.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("decision", &["domain"]),
    ("config", &["domain"]),
    ("lifecycle", &["domain"]),
    ("tls", &["domain", "config", "lifecycle"]),
    ("routing", &["domain", "decision", "config", "tls"]),
    ("telemetry", &["domain", "decision", "config"]),
    ("proxy", &["domain", "decision", "config", "lifecycle", "tls", "routing", "telemetry"]),
    ("control", &["domain", "decision", "config", "lifecycle", "tls", "routing", "telemetry"]),
    ("admin", &["domain", "control", "telemetry", "lifecycle", "tls"]),
    (
        "app",
        &[
            "domain",
            "decision",
            "config",
            "lifecycle",
            "tls",
            "routing",
            "telemetry",
            "proxy",
            "control",
            "admin",
        ],
    ),
    ("cli", &["app", "config", "decision", "domain", "admin::wire", "admin::client", "demo"]),
    ("demo", &["app", "config", "decision", "domain", "lifecycle", "admin::wire", "admin::client"]),
];

/// Crate, and the modules that may use it. A crate that is not listed may be used anywhere but in the pure modules.
const ROOMS: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "demo"]),
    ("arc_swap", &["routing"]),
    ("aws_lc_rs", &["tls", "proxy"]),
    ("axum", &["admin"]),
    ("clap", &["cli", "demo"]),
    ("clap_complete", &["cli"]),
    ("hyper", &["proxy", "control", "admin", "cli", "demo"]),
    ("hyper_util", &["proxy", "control", "admin", "cli", "demo"]),
    ("lettre", &["control"]),
    ("listenfd", &["lifecycle"]),
    ("notify", &["control"]),
    ("prometheus", &["telemetry"]),
    ("reqwest", &["control"]),
    ("rusqlite", &["control"]),
    ("rustls", &["tls", "control", "proxy"]),
    ("rustix", &["lifecycle", "telemetry", "control"]),
    ("rustls_platform_verifier", &["tls"]),
    ("schemars", &["config"]),
    ("sd_notify", &["lifecycle", "app"]),
    (
        "tokio",
        &["lifecycle", "telemetry", "routing", "proxy", "control", "admin", "app", "cli", "demo"],
    ),
    ("tokio_rustls", &["proxy", "control", "admin"]),
    ("toml", &["config"]),
    ("tracing_subscriber", &["telemetry"]),
    ("winnow", &["domain"]),
    ("x509_parser", &["tls"]),
];

/// Modules without effects, and the only crates they may use.
const PURE: &[(&str, &[&str])] = &[
    ("domain", &["serde", "winnow"]),
    ("decision", &["xxhash_rust"]),
    ("decision/difference", &["serde_json"]),
    ("decision/judge", &["serde"]),
    ("decision/rollout", &["serde"]),
    ("decision/affinity", &["xxhash_rust", "hmac", "sha2", "base64"]),
];

/// What of `std` has no place in a pure module.
const IMPURE_STD: &[&str] = &[
    "std::fs",
    "TcpStream",
    "UdpSocket",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
];

/// Imports that the table of layers does not allow.
pub(crate) fn imports_beside_the_table(source: &Source) -> Vec<String> {
    let module = module_of(source);
    let code = source.code();
    if module == "lib" {
        return Vec::new();
    }
    if module == "main" {
        return paths_after(&code, "tidegate::")
            .into_iter()
            .filter(|(first, _)| first != "cli")
            .map(|(first, _)| format!("main imports {first}; its way in is cli"))
            .collect();
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
        return vec![format!("module {module} has no place in the table of layers")];
    };
    let mut faults: Vec<_> = paths_after(&code, "crate::")
        .into_iter()
        .filter(|(first, _)| *first != module)
        .filter(|(first, second)| {
            let whole = format!("{first}::{second}");
            LAYERS.iter().any(|(name, _)| name == first)
                && !allowed.iter().any(|entry| entry == first || *entry == whole)
        })
        .map(|(first, second)| format!("{module} may not import {first}::{second}"))
        .collect();
    // In unit tests it is the way out of `mod tests`.
    if source.production_code().contains("super::super::") {
        faults.push("super::super hides which room an import comes from: begin at crate".into());
    }
    faults
}

/// Foreign crates used where they have no business.
pub(crate) fn crates_out_of_their_room(source: &Source) -> Vec<String> {
    let module = module_of(source);
    let code = source.production_code();
    let mut faults: Vec<_> = ROOMS
        .iter()
        .filter(|(name, rooms)| uses(&code, name) && !rooms.contains(&module.as_str()))
        .map(|(name, rooms)| format!("{name} belongs to {}", rooms.join(", ")))
        .collect();
    if let Some(allowed) = crates_of_pure_module(source) {
        let foreign = dependencies()
            .into_iter()
            .filter(|name| uses(&code, name) && !allowed.contains(&name.as_str()));
        faults.extend(foreign.map(|name| format!("{module} is pure and may not use {name}")));
        let impure = IMPURE_STD.iter().filter(|path| code.contains(**path));
        faults.extend(impure.map(|path| format!("{module} is pure and may not use {path}")));
    }
    faults
}

/// The most exact entry of [`PURE`] for this file.
fn crates_of_pure_module(source: &Source) -> Option<&'static [&'static str]> {
    let path = source.path.to_string_lossy();
    let inside = path.strip_prefix("src/")?;
    let fits = PURE.iter().filter(|(name, _)| {
        inside.strip_prefix(name).is_some_and(|rest| rest.starts_with(['/', '.']))
    });
    fits.max_by_key(|(name, _)| name.len()).map(|(_, crates)| *crates)
}

/// `src/config/load.rs` is part of `config`, `src/app.rs` is `app`.
fn module_of(source: &Source) -> String {
    let mut parts = source.path.components().skip(1);
    let first = parts.next().map(|part| part.as_os_str().to_string_lossy().into_owned());
    first.unwrap_or_default().trim_end_matches(".rs").to_owned()
}

/// Names of the dependencies, as code writes them.
fn dependencies() -> BTreeSet<String> {
    let manifest = crate::source::read("Cargo.toml").text;
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split_once(" = "));
    names.map(|(name, _)| name.trim().replace('-', "_")).collect()
}

/// Whether `code` has a path that begins with `name`.
fn uses(code: &str, name: &str) -> bool {
    starts_of(code, &format!("{name}::")).next().is_some()
}

/// Where `path` begins a path: not in the middle of a longer one.
fn starts_of<'a>(code: &'a str, path: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(path).map(|(at, _)| at).filter(|at| {
        let before = code[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

/// The first two names behind each `root`, with groups in braces taken apart.
fn paths_after(code: &str, root: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for at in starts_of(code, root) {
        for path in branches(&code[at + root.len()..]) {
            let mut names = path.split("::").map(|name| name.trim().to_owned());
            found.insert((names.next().unwrap_or_default(), names.next().unwrap_or_default()));
        }
    }
    found
}

/// `a::{b::C, d}` is `a::b::C` and `a::d`.
fn branches(text: &str) -> Vec<String> {
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(text.len());
    let (stem, rest) = text.split_at(end);
    let Some(group) = rest.strip_prefix('{') else { return vec![stem.to_owned()] };
    let mut depth = 0_usize;
    let mut items = vec![String::new()];
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth = match c {
                    '{' => depth + 1,
                    '}' => depth - 1,
                    _ => depth,
                };
                if let Some(item) = items.last_mut() {
                    item.push(c);
                }
            }
        }
    }
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    items.flat_map(branches).map(|branch| format!("{stem}{branch}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(path: &str, text: &str) -> usize {
        imports_beside_the_table(&Source::made_up(path, text)).len()
    }

    fn crates(path: &str, text: &str) -> usize {
        crates_out_of_their_room(&Source::made_up(path, text)).len()
    }

    #[test]
    fn an_import_sideways_or_upwards_is_seen() {
        assert_eq!(imports("src/proxy/forward.rs", "use crate::control::Status;"), 1);
        assert_eq!(imports("src/domain/weight.rs", "use crate::decision::split;"), 1);
        assert_eq!(imports("src/proxy/mod.rs", "use crate::{domain::Weight, control::X};"), 1);
        assert_eq!(imports("src/proxy/mod.rs", "fn f() { crate::admin::serve() }"), 1);
        assert_eq!(imports("src/attic/mod.rs", ""), 1);
        assert_eq!(imports("src/main.rs", "use tidegate::{proxy::Worker, cli};"), 1);
        assert_eq!(imports("src/proxy/a/b.rs", "use super::super::tls;"), 1);
    }

    #[test]
    fn an_import_downwards_is_left_alone() {
        let text = "use crate::{domain::{Weight, Split}, routing, telemetry::Recorder};";
        assert_eq!(imports("src/proxy/forward.rs", text), 0);
        assert_eq!(imports("src/proxy/forward.rs", "// crate::control would be wrong here"), 0);
        assert_eq!(imports("src/proxy/forward.rs", "use crate::proxy::tls;"), 0);
    }

    #[test]
    fn a_part_of_a_module_may_be_allowed_alone() {
        assert_eq!(imports("src/cli/ctl.rs", "use crate::admin::wire::Status;"), 0);
        assert_eq!(imports("src/cli/ctl.rs", "use crate::admin::{wire::Status, wire};"), 0);
        assert_eq!(imports("src/cli/ctl.rs", "use crate::admin::{wire, server};"), 1);
    }

    #[test]
    fn a_crate_out_of_its_room_is_seen() {
        assert_eq!(crates("src/control/store.rs", "use rusqlite::Connection;"), 0);
        assert_eq!(crates("src/proxy/forward.rs", "use rusqlite::Connection;"), 1);
        assert_eq!(crates("src/proxy/forward.rs", "let e: anyhow::Error;"), 1);
        assert_eq!(crates("src/control/a.rs", "use crate::proxyish::axum::Router;"), 0);
    }

    #[test]
    fn a_pure_module_uses_its_own_crates_alone() {
        assert_eq!(crates("src/decision/affinity.rs", "use hmac::Hmac;"), 0);
        assert_eq!(crates("src/decision/split.rs", "use hmac::Hmac;"), 1);
        assert_eq!(crates("src/decision/split.rs", "use xxhash_rust::xxh3::xxh3_64;"), 0);
        assert_eq!(crates("src/decision/judge/mod.rs", "use tracing::info;"), 1);
        assert_eq!(crates("src/decision/judge/mod.rs", "use std::fs;"), 1);
        let tests = "#[cfg(test)]\nmod tests {\n use proptest::prelude::*; use tokio::test; }";
        assert_eq!(crates("src/decision/split.rs", tests), 0);
    }
}
