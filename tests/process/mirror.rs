//! A rollout whose canary fails nobody and answers otherwise.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use crate::{
    load::Load,
    rollout::{QUICK, await_phase, event, rollout, steps},
    state::green_percent,
    support::{
        eventually,
        gate::Gate,
        setup::{NONE, Setup},
        upstream::Upstream,
    },
};

/// A JSON answer with a number of its own, and a name.
fn numbered(name: &'static str, other: Arc<AtomicBool>) -> Upstream {
    let answers = AtomicU64::new(0);
    Upstream::answering(move |_| {
        let number = answers.fetch_add(1, Relaxed);
        let price = if other.load(Relaxed) { "\"7\"" } else { "7" };
        let body = format!("{{\"number\":\"{name}{number}\",\"price\":{price}}}");
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes()
    })
}

#[test]
fn a_canary_that_answers_otherwise_turns_its_rollout_back_before_it_serves_anybody() {
    let (never, other) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (blue, green) = (numbered("b", never), numbered("g", other.clone()));
    let mirror = "[route.mirror]\nto = \"green\"\nshare = \"100%\"\ncompare = \"body\"\n";
    let rule = "[[rollout.app.rollback]]\nwhen = \"difference_rate > 1%\"\n";
    let first = steps(&[0, 100], "1h", "require = [\"difference_rate < 1%\"]");
    let sides = (blue.address(), green.address());
    let setup = Setup::blue_green(sides, 0, &format!("{NONE}\n{mirror}"));
    let gate = Gate::start(&setup.rollout(&format!("{QUICK}{first}{rule}")));
    let load = Load::start(gate.address());
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "baking");
    let same = [("result", "same")];
    eventually("many answers are the same but for noise", || {
        (gate.metric("tidegate_mirror_comparisons_total", &same) > 200.0).then_some(())
    });
    assert_eq!(rollout(&gate)["phase"], "baking");
    other.store(true, Relaxed);
    let ended = await_phase(&gate, "rolled_back");
    assert!(ended["because"].as_str().unwrap().contains("difference_rate > 1%"), "{ended}");
    load.finish();
    assert_eq!(green_percent(&gate).0, 0.0);
    let told = event(&gate, "mirror_differs").unwrap();
    assert_eq!(told["message"], "green answers otherwise than blue: $.price (type)");
    assert_eq!(gate.metric("tidegate_requests_total", &[("backend", "green")]), 0.0);
}
