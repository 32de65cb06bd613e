//! Kept upstream connections: used again while they live, and a request is sent twice only where that is safe.

use crate::support::{
    gate::Gate,
    setup::Setup,
    upstream::{Upstream, ok},
};

/// Answers the first request of the first connection, and ends that connection on reading the second.
fn dies_when_used_again() -> Upstream {
    Upstream::scripted(|peer| {
        let first = peer.number == 0;
        while let Some(request) = peer.request() {
            if first && request.target() != "/warm" {
                return;
            }
            peer.write(ok("fine")).ok();
        }
    })
}

#[test]
fn a_get_on_a_kept_connection_that_dies_is_sent_again() {
    let upstream = dies_when_used_again();
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    assert_eq!(client.get("/warm").status(), 200);
    let answer = client.get("/again");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "fine"));
    assert_eq!(upstream.log().targets(), ["/warm", "/again", "/again"]);
    assert_eq!(upstream.log().bytes.len(), 2);
    // The client is well served, and the endpoint has failed all the same.
    gate.await_count("tidegate_requests_total", &[("class", "success")], 2);
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
    gate.await_count("tidegate_retries_total", &[], 1);
}

#[test]
fn a_post_whose_body_has_begun_is_never_sent_again() {
    let upstream = dies_when_used_again();
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    assert_eq!(client.get("/warm").status(), 200);
    client.send("POST /once HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer_to("POST").status(), 502);
    assert_eq!(gate.client().get("/after").status(), 200);
    assert_eq!(upstream.log().targets(), ["/warm", "/once", "/after"]);
}

#[test]
fn a_fresh_connection_that_dies_is_not_tried_again() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    assert_eq!(gate.client().get("/").status(), 502);
    assert_eq!(upstream.log().targets(), ["/"]);
}

#[test]
fn a_connection_that_the_upstream_closed_is_not_used() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write(ok("fine")).ok();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status(), 200);
    }
    let log = upstream.log();
    assert_eq!((log.requests.len(), log.bytes.len()), (20, 20));
}

#[test]
fn a_post_is_not_risked_on_a_connection_that_has_closed() {
    const ROUNDS: usize = 50;
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write(ok("fine")).ok();
        peer.close();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for round in 1..=ROUNDS {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!(client.answer_to("POST").status(), 200, "round {round}");
        upstream.wait_until("the upstream has closed", |log| log.closed == round);
    }
    assert_eq!(upstream.log().requests.len(), ROUNDS);
}

#[test]
fn what_cannot_be_sent_twice_takes_the_connection_that_has_been_open_for_longest() {
    let both = std::sync::Barrier::new(2);
    let upstream = Upstream::scripted(move |peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/meet" {
                both.wait();
            }
            let answer = ok(&peer.number.to_string());
            peer.write(answer).ok();
        }
    });
    let gate = Gate::start(&Setup::to(upstream.address()).process("workers = 1"));
    let (mut one, mut two) = (gate.client(), gate.client());
    one.send("GET /meet HTTP/1.1\r\nhost: a\r\n\r\n");
    let second = two.get("/meet").text();
    let first = one.answer().text();
    assert_ne!(first, second);
    // The connection that this uses is the last that came back; the other one has been idle for longer.
    let newest = one.get("/").text();
    let oldest = if newest == first { second } else { first };
    one.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(one.answer_to("POST").text(), oldest);
}

#[test]
fn idle_connections_expire() {
    let upstream = Upstream::saying("blue");
    let setup = Setup::empty().backend("blue", upstream.address(), "pool_idle_timeout = \"200ms\"");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", ""));
    assert_eq!(gate.client().get("/").status(), 200);
    upstream.wait_until("the idle connection is closed", |log| log.ended == 1);
    assert_eq!(gate.client().get("/").status(), 200);
}

#[test]
fn no_more_connections_are_kept_than_configured() {
    let upstream = Upstream::saying("blue");
    let setup = Setup::empty().backend("blue", upstream.address(), "pool_idle = 0");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", ""));
    let mut client = gate.client();
    assert_eq!((client.get("/").status(), client.get("/").status()), (200, 200));
    assert_eq!(upstream.log().bytes.len(), 2);
    upstream.wait_until("both are closed", |log| log.ended == 2);
}

#[test]
fn endpoints_take_turns() {
    let upstreams = [Upstream::saying("1"), Upstream::saying("2"), Upstream::saying("3")];
    let addresses = upstreams.each_ref().map(Upstream::address);
    let setup = Setup::empty().backend_of("blue", &addresses, "balance = \"round_robin\"");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", ""));
    let mut client = gate.client();
    for _ in 0..9 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(upstreams.each_ref().map(|upstream| upstream.log().requests.len()), [3, 3, 3]);
}
