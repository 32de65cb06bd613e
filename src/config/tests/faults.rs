//! One small file for each kind of fault.

mod health_check;
mod listener;

use self::Edit::{After, AtEnd, AtStart, Instead};
use self::{health_check::HEALTH_CHECK, listener::LISTENER};
use super::{MINIMAL, faults, no_env, with, with_route};
use crate::config::parse;

const BIND: &str = "bind = \"0.0.0.0:8080\"";
const BLUE: &str = "endpoints = [\"127.0.0.1:9001\"]";
const SPLIT: &str = "split = { blue = 90, green = 10 }";
const LONG_SOCKET: &str = "[admin]\nsocket = \"/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
                           xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"";

/// An edit of the minimal file; the key, the text and the message at which it must be faulted, once.
type Case = (Edit, &'static str, &'static str, &'static str);

/// What is done to the minimal file.
#[derive(Debug, Clone, Copy)]
enum Edit {
    /// A text gives way to another.
    Instead(&'static str, &'static str),
    /// A line is followed by more.
    After(&'static str, &'static str),
    /// More stands before all.
    AtStart(&'static str),
    /// More keys of the route, or more sections.
    AtEnd(&'static str),
}

impl Edit {
    fn applied(self) -> String {
        match self {
            Instead(old, new) => with(old, new),
            After(line, more) => with(line, &format!("{line}\n{more}")),
            AtStart(more) => format!("{more}\n{MINIMAL}"),
            AtEnd(more) => with_route(more),
        }
    }
}

/// Faults of `[backend.NAME]`.
const BACKEND: &[Case] = &[
    (Instead(BLUE, "endpoints = []"), "backend.blue.endpoints", "[]", "1 to 1000 entries"),
    (
        Instead(BLUE, "endpoints = [\"a:1\", \"a:1\"]"),
        "backend.blue.endpoints[1]",
        "\"a:1\"]",
        "twice",
    ),
    (
        Instead(BLUE, "endpoints = [\"a\"]"),
        "backend.blue.endpoints[0]",
        "\"a\"",
        "a port is missing",
    ),
    (
        Instead(BLUE, "endpoints = [\"unix:x\"]"),
        "backend.blue.endpoints[0]",
        "\"unix:x\"",
        "the path must begin with a slash",
    ),
    (
        Instead(BLUE, "endpoints = [\"unix:/x\", \"unix:/x\"]"),
        "backend.blue.endpoints[1]",
        "\"unix:/x\"]",
        "twice",
    ),
    (
        Instead(BLUE, "endpoints = [\"a:1\", \"unix:/x\"]\n[backend.blue.tls]"),
        "backend.blue.tls",
        "[backend.blue.tls]",
        "a unix socket has no name",
    ),
    (
        After(BLUE, "[backend.blue.ejection]\nmax_time = \"5s\""),
        "backend.blue.ejection.max_time",
        "\"5s\"",
        "base_time is longer",
    ),
    (
        After(BLUE, "[backend.blue.ejection]\nconsecutive_failures = 0"),
        "backend.blue.ejection.consecutive_failures",
        "0",
        "from 1 to 10000",
    ),
    (
        After(BLUE, "endpoint_max_in_flight = 0"),
        "backend.blue.endpoint_max_in_flight",
        "0",
        "from 1 to 1000000",
    ),
    (
        After(BLUE, "balance = \"round_robbin\""),
        "backend.blue.balance",
        "\"round_robbin\"",
        "expected one of",
    ),
    (
        After(BLUE, "[backend.blue.tls]\nclient_cert = \"c\""),
        "backend.blue.tls.client_cert",
        "\"c\"",
        "client_cert and client_key go together",
    ),
    (
        After(BLUE, "[backend.blue.tls]\nca = \"c\"\ninsecure = true"),
        "backend.blue.tls.insecure",
        "true",
        "any certificate is taken",
    ),
    (
        After(BLUE, "[backend.blue.tls]\nserver_name = \"*.a\""),
        "backend.blue.tls.server_name",
        "\"*.a\"",
        "is no host",
    ),
    (Instead("[backend.blue]", "[backend.\"b l\"]"), "backend.\"b l\"", "\"b l\"", "is no name"),
];

/// Faults of `[[route]]`.
const ROUTE: &[Case] = &[
    (
        Instead(SPLIT, "split = { blue = 90, green = 5 }"),
        "route[0].split",
        "{ blue",
        "the weights sum to 95, not to 100",
    ),
    (
        Instead(SPLIT, "split = { blue = 90, grean = 10 }"),
        "route[0].split.grean",
        "grean",
        "there is no backend \"grean\"",
    ),
    (
        Instead(SPLIT, "split = { blue = 90, green = 9.999 }"),
        "route[0].split.green",
        "9.999",
        "two decimals",
    ),
    (
        Instead(SPLIT, "split = { blue = 90, green = true }"),
        "route[0].split.green",
        "true",
        "expected a percentage",
    ),
    (Instead(SPLIT, "split = 1"), "route[0].split", "1", "expected a table"),
    (Instead("name = \"api\"", "name = \"a b\""), "route[0].name", "\"a b\"", "is no name"),
    (AtEnd("host = [\"a:1\"]"), "route[0].host[0]", "\"a:1\"", "is no host"),
    (AtEnd("host = [\"a\", \"A\"]"), "route[0].host[1]", "\"A\"", "twice"),
    (
        AtEnd("path = \"~ (\""),
        "route[0].path",
        "\"~ (\"",
        "is no regular expression: unclosed group",
    ),
    (AtEnd("max_body = \"1MB\""), "route[0].max_body", "\"1MB\"", "expected a size"),
    (
        AtEnd("[[route]]\nname = \"api\"\npath = \"/x\"\nsplit = { blue = 90, green = 10 }"),
        "route[1].name",
        "\"api\"\npath",
        "already called",
    ),
    (
        AtEnd("[[route]]\nname = \"b\"\npath = \"/\"\nsplit = { blue = 90, green = 10 }"),
        "route[1].path",
        "\"/\"",
        "route[0] already has host \"*\" and path \"/\"",
    ),
    (
        AtEnd("[route.affinity]\nby = \"header\""),
        "route[0].affinity.name",
        "\"header\"",
        "is missing",
    ),
    (
        AtEnd("[route.affinity]\nby = \"header\"\nname = \"a b\""),
        "route[0].affinity.name",
        "\"a b\"",
        "no header's name",
    ),
    (
        AtEnd("[route.affinity]\nby = \"none\"\nttl = \"1s\""),
        "route[0].affinity.ttl",
        "\"1s\"",
        "no effect",
    ),
    (
        AtEnd("[[route.override]]\nequals = \"x\"\nbackend = \"blue\""),
        "route[0].override[0]",
        "[[route.override]]",
        "exactly one of",
    ),
    (
        AtEnd("[[route.override]]\nquery = \"q\"\nequals = \"x\"\nbackend = \"bleu\""),
        "route[0].override[0].backend",
        "\"bleu\"",
        "no backend",
    ),
    (
        AtEnd("[route.fallback]\non = [\"5xx\"]"),
        "route[0].fallback.on",
        "[\"5xx\"]",
        "no rollout names route",
    ),
    (
        AtEnd("[route.fallback]\non = [\"4xx\"]"),
        "route[0].fallback.on[0]",
        "\"4xx\"",
        "\"connect\", \"timeout\", \"reset\", \"5xx\"",
    ),
    (
        AtEnd("[route.fallback]\nmethods = [\"GET\", \"put\"]"),
        "route[0].fallback.methods[1]",
        "\"put\"",
        "is no method",
    ),
    (
        AtEnd("[route.fallback]\nmethods = [\"GET\", \"GET\"]"),
        "route[0].fallback.methods[1]",
        "\"GET\"]",
        "twice",
    ),
    (AtEnd("[route.retry]\non = [\"5xx\"]"), "route[0].retry.on[0]", "\"5xx\"", "expected one of"),
];

/// Faults of the other sections, of the syntax, and of the environment.
const REST: &[Case] = &[
    (
        After(BLUE, "cache_status_header = \"x cache\""),
        "backend.blue.cache_status_header",
        "\"x cache\"",
        "no header's name",
    ),
    (AtEnd("[process]\nworkers = 300"), "process.workers", "300", "\"auto\" or a whole number"),
    (AtEnd("[admin]\nsocket_mode = \"0999\""), "admin.socket_mode", "\"0999\"", "octal"),
    (AtEnd(LONG_SOCKET), "admin.socket", "\"/x", "107"),
    (
        AtEnd("[admin]\ntoken_file = \"/t\""),
        "admin.token_file",
        "\"/t\"",
        "no effect without admin.listen",
    ),
    (
        AtEnd("[admin]\nlisten = \"0.0.0.0:1\"\ntoken_file = \"/t\""),
        "admin.listen",
        "\"0.0.0.0:1\"",
        "in the clear",
    ),
    (
        AtEnd("[admin.tls]\ncert = \"c\"\nkey = \"k\""),
        "admin.tls",
        "[admin.tls]",
        "no effect without admin.listen",
    ),
    (
        AtEnd("[admin]\nlisten = \"0.0.0.0:8080\""),
        "listener[0].bind",
        "\"0.0.0.0:8080\"",
        "taken by admin.listen",
    ),
    (AtEnd("[log]\nlevel = \"${LEVEL}\""), "", "${LEVEL}", "LEVEL is not set"),
    (AtEnd("[log]\nlevel = \"a"), "", "\n", "syntax: "),
    (AtStart("process = 1"), "process", "1", "expected a table"),
];

#[test]
fn every_kind_of_fault_names_its_key_and_place() {
    for &(edit, key, place, message) in
        [LISTENER, BACKEND, HEALTH_CHECK, ROUTE, REST].into_iter().flatten()
    {
        let text = edit.applied();
        let found = faults(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        let fault = &found[0];
        assert_eq!(fault.key, key, "{fault}");
        assert!(fault.message.contains(message), "{fault} lacks {message:?}");
        let line: String =
            text.lines().skip(fault.line - 1).flat_map(|line| [line, "\n"]).collect();
        let there: String = line.chars().skip(fault.column - 1).collect();
        assert!(there.starts_with(place), "{fault} points at {there:?}, not at {place:?}");
    }
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = "[process]\nworkers = 0\n[[listener]]\nbind = \"x\"\nport = 1\n[backend.blue]\n[[route]]\n\
                name = \"é\"\nsplit = { blue = 50 }\n[nonsense]\n";
    let found: Vec<_> = faults(text).iter().map(|f| (f.line, f.column, f.key.clone())).collect();
    let expected = [
        (2, 11, "process.workers"),
        (4, 8, "listener[0].bind"),
        (5, 1, "listener[0].port"),
        (6, 1, "backend.blue"),
        (8, 8, "route[0].name"),
        (9, 9, "route[0].split"),
        (10, 2, "nonsense"),
    ];
    let expected = expected.map(|(line, column, key)| (line, column, key.to_owned()));
    assert_eq!(found, expected);
}

#[test]
fn hints_say_how_to_mend_it() {
    for (text, hint) in [
        (with("bind =", "bidn ="), "did you mean \"bind\"?"),
        (with("green = 10", "gren = 10"), "did you mean \"green\"?"),
        (with("blue = 90", "blue = 80"), "add 10; weights are percentages"),
        (with("blue = 90", "blue = 95.5"), "take away 5.5; weights are percentages"),
        (with_route("[log]\nlevel = \"wran\""), "did you mean \"warn\"?"),
        (
            with_route("[timeouts]"),
            "known here: process, admin, state, log, listener, backend, route, error_page, rollout, metric, notify, \
             traces",
        ),
    ] {
        let hints: Vec<_> = faults(&text).into_iter().filter_map(|fault| fault.hint).collect();
        assert!(hints.iter().any(|found| found == hint), "{hints:?} lacks {hint:?}");
    }
}

#[test]
fn an_empty_file_lacks_what_is_required() {
    let found: Vec<_> = faults("").into_iter().map(|fault| fault.message).collect();
    let missing = |key| format!("the key \"{key}\" is missing");
    assert_eq!(found, ["listener", "backend", "route"].map(missing));
}

#[test]
fn faults_are_counted_beyond_a_bound() {
    let many: String = (0..1_000).map(|index| format!("key{index} = 1\n")).collect();
    let Err(errors) = parse(&many, "many.toml", &no_env) else { panic!("taken") };
    let messages = errors.messages();
    assert_eq!(messages.len(), 201);
    assert_eq!(messages[200], "many.toml: and 803 more");
    assert!(messages[0].starts_with("many.toml:1:1: "), "{}", messages[0]);
    assert_eq!(
        errors.to_string().lines().filter(|line| line.starts_with("many.toml")).count(),
        201
    );
}
