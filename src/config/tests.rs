//! Whole files: the shipped ones, how two differ, what is odd in one; `faults` has those that are
//! wrong.

mod faults;
mod mirror;

use super::{Config, ConfigErrors, Fault, diff, explain, parse, schema, warnings};

const MINIMAL: &str = include_str!("../../config/examples/minimal.toml");

fn no_env(_: &str) -> Option<String> {
    None
}

fn config(text: &str) -> Config {
    parse(text, "test.toml", &no_env).unwrap_or_else(|errors| panic!("{errors}"))
}

fn faults(text: &str) -> Vec<Fault> {
    match parse(text, "test.toml", &no_env) {
        Err(ConfigErrors::Faulty { faults, .. }) => faults,
        other => panic!("{text} gave {other:?}"),
    }
}

/// `MINIMAL` with its line `old` replaced.
fn with(old: &str, new: &str) -> String {
    assert!(MINIMAL.contains(old), "{old}");
    MINIMAL.replacen(old, new, 1)
}

/// `MINIMAL` with keys added to its last section, the route.
fn with_route(keys: &str) -> String {
    format!("{MINIMAL}{keys}\n")
}

#[test]
fn the_commented_file_says_what_the_minimal_one_leaves_out() {
    assert_eq!(config(include_str!("../../config/tidegate.toml")), config(MINIMAL));
}

#[test]
fn the_examples_are_good_and_give_no_warning() {
    for text in [
        MINIMAL,
        include_str!("../../config/examples/two-apps.toml"),
        include_str!("../../config/examples/ab-test.toml"),
        include_str!("../../config/examples/hourly-four-step.toml"),
        include_str!("../../config/examples/five-stage.toml"),
        include_str!("../../config/examples/phased-with-fallback.toml"),
        include_str!("../../config/examples/feature-flags.toml"),
        include_str!("../../config/examples/blue-green.toml"),
        include_str!("../../config/examples/mirror.toml"),
        include_str!("../../config/examples/https.toml"),
    ] {
        assert_eq!(warnings(&config(text)), []);
    }
}

/// Each key of the schema stands in the commented file, as a value or as a commented example, and
/// nothing else does.
#[test]
fn the_commented_file_has_every_key_of_the_schema() {
    let file = include_str!("../../config/tidegate.toml");
    let examples: String = file.lines().map(|line| uncommented(line).to_owned() + "\n").collect();
    config(&examples);
    let table: toml::Table = examples.parse().unwrap();
    let written = serde_json::to_value(table).unwrap();
    let mut missing = Vec::new();
    compare(&schema(), &written, "", &mut missing);
    let alternatives = [
        "backend.health_check.service",
        "rollout.check.exec",
        "rollout.hook.url",
        "route.override.cookie",
        "route.override.query",
        "route.redirect",
        "route.rewrite.regex",
        "route.rewrite.to",
    ];
    assert_eq!(missing, alternatives);
}

/// `line` without its `# ` when what follows is a section or a key.
fn uncommented(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("# ") else { return line };
    let key = rest.split_once(" = ").map_or("", |(key, _)| key);
    let is_key = !key.is_empty()
        && key.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    if is_key || rest.starts_with('[') { rest } else { line }
}

fn compare(
    schema: &serde_json::Value,
    written: &serde_json::Value,
    path: &str,
    missing: &mut Vec<String>,
) {
    if let Some(item) = written.get(0).filter(|_| schema["items"]["properties"].is_object()) {
        return compare(&schema["items"], item, path, missing);
    }
    if schema["additionalProperties"]["properties"].is_object() {
        // Sections of the same kind show their keys between them.
        let named = written.as_object().into_iter().flat_map(|named| named.values());
        let keys = named.filter_map(|section| section.as_object()).flatten();
        let all = keys.map(|(key, value)| (key.clone(), value.clone())).collect();
        return compare(
            &schema["additionalProperties"],
            &serde_json::Value::Object(all),
            path,
            missing,
        );
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match written.get(key) {
            Some(written) => compare(inner, written, &path, missing),
            None => missing.push(path),
        }
    }
}

/// Each key that the schema knows is taken by the reader: it may refuse the value, not the key.
#[test]
fn no_key_of_the_schema_is_unknown_to_the_reader() {
    for section in ["process", "admin", "state", "log"] {
        let schema = schema();
        for key in schema["properties"][section]["properties"].as_object().unwrap().keys() {
            let found = faults(&format!("{MINIMAL}\n[{section}]\n{key} = 2000-01-01\n"));
            assert_eq!(found[0].key, format!("{section}.{key}"));
            assert!(found[0].message.starts_with("expected "), "{}", found[0]);
        }
    }
}

/// What is wrong, the key that is told, and the text at the place that is told.
#[test]
fn values_that_ask_for_nothing_new_are_taken() {
    let text = with(
        "bind = \"0.0.0.0:8080\"",
        "bind = \"0.0.0.0:8080\"\nprotocols = [\"http/1.1\", \"h2\"]\nproxy_protocol = false\n\
         redirect_to_https = false",
    );
    assert_eq!(config(&text), config(MINIMAL));
}

#[test]
fn the_environment_is_put_in() {
    let env = |name: &str| match name {
        "WORKERS" => Some("3".to_owned()),
        "GREEN" => Some("12.5".to_owned()),
        _ => None,
    };
    let text = with("green = 10", "green = ${GREEN}").replace("blue = 90", "blue = ${BLUE:-87.5}");
    let text = format!("process = {{ workers = ${{WORKERS}} }}\n{text}");
    let config = parse(&text, "test.toml", &env).unwrap();
    assert_eq!(config.process.workers, Some(3));
    assert_eq!(config.routes[0].split.shares()[1].1.basis_points(), 1_250);
}

#[test]
fn differences_are_told_with_what_needs_a_restart() {
    let old = config(MINIMAL);
    let new = with("green = 10", "green = 50").replace("blue = 90", "blue = 50");
    let new = format!(
        "{new}[[route]]\nname = \"b\"\npath = \"/b\"\nsplit = {{ blue = 100 }}\n\
         [[listener]]\nbind = \"[::1]:81\"\n[process]\nworkers = 2\nshutdown_timeout = \"1s\"\n"
    );
    let new = config(&new);
    let told: Vec<_> = diff(&old, &new).into_iter().map(|c| (c.text, c.needs_restart)).collect();
    let expected = [
        ("process: workers auto → 2", true),
        ("process: shutdown_timeout 30s → 1s", false),
        ("listener [::1]:81 added", false),
        ("route api: split blue 90 → 50, green 10 → 50", false),
        ("route b added", false),
    ];
    assert_eq!(told, expected.map(|(text, restart)| (text.to_owned(), restart)));
    assert_eq!(diff(&new, &new), []);
    assert!(diff(&new, &old).iter().any(|change| change.text == "route b removed"));
}

#[test]
fn another_order_is_a_difference() {
    let route = |name| {
        format!("[[route]]\nname = \"{name}\"\npath = \"~ {name}\"\nsplit = {{ blue = 100 }}\n")
    };
    let (a, b) = (route("a"), route("b"));
    let (old, new) = (config(&format!("{MINIMAL}{a}{b}")), config(&format!("{MINIMAL}{b}{a}")));
    let told: Vec<_> = diff(&old, &new).into_iter().map(|change| change.text).collect();
    assert_eq!(told, ["routes: put in another order"]);
}

#[test]
fn odd_things_are_warned_of() {
    let text = with_route(
        "[[route]]\nname = \"all\"\npath = \"~ .*\"\nsplit = { blue = 100 }\n\
         [[route]]\nname = \"late\"\npath = \"~ ^/x\"\nsplit = { blue = 100 }\n\
         [[route]]\nname = \"exact\"\npath = \"= /x\"\nsplit = { blue = 100 }\n\
         [backend.red]\nendpoints = [\"a:1\"]\n[admin]\nlisten = \"0.0.0.0:81\"\n\
         [[listener]]\nbind = \"0.0.0.0:82\"\ntrusted_proxies = [\"::/0\"]",
    );
    let told: Vec<_> = warnings(&config(&text)).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "admin: whoever reaches 0.0.0.0:81 can read status and metrics",
            "listener 0.0.0.0:82: every client is a trusted proxy, and can give itself any address",
            "backend red: no route uses it",
            "route api: no request reaches it: route all takes every path",
            "route late: no request reaches it: route all takes every path",
        ]
    );
}

#[test]
fn an_explanation_shows_routes_in_the_order_of_matching() {
    let text = include_str!("../../config/examples/two-apps.toml");
    let explained = explain(&config(text));
    let wanted = "\
Routes, the first match wins
  docs.example.com    /        docs         docs-blue 50, docs-green 50  affinity: none
  shop.example.com    /upload  shop-upload  shop-blue 100                affinity: cookie \"tidegate\" for 30d
  shop.example.com    /        shop         shop-blue 95, shop-green 5   affinity: cookie \"tidegate\" for 30d
  *.shop.example.com  /        shop         shop-blue 95, shop-green 5   affinity: cookie \"tidegate\" for 30d
";
    assert!(explained.contains(wanted), "{explained}");
    assert!(explained.contains("  0.0.0.0:8080  in the clear  10000 connections  "), "{explained}");
}

#[test]
fn an_explanation_tells_what_falls_back() {
    let text = with_route(
        "[route.fallback]\non = [\"5xx\", \"connect\"]\nmethods = [\"GET\"]\n\
         [rollout.api]\nroute = \"api\"\nbaseline = \"blue\"\ncanary = \"green\"\n\
         [[rollout.api.step]]\nname = \"all\"\nweight = 100\nhold = \"1h\"",
    );
    let explained = explain(&config(&text));
    let wanted = "\
Fallbacks, from canary to baseline
  api  on 5xx, connect of GET with bodies up to 64KiB, 20 % at most
";
    assert!(explained.contains(wanted), "{explained}");
}

#[test]
fn an_explanation_tells_what_happens_at_the_edge_and_who_is_called() {
    let text = with_route(
        "[route.headers]\nrequest_set = { x-a = \"$host\" }\nresponse_remove = [\"server\"]\n\
         [route.rewrite]\nstrip_prefix = \"/api\"\n\
         [route.rate_limit]\nper = \"client_ip\"\nrate = \"100/s\"\nburst = 200\n\
         [route.compress]\nmin_size = \"2KiB\"\n\
         [error_page]\n\"5xx\" = \"/var/www/sorry.html\"\n\
         [rollout.api]\nroute = \"api\"\nbaseline = \"blue\"\ncanary = \"green\"\n\
         [[rollout.api.step]]\nname = \"all\"\nweight = 100\nhold = \"1h\"\n\
         [[rollout.api.check]]\nname = \"reads\"\nrequest = { path = \"/health\" }\n\
         [[rollout.api.hook]]\nname = \"undo\"\non = \"rollback\"\nlevel = 3\nexec = [\"undo.sh\"]\n\
         [notify.chat]\nkind = \"slack\"\nurl = \"https://hooks.example/top-secret\"\nevents = [\"failed\"]\n\
         min_severity = \"warning\"",
    );
    let explained = explain(&config(&text));
    for wanted in [
        "\nHeaders\n  api  request [set x-a = \"$host\"] response [remove server]\n",
        "\nRewrites\n  api  \"/api\" to \"\"\n",
        "\nRate limits\n  api  100 in 1 s, 200 at once, per client_ip\n",
        "\nCompression\n  api  zstd, br, gzip from 2048 B\n",
        "\nError pages\n  5xx  /var/www/sorry.html\n",
        "\nChecks\n  api  \"reads\" (api; pre, during, post every 30s; GET /health of canary expects 200, ",
        "\nHooks\n  api  \"undo\" (on rollback at level 3; [\"undo.sh\"] within 5m)\n",
        "\nNotifications\n  chat  slack at https://hooks.example/",
        "  failed from warning\n",
    ] {
        assert!(explained.contains(wanted), "{wanted} is not in\n{explained}");
    }
    assert!(!explained.contains("top-secret"), "{explained}");
    let bare = explain(&config(MINIMAL));
    for title in ["Headers", "Rewrites", "Compression", "Hooks", "Notifications", "Traces"] {
        assert!(!bare.contains(title), "{title} is in\n{bare}");
    }
}

#[test]
#[allow(clippy::disallowed_methods)]
fn ten_thousand_routes_are_no_burden() {
    let route = |index| {
        format!(
            "[[route]]\nname = \"r{index}\"\npath = \"/r{index}\"\nsplit = {{ blue = 90, green = 10 }}\n"
        )
    };
    let text: String = std::iter::once(MINIMAL.to_owned()).chain((0..10_000).map(route)).collect();
    let begun = std::time::Instant::now();
    let config = config(&text);
    let taken = begun.elapsed();
    assert_eq!(config.routes.len(), 10_001);
    // Well under a second when optimised; the bound is for an unoptimised build on a busy machine,
    // and quadratic work would still pass it by far.
    assert!(taken.as_secs() < 10, "{taken:?}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|[\n\"'\\[\\]{}=$#.])*") {
        let _ = parse(&text, "any.toml", &no_env);
    }

    #[test]
    fn no_damage_to_a_good_file_makes_it_panic(at in 0..10_000_usize, length in 0..40_usize, new in "[\\PC\n]{0,8}") {
        let file = include_str!("../../config/examples/ab-test.toml");
        let mut chars: Vec<char> = file.chars().collect();
        let at = at % chars.len();
        let end = (at + length).min(chars.len());
        chars.splice(at..end, new.chars());
        let text: String = chars.into_iter().collect();
        if let Err(ConfigErrors::Faulty { faults, .. }) = parse(&text, "any.toml", &no_env) {
            let lines = text.split('\n').count();
            for fault in faults {
                proptest::prop_assert!((1..=lines).contains(&fault.line) && fault.column >= 1, "{}", fault);
            }
        }
    }
}
