//! One small file for each kind of fault.

use super::{MINIMAL, faults, no_env, with, with_route};
use crate::config::parse;

#[test]
fn every_kind_of_fault_names_its_key_and_place() {
    let bind = "bind = \"0.0.0.0:8080\"";
    let blue = "endpoints = [\"127.0.0.1:9001\"]";
    let split = "split = { blue = 90, green = 10 }";
    for (text, key, place, message) in [
        (
            with(bind, &format!("{bind}\nmax_header = 1")),
            "listener[0].max_header",
            "max_header",
            "does not exist",
        ),
        (with(bind, ""), "listener[0]", "[[listener]]", "\"bind\" is missing"),
        (with(bind, "bind = \":80\""), "listener[0].bind", "\":80\"", "no address to listen on"),
        (
            with(bind, &format!("{bind}\n[[listener]]\n{bind}")),
            "listener[1].bind",
            "\"0.0.0.0:8080\"",
            "already taken by listener[0].bind",
        ),
        (
            with(bind, &format!("{bind}\nmax_connections = 0")),
            "listener[0].max_connections",
            "0\n",
            "from 1 to 1000000",
        ),
        (
            with(bind, &format!("{bind}\nmax_header_bytes = \"1B\"")),
            "listener[0].max_header_bytes",
            "\"1B\"",
            "from \"1KiB\" to \"1MiB\"",
        ),
        (
            with(bind, &format!("{bind}\nidle_timeout = \"64KiB\"")),
            "listener[0].idle_timeout",
            "\"64KiB\"",
            "expected a duration such as \"250ms\", \"30s\", or \"1m30s\", found the size \"64KiB\"",
        ),
        (
            with(bind, &format!("{bind}\nidle_timeout = 75")),
            "listener[0].idle_timeout",
            "75",
            "found the number 75",
        ),
        (
            with(bind, &format!("{bind}\nidle_timeout = \"0s\"")),
            "listener[0].idle_timeout",
            "\"0s\"",
            "more than 0",
        ),
        (
            with(bind, &format!("{bind}\ntrusted_proxies = [\"x\"]")),
            "listener[0].trusted_proxies[0]",
            "\"x\"",
            "no network",
        ),
        (
            with(bind, &format!("{bind}\nproxy_protocol = true")),
            "listener[0].proxy_protocol",
            "proxy_protocol",
            "not supported by this version yet",
        ),
        (
            with(bind, &format!("{bind}\nprotocols = [\"http/1.1\", \"h2\"]")),
            "listener[0].protocols",
            "protocols",
            "not supported by this version yet",
        ),
        (with(blue, "endpoints = []"), "backend.blue.endpoints", "[]", "1 to 1000 entries"),
        (
            with(blue, "endpoints = [\"a:1\", \"a:1\"]"),
            "backend.blue.endpoints[1]",
            "\"a:1\"]",
            "twice",
        ),
        (
            with(blue, "endpoints = [\"a\"]"),
            "backend.blue.endpoints[0]",
            "\"a\"",
            "a port is missing",
        ),
        (
            with(blue, "endpoints = [\"unix:/x\"]"),
            "backend.blue.endpoints[0]",
            "\"unix:/x\"",
            "not supported by this version yet",
        ),
        (
            with(blue, &format!("{blue}\nbalance = \"ewma\"")),
            "backend.blue.balance",
            "\"ewma\"",
            "not supported by this version yet",
        ),
        (
            with(blue, &format!("{blue}\nbalance = \"round_robbin\"")),
            "backend.blue.balance",
            "\"round_robbin\"",
            "expected one of",
        ),
        (
            with(blue, &format!("{blue}\n[backend.blue.tls]")),
            "backend.blue.tls",
            "tls",
            "not supported by this version yet",
        ),
        (with("[backend.blue]", "[backend.\"b l\"]"), "backend.\"b l\"", "\"b l\"", "is no name"),
        (
            with(split, "split = { blue = 90, green = 5 }"),
            "route[0].split",
            "{ blue",
            "the weights sum to 95, not to 100",
        ),
        (
            with(split, "split = { blue = 90, grean = 10 }"),
            "route[0].split.grean",
            "grean",
            "there is no backend \"grean\"",
        ),
        (
            with(split, "split = { blue = 90, green = 9.999 }"),
            "route[0].split.green",
            "9.999",
            "two decimals",
        ),
        (
            with(split, "split = { blue = 90, green = true }"),
            "route[0].split.green",
            "true",
            "expected a percentage",
        ),
        (with(split, "split = 1"), "route[0].split", "1", "expected a table"),
        (with("name = \"api\"", "name = \"a b\""), "route[0].name", "\"a b\"", "is no name"),
        (with_route("host = [\"a:1\"]"), "route[0].host[0]", "\"a:1\"", "is no host"),
        (with_route("host = [\"a\", \"A\"]"), "route[0].host[1]", "\"A\"", "twice"),
        (
            with_route("path = \"~ (\""),
            "route[0].path",
            "\"~ (\"",
            "is no regular expression: unclosed group",
        ),
        (with_route("max_body = \"1MB\""), "route[0].max_body", "\"1MB\"", "expected a size"),
        (
            with_route(&format!("[[route]]\nname = \"api\"\npath = \"/x\"\n{split}")),
            "route[1].name",
            "\"api\"\npath",
            "already called",
        ),
        (
            with_route(&format!("[[route]]\nname = \"b\"\npath = \"/\"\n{split}")),
            "route[1].path",
            "\"/\"",
            "route[0] already has host \"*\" and path \"/\"",
        ),
        (
            with_route("[route.affinity]\nby = \"header\""),
            "route[0].affinity.name",
            "\"header\"",
            "is missing",
        ),
        (
            with_route("[route.affinity]\nby = \"header\"\nname = \"a b\""),
            "route[0].affinity.name",
            "\"a b\"",
            "no header's name",
        ),
        (
            with_route("[route.affinity]\nby = \"none\"\nttl = \"1s\""),
            "route[0].affinity.ttl",
            "\"1s\"",
            "no effect",
        ),
        (
            with_route("[[route.override]]\nequals = \"x\"\nbackend = \"blue\""),
            "route[0].override[0]",
            "[[route.override]]",
            "exactly one of",
        ),
        (
            with_route("[[route.override]]\nquery = \"q\"\nequals = \"x\"\nbackend = \"bleu\""),
            "route[0].override[0].backend",
            "\"bleu\"",
            "no backend",
        ),
        (
            with_route("[route.retry]\nattempts = 1"),
            "route[0].retry",
            "retry",
            "not supported by this version yet",
        ),
        (with_route("[rollout.api]"), "rollout", "rollout", "not supported by this version yet"),
        (
            with_route("[process]\nworkers = 300"),
            "process.workers",
            "300",
            "\"auto\" or a whole number",
        ),
        (with_route("[admin]\nsocket_mode = \"0999\""), "admin.socket_mode", "\"0999\"", "octal"),
        (
            with_route(&format!("[admin]\nsocket = \"/{}\"", "x".repeat(107))),
            "admin.socket",
            "\"/x",
            "107",
        ),
        (
            with_route("[admin]\ntoken_file = \"/t\""),
            "admin.token_file",
            "\"/t\"",
            "no effect without admin.listen",
        ),
        (
            with_route("[admin]\nlisten = \"0.0.0.0:1\"\ntoken_file = \"/t\""),
            "admin.listen",
            "\"0.0.0.0:1\"",
            "in the clear",
        ),
        (
            with_route("[admin]\nlisten = \"0.0.0.0:8080\""),
            "listener[0].bind",
            "\"0.0.0.0:8080\"",
            "taken by admin.listen",
        ),
        (with_route("[log]\nlevel = \"${LEVEL}\""), "", "${LEVEL}", "LEVEL is not set"),
        (with_route("[log]\nlevel = \"a"), "", "\n", "syntax: "),
        ("process = 1".to_owned() + "\n" + MINIMAL, "process", "1", "expected a table"),
    ] {
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
            "known here: process, admin, state, log, listener, backend, route",
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
