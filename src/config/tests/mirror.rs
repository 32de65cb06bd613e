//! `[route.mirror]`: what it means, what is wrong with it and what is odd.

use std::time::Duration;

use super::{config, explain, faults, warnings, with_route};
use crate::domain::{MirrorDepth, Weight};

fn mirrored(lines: &str) -> String {
    with_route(&format!("[route.mirror]\n{lines}"))
}

#[test]
fn what_it_leaves_out_has_a_default() {
    let config = config(&mirrored("to = \"green\""));
    let mirror = config.routes[0].mirror.as_ref().unwrap();
    assert_eq!((mirror.share, mirror.max_body), (Weight::TWENTIETH, 1 << 20));
    assert_eq!((mirror.compare, mirror.noise), (MirrorDepth::Off, Weight::TENTH));
    assert!(mirror.methods.iter().all(http::Method::is_safe) && mirror.ignore.is_empty());
    assert_eq!((mirror.timeout, mirror.max_in_flight), (Duration::from_secs(30), 64));
    assert_eq!(warnings(&config), []);
    let explained = explain(&config);
    let wanted = "5 % of GET, HEAD, OPTIONS with bodies up to 1MiB to green, 64 at once, for 30s; compare off";
    assert!(explained.contains(wanted), "{explained}");
}

#[test]
fn its_faults_are_told_with_their_place() {
    for (lines, key, message) in [
        ("share = \"5%\"", "route[0].mirror", "the key \"to\" is missing"),
        ("to = \"grean\"", "route[0].mirror.to", "there is no backend \"grean\""),
        ("to = \"green\"\ncompare = \"all\"", "route[0].mirror.compare", "expected one of"),
        (
            "to = \"green\"\nmethods = [\"GET\", \"GET\"]",
            "route[0].mirror.methods[1]",
            "stands in this list twice",
        ),
        (
            "to = \"green\"\ncompare = \"body\"\nmethods = [\"POST\"]",
            "route[0].mirror.methods",
            "none of them may be sent twice",
        ),
        (
            "to = \"green\"\nignore = [\"header a\", \"build\"]",
            "route[0].mirror.ignore[1]",
            "\"build\" is no place in an answer",
        ),
        ("to = \"green\"\nmax_body = \"2GiB\"", "route[0].mirror.max_body", "to \"1GiB\""),
    ] {
        let faults = faults(&mirrored(lines));
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let fits = faults.len() == 1 && told[0].contains(key) && told[0].contains(message);
        assert!(fits, "{lines}: {told:?}");
    }
}

#[test]
fn what_learns_nothing_may_write_alone() {
    let lines = "to = \"green\"\ncompare = \"body\"\nmethods = [\"POST\"]\nnoise = \"0%\"\n\
                 ignore = [\"header X-Version\", \"$.id\"]";
    let config = config(&mirrored(lines));
    let mirror = config.routes[0].mirror.as_ref().unwrap();
    assert_eq!(mirror.ignore, ["header x-version".into(), "$.id".into()]);
    let warned = warnings(&config);
    assert_eq!(warned.len(), 1);
    let text = warned[0].to_string();
    assert!(text.starts_with("route api: its mirror has side effects: green"), "{text}");
}

#[test]
fn a_rollout_that_asks_for_differences_needs_a_mirror_to_its_canary() {
    let plan = "[rollout.api]\nroute = \"api\"\nbaseline = \"blue\"\ncanary = \"green\"\n\
                rollback = [{ when = \"difference_rate > 1%\" }]\n";
    let step = |weight: u32, name: &str, require: &str| {
        format!(
            "[[rollout.api.step]]\nname = \"{name}\"\nweight = {weight}\nhold = \"1m\"\n{require}\n"
        )
    };
    let steps = step(1, "one", "") + &step(100, "full", "require = [\"difference_rate < 1%\"]");
    let warned = |mirror: &str| {
        let text = mirrored(mirror).replace("green = 10", "green = 0").replace("90", "100");
        let warned = warnings(&config(&format!("{text}{plan}{steps}")));
        warned.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
    };
    let full = "step full cannot be left: at 100 % there is nothing to compare";
    assert_eq!(warned("to = \"green\"\ncompare = \"status\""), [full]);
    let none = "difference_rate says nothing: route api has no mirror to green that compares";
    assert!(warned("to = \"green\"").contains(&none.to_owned()));
}
