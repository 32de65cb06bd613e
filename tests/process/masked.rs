//! What clients see of a canary that fails them, and of one that is taken away: nothing, and the way to the other.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::{
    load::{Load, pair},
    rollout::{QUICK, await_phase, event, steps},
    state::green_percent,
    support::{
        eventually,
        gate::Gate,
        setup::{NONE, Setup},
        upstream::{Upstream, ok},
    },
};

const FALLBACK: &str = "[route.fallback]\non = [\"connect\", \"timeout\", \"reset\", \"5xx\"]\n";

fn setup(blue: &Upstream, green: &Upstream, plan: &str) -> Setup {
    let tables = format!("{NONE}\n{FALLBACK}");
    Setup::blue_green((blue.address(), green.address()), 0, &tables).rollout(plan)
}

#[test]
fn no_client_sees_a_masked_failure_and_the_rollout_turns_back_all_the_same() {
    const BROKEN: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    let asked = AtomicU32::new(0);
    let blue = Upstream::saying("blue");
    let green = Upstream::answering(move |_| match asked.fetch_add(1, Relaxed) % 5 {
        4 => BROKEN.to_vec(),
        _ => ok("green"),
    });
    let rule = "[[rollout.app.rollback]]\nwhen = \"fallback_rate > 10%\"\n";
    let plan = format!("{QUICK}{}{rule}", steps(&[50], "1h", ""));
    let gate = Gate::start(&setup(&blue, &green, &plan));
    let load = Load::start(gate.address());
    gate.run_ok(&["start", "app"]);
    let ended = await_phase(&gate, "rolled_back");
    assert!(ended["because"].as_str().unwrap().contains("fallback_rate"), "{ended}");
    assert_eq!(green_percent(&gate).0, 0.0);
    load.finish();
    let ways = [("route", "app"), ("from", "green"), ("to", "blue")];
    let failures = [("backend", "green"), ("class", "failure")];
    assert!(gate.metric("tidegate_fallbacks_total", &ways) > 0.0);
    assert!(gate.metric("tidegate_requests_total", &failures) > 0.0, "the truth is kept");
    let excluded = [("backend", "green"), ("class", "excluded")];
    // What was under way when traffic was called back moved as well, and failed nobody.
    let sum = gate.metric("tidegate_requests_total", &failures)
        + gate.metric("tidegate_requests_total", &excluded);
    assert!(gate.metric("tidegate_fallbacks_total", &ways) <= sum);
}

#[test]
fn a_rollback_closes_the_canarys_websockets_and_tells_when_the_last_byte_went_out() {
    let blue = Upstream::saying("blue");
    let green = Upstream::scripted(|peer| {
        if peer.request().is_none() {
            return;
        }
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                    upgrade: websocket\r\n\r\n";
        peer.write(head).ok();
        peer.until_closed();
    });
    let gate = Gate::start(&setup(&blue, &green, &format!("{QUICK}{}", steps(&[100], "1h", ""))));
    gate.run_ok(&["start", "app"]);
    eventually("all traffic is the canary's", || (green_percent(&gate).0 == 100.0).then_some(()));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(client.reader().response_head("GET").unwrap().status(), 101);
    gate.run_ok(&["rollback", "app", "--reason", "enough"]);
    let mut told = Vec::new();
    while told.len() < 4 {
        told.extend(client.reader().some_bytes().unwrap());
    }
    assert_eq!(told, [0x88, 0x02, 0x03, 0xf4]);
    assert!(event(&gate, "rollout_last_byte").is_none(), "the tunnel is still open");
    client.finish();
    client.assert_closed();
    let last = eventually("the last byte is told", || event(&gate, "rollout_last_byte"));
    assert!(last["message"].as_str().unwrap().contains("the last byte from green"), "{last}");
    assert_eq!(gate.client().get("/").text(), "blue");
}

#[test]
fn a_promoted_canary_is_the_new_baseline_and_has_no_budget_any_more() {
    let sides = pair();
    let budget = "[rollout.app.budget]\nmax_bad_responses = 3\nmax_exposed_keys = 100000\n";
    let plan = format!("{QUICK}{}{budget}", steps(&[100], "500ms", ""));
    let gate = Gate::start(&crate::rollout::setup(&sides, &plan));
    let load = Load::start(gate.address());
    gate.run_ok(&["start", "app"]);
    await_phase(&gate, "promoted");
    load.finish();
    sides.1.set_failing(true);
    let mut client = gate.client();
    let failed = (0..20).filter(|_| client.get("/").status() == 500).count();
    assert_eq!(failed, 20, "nobody decided to leave it");
    assert_eq!(green_percent(&gate).0, 100.0);
}
