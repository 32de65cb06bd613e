//! Sections of the edge as they stand in a file: what is taken, and what is said of what is not.

use crate::config::{Config, ConfigErrors, model, parse};

const HEAD: &str =
    "[[listener]]\nbind = \"127.0.0.1:0\"\n[backend.blue]\nendpoints = [\"127.0.0.1:1\"]\n";

fn read(route: &str) -> Result<Config, Vec<String>> {
    let text = format!("{HEAD}[[route]]\nname = \"app\"\n{route}");
    parse(&text, "test.toml", &|_| None).map_err(|errors| match errors {
        ConfigErrors::Faulty { faults, .. } => faults.iter().map(ToString::to_string).collect(),
        other @ (ConfigErrors::Unreadable { .. } | ConfigErrors::TooLarge { .. }) => {
            vec![other.to_string()]
        }
    })
}

fn edge(tables: &str) -> model::Edge {
    let config = read(&format!("split = {{ blue = 100 }}\n{tables}"));
    config.unwrap_or_else(|faults| panic!("{faults:#?}")).routes.remove(0).edge
}

/// The one fault of a route with `tables`.
fn fault(tables: &str) -> String {
    let faults = read(&format!("split = {{ blue = 100 }}\n{tables}")).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults[0].clone()
}

#[test]
fn a_route_without_any_of_it_has_none_of_it() {
    assert_eq!(edge(""), model::Edge::default());
}

#[test]
fn headers_of_a_connection_are_not_touched() {
    for list in ["request_set", "response_set"] {
        for name in ["Connection", "transfer-encoding", "content-length", "te"] {
            let fault = fault(&format!("[route.headers]\n{list} = {{ {name} = \"x\" }}"));
            assert!(fault.contains("one connection alone"), "{fault}");
        }
    }
    let fault = fault("[route.headers]\nrequest_remove = [\"host\"]");
    assert!(fault.contains("route[0].headers.request_remove[0]"), "{fault}");
    assert!(edge("[route.headers]\nresponse_remove = [\"server\"]").headers.is_some());
}

#[test]
fn a_value_may_not_name_what_comes_later_nor_end_its_line() {
    let later = fault("[route.headers]\nrequest_set = { x-a = \"$status\" }");
    assert!(later.contains("not known yet") && later.contains("$backend"), "{later}");
    let line = fault("[route.headers]\nrequest_set = { x-a = \"a\\r\\nb\" }");
    assert!(line.contains("control"), "{line}");
    let misspelt = fault("[route.headers]\nresponse_set = { x-a = \"$hots\" }");
    assert!(misspelt.contains("did you mean \"$host\"?"), "{misspelt}");
}

#[test]
fn a_rewrite_is_one_thing_or_the_other() {
    assert!(edge("[route.rewrite]\nstrip_prefix = \"/api/\"").rewrite.is_some());
    assert!(
        edge("[route.rewrite]\nregex = \"^/v([0-9])/(.*)\"\nto = \"/$2/$1\"").rewrite.is_some()
    );
    for (tables, said) in [
        ("[route.rewrite]", "asks for nothing"),
        ("[route.rewrite]\nregex = \"^/\"", "stand together"),
        ("[route.rewrite]\nregex = \"^/\"\nto = \"/$1\"", "no group"),
        ("[route.rewrite]\nregex = \"^/(.)\"\nto = \"$1\"", "begins with"),
        ("[route.rewrite]\nregex = \"^/(.)\"\nto = \"/$1?x\"", "the query stays"),
        ("[route.rewrite]\nregex = \"^/(.)\"\nto = \"/$host\"", "else than groups"),
        ("[route.rewrite]\nregex = \"^/\"\nto = \"/\"\nadd_prefix = \"/x\"", "whole path"),
        ("[route.rewrite]\nadd_prefix = \"x\"", "begins with"),
        ("[route.rewrite]\nregex = \"[\"\nto = \"/\"", "no regular expression"),
    ] {
        let fault = fault(tables);
        assert!(fault.contains(said), "{tables}: {fault}");
    }
}

#[test]
fn a_route_has_a_split_or_a_redirect() {
    let redirect = "redirect = { to = \"https://$host$path_and_query\" }";
    let config = read(redirect).unwrap();
    assert_eq!(config.routes[0].edge.redirect.as_ref().unwrap().status, 308);
    assert!(config.routes[0].split.shares().is_empty());
    let neither = read("").unwrap_err().join("\n");
    assert!(neither.contains("route[0].split") && neither.contains("redirect"), "{neither}");
    let both = read(&format!("split = {{ blue = 100 }}\n{redirect}")).unwrap_err().join("\n");
    assert!(both.contains("has no backends"), "{both}");
    for part in ["rewrite = { add_prefix = \"/x\" }", "compress = {}", "mirror = { to = \"blue\" }"]
    {
        let idle = read(&format!("{redirect}\n{part}")).unwrap_err().join("\n");
        assert!(idle.contains("has no effect"), "{idle}");
    }
    for (status, good) in [(301, true), (303, true), (304, false), (306, false)] {
        let read = read(&format!("redirect = {{ to = \"/x\", status = {status} }}"));
        assert_eq!(read.is_ok(), good, "{status}");
    }
}

#[test]
fn a_redirect_is_moved_by_no_rollout() {
    let rollout = "[backend.green]\nendpoints = [\"127.0.0.1:2\"]\n[rollout.app]\nroute = \"app\"\n\
                   baseline = \"blue\"\ncanary = \"green\"\n[[rollout.app.step]]\nname = \"a\"\n\
                   weight = 100\nhold = \"1s\"";
    let faults = read(&format!("redirect = {{ to = \"/x\" }}\n{rollout}")).unwrap_err().join("\n");
    assert!(faults.contains("no split to move"), "{faults}");
}

#[test]
fn a_group_of_a_redirect_is_one_of_the_path() {
    let good = "path = \"~ ^/old/(.*)\"\nredirect = { to = \"/new/$1\" }";
    assert!(read(good).is_ok());
    let bad = read(&good.replace("~ ^/old/(.*)", "/old")).unwrap_err().join("\n");
    assert!(bad.contains("$1 is no group"), "{bad}");
}

#[test]
fn a_rate_has_a_count_and_a_unit() {
    let limit = edge("[route.rate_limit]\nrate = \"100/s\"\nburst = 200").rate_limit.unwrap();
    assert_eq!((limit.count, limit.burst), (100, 200));
    let limit = edge("[route.rate_limit]\nper = \"header:X-Key\"\nrate = \"30/m\"").rate_limit;
    assert_eq!(limit.unwrap().burst, 30);
    for rate in ["100", "0/s", "x/s", "1/d", "-1/s", "2000000/s", "+1/s"] {
        let fault = fault(&format!("[route.rate_limit]\nrate = {rate:?}"));
        assert!(fault.contains("a rate"), "{rate}: {fault}");
    }
    assert!(fault("[route.rate_limit]\nrate = \"1/s\"\nper = \"cookie\"").contains("client_ip"));
}

#[test]
fn codings_stand_once() {
    assert_eq!(edge("[route.compress]").compress.unwrap().algorithms.len(), 3);
    let twice = fault("[route.compress]\nalgorithms = [\"br\", \"br\"]");
    assert!(twice.contains("twice"), "{twice}");
    assert!(fault("[route.compress]\nalgorithms = [\"gzp\"]").contains("did you mean \"gzip\"?"));
}

#[test]
fn pages_are_named_by_status_or_class() {
    let pages = |lines: &str| read(&format!("split = {{ blue = 100 }}\n[error_page]\n{lines}"));
    let config = pages("\"5xx\" = \"a\"\n404 = \"b\"").unwrap();
    let order: Vec<_> = config.error_pages.iter().map(ToString::to_string).collect();
    assert_eq!(order, ["404 b", "5xx a"]);
    for bad in ["200", "3xx", "0404", "xx", "error"] {
        assert!(pages(&format!("{bad:?} = \"a\"")).is_err(), "{bad}");
    }
}

#[test]
fn an_access_log_knows_its_variables() {
    let log = |format: &str| {
        read(&format!("split = {{ blue = 100 }}\n[log.access]\nformat = {format:?}"))
    };
    assert!(log("$remote_addr $status $http_x_y").is_ok());
    let misspelt = log("$remote_adr").unwrap_err().join("\n");
    assert!(misspelt.contains("did you mean \"$remote_addr\"?"), "{misspelt}");
    assert!(misspelt.contains("log.access.format"), "{misspelt}");
    assert!(log("json lines").unwrap_err().join("\n").contains("names no variable"));
}
