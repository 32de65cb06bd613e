//! The image and the commands of a fresh machine, as far as they can be checked without running an engine.

use std::os::unix::fs::PermissionsExt as _;

use crate::source;

/// Instructions of a Dockerfile in order, continued lines joined.
fn instructions(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\n", " ");
    let lines =
        joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn arguments<'a>(instructions: &'a [(String, String)], word: &str) -> Vec<&'a str> {
    instructions.iter().filter(|(name, _)| name == word).map(|(_, rest)| rest.as_str()).collect()
}

#[test]
fn every_base_of_the_image_is_an_argument() {
    let file = instructions(&source::read("Dockerfile").text);
    let first_stage = file.iter().position(|(word, _)| word == "FROM").expect("no stage");
    let bases = arguments(&file, "FROM");
    assert_eq!(bases.len(), 2, "one stage builds, one runs: {bases:?}");
    for base in bases {
        let name = base.strip_prefix("${").and_then(|rest| rest.split('}').next());
        let name = name.expect("a base is written as ${NAME}");
        let declared = file[..first_stage].iter().any(|(word, rest)| {
            word == "ARG" && rest.split_once('=').is_some_and(|(given, _)| given == name)
        });
        assert!(declared, "ARG {name} stands before the first FROM, with a default");
    }
}

#[test]
fn the_image_runs_without_root_and_reports_its_health() {
    let file = instructions(&source::read("Dockerfile").text);
    let last_stage = file.iter().rposition(|(word, _)| word == "FROM").expect("no stage");
    let file = &file[last_stage..];
    let users = arguments(file, "USER");
    assert!(matches!(users[..], [user] if user != "root" && user != "0"), "USER: {users:?}");
    let health = arguments(file, "HEALTHCHECK");
    assert!(
        matches!(health[..], [check] if check.contains("\"tidegate\", \"status\"")),
        "{health:?}"
    );
    assert_eq!(arguments(file, "STOPSIGNAL"), ["SIGTERM"], "TERM drains");
}

#[test]
fn what_the_image_copies_is_sent_to_the_engine() {
    let ignore = source::read(".dockerignore").text;
    let kept: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    // The manifest names the benches, so cargo reads it only when they are there.
    for needed in ["Cargo.toml", "Cargo.lock", "src", "benches", "config"] {
        assert!(kept.contains(&needed), "{needed} is left out by .dockerignore");
    }
}

#[test]
fn continuous_integration_runs_what_a_developer_runs() {
    let script = source::read(".ci/run").text;
    let last = script.lines().last().expect("an empty script");
    assert_eq!(last, "exec make test");
    for script in [".ci/run", "scripts/setup"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let mode = path.metadata().expect("script").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
    }
}

#[test]
fn joined_lines_are_one_instruction() {
    let file = instructions("# x\nARG A=1\nRUN a \\\n && b\n\nUSER 5");
    assert_eq!(file.len(), 3);
    assert_eq!(arguments(&file, "RUN"), ["a   && b"]);
    assert_eq!(arguments(&file, "USER"), ["5"]);
}
