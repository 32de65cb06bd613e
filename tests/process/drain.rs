//! The end of a process: what was accepted is answered.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use crate::{
    python::Script,
    support::{
        client::Client,
        eventually,
        gate::Gate,
        setup::Setup,
        upstream::{Upstream, ok},
    },
};

/// Keeps requests to `/hold` waiting until it is opened.
#[derive(Clone, Default)]
struct Gatekeeper(Arc<(Mutex<bool>, Condvar)>);

impl Gatekeeper {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |open| !*open).unwrap());
    }

    fn upstream(&self) -> Upstream {
        let keeper = self.clone();
        Upstream::answering(move |request| {
            if request.target() == "/hold" {
                keeper.wait();
            }
            ok("answered")
        })
    }
}

fn held_client(gate: &Gate) -> Client {
    let mut client = gate.client();
    client.send("GET /hold HTTP/1.1\r\nhost: a\r\n\r\n");
    client
}

pub(crate) fn await_closed_listener(gate: &Gate) {
    let address = gate.address();
    eventually("no new connection is taken", || Client::try_connect(address).err());
}

#[test]
fn on_term_every_accepted_request_is_answered() {
    let keeper = Gatekeeper::default();
    let upstream = keeper.upstream();
    let mut gate = Gate::start(&Setup::to(upstream.address()).process("workers = 2"));
    let mut idle = gate.client();
    assert_eq!(idle.get("/").status(), 200);
    let mut held: Vec<_> = (0..20).map(|_| held_client(&gate)).collect();
    let mut old = gate.client();
    old.send("GET /hold HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
    held.push(old);
    upstream.wait_until("all requests arrive", |log| log.requests.len() == 22);

    gate.signal("TERM");
    await_closed_listener(&gate);
    idle.assert_closed();
    assert!(gate.is_running(), "it ended before its requests did");

    keeper.open();
    for client in &mut held {
        let answer = client.answer();
        assert_eq!(answer.text(), "answered");
        assert_eq!(answer.headers.only("connection"), Some("close"));
        client.assert_closed();
    }
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_request_of_which_a_part_was_read_is_answered() {
    let upstream = Upstream::saying("answered");
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel");
    upstream.wait_until("the beginning arrives", |log| {
        log.bytes.iter().any(|bytes| bytes.ends_with(b"hel"))
    });
    gate.signal("TERM");
    await_closed_listener(&gate);
    client.send("lo");
    assert_eq!(client.answer_to("POST").text(), "answered");
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn while_it_drains_it_says_so_and_obeys() {
    let keeper = Gatekeeper::default();
    let upstream = keeper.upstream();
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    assert_eq!(gate.admin("GET", "/readyz", "").status(), 200);
    let mut held = held_client(&gate);
    upstream.wait_until("the request arrives", |log| log.requests.len() == 1);
    gate.signal("TERM");
    await_closed_listener(&gate);
    assert_eq!(gate.admin("GET", "/readyz", "").status(), 503);
    assert_eq!(gate.admin("GET", "/healthz", "").status(), 200);
    assert_eq!(gate.admin_json("/v1/status")["draining"], true);
    assert!(gate.run_ok(&["status"]).contains("DRAINING"));
    gate.run_ok(&["split", "app", "blue=100"]);
    keeper.open();
    assert_eq!(held.answer().text(), "answered");
    assert_eq!(gate.wait().code(), Some(0));
    assert!(!gate.socket().exists(), "its socket goes with it");
}

#[test]
fn an_open_websocket_goes_on_until_its_ends_close_it_or_time_is_up() {
    let (_server, address) = Script::echo_server("blue");
    for patience in ["1h", "100ms"] {
        let setup = Setup::to(address).process(&format!("shutdown_timeout = \"{patience}\""));
        let mut gate = Gate::start(&setup);
        let mut client = Script::client(&format!("ws://{}/chat", gate.address()));
        assert_eq!(client.ask("one"), "blue one");
        gate.signal("TERM");
        if patience == "1h" {
            await_closed_listener(&gate);
            assert_eq!(client.ask("two"), "blue two");
            assert_eq!(client.ask("close"), "closed 1000");
        }
        assert_eq!(gate.wait().code(), Some(0), "{patience}");
        if patience != "1h" {
            assert_eq!(client.ask("close"), "closed 1012");
        }
    }
}

#[test]
fn signals_that_end_other_programs_do_not_end_this_one() {
    let upstream = Upstream::saying("blue");
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    for name in ["USR1", "PIPE"] {
        gate.signal(name);
        assert_eq!(gate.client().get("/").status(), 200, "{name}");
    }
    assert!(gate.is_running());
}

#[test]
fn int_drains_as_term_does() {
    let upstream = Upstream::saying("blue");
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    gate.signal("INT");
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn a_second_term_ends_at_once() {
    let keeper = Gatekeeper::default();
    let upstream = keeper.upstream();
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    let mut held = held_client(&gate);
    upstream.wait_until("the request arrives", |log| log.requests.len() == 1);
    gate.signal("TERM");
    await_closed_listener(&gate);
    let before = Instant::now();
    gate.signal("TERM");
    gate.wait();
    assert!(before.elapsed() < Duration::from_secs(10), "it took {:?}", before.elapsed());
    assert!(held.reader().response("GET", |_| {}).is_err());
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let keeper = Gatekeeper::default();
    let upstream = keeper.upstream();
    let setup = Setup::to(upstream.address()).process("shutdown_timeout = \"500ms\"");
    let mut gate = Gate::start(&setup);
    let mut held = held_client(&gate);
    upstream.wait_until("the request arrives", |log| log.requests.len() == 1);
    gate.signal("TERM");
    gate.wait();
    assert!(held.reader().response("GET", |_| {}).is_err(), "cut, not made up");
}
