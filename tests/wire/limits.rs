//! Limits and times: each has its status, its short body and its metric.

use std::net::{SocketAddr, TcpStream};

use crate::{
    malformed::assert_refusal,
    support::{
        client::Client,
        eventually,
        gate::Gate,
        setup::Setup,
        upstream::{Reserved, Upstream, ok},
    },
};

pub(crate) fn with_timeouts(upstream: SocketAddr, lines: &str) -> Setup {
    let tables = format!("[route.timeouts]\n{lines}");
    Setup::empty().backend("blue", upstream, "").route("app", "split = { blue = 100 }", &tables)
}

#[test]
fn a_head_beyond_its_limits_is_431() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let long = "x".repeat(40 * 1024);
    let many = "x-a: 1\r\n".repeat(101);
    for head in [
        format!("GET / HTTP/1.1\r\nhost: a\r\nx-a: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let mut client = gate.client();
        client.send(head);
        assert_refusal(&client.answer(), 431).unwrap();
    }
    assert_eq!(gate.client().get("/next").status(), 200);
    assert_eq!(upstream.log().targets(), ["/next"]);
    gate.await_count("tidegate_errors_total", &[("reason", "head_too_large")], 3);
}

#[test]
fn a_head_within_its_limits_passes() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    let many = "x-a: 1\r\n".repeat(99);
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"));
    assert_eq!(client.answer().status(), 200);
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nx-a: {}\r\n\r\n", "x".repeat(30 * 1024)));
    assert_eq!(client.answer().status(), 200);
    assert_eq!(upstream.take_requests()[0].headers.all("x-a").len(), 99);
}

#[test]
fn a_slow_head_is_408() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()).listener("header_timeout = \"300ms\""));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost");
    assert_refusal(&client.answer(), 408).unwrap();
    client.assert_closed();
    let mut kept = gate.client();
    assert_eq!(kept.get("/").status(), 200);
    kept.send("GET / HTTP/1.1\r\n");
    assert_refusal(&kept.answer(), 408).unwrap();
    kept.assert_closed();
    gate.await_count("tidegate_errors_total", &[("reason", "head_timeout")], 2);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()).listener("idle_timeout = \"300ms\""));
    let mut client = gate.client();
    assert_eq!(client.get("/").status(), 200);
    client.assert_closed();
}

#[test]
fn without_a_route_it_is_404() {
    let upstream = Upstream::saying("blue");
    let setup = Setup::empty().backend("blue", upstream.address(), "").route(
        "app",
        "split = { blue = 100 }\nhost = [\"app.example\", \"*.shop.example\"]\npath = \"/api\"",
        "",
    );
    let gate = Gate::start(&setup);
    let mut client = gate.client();
    for (host, path, status) in [
        ("app.example", "/api", 200),
        ("APP.example:8080", "/api/x", 200),
        ("a.shop.example", "/api?x", 200),
        ("shop.example", "/api", 404),
        ("app.example", "/apix", 404),
        ("app.example", "/", 404),
        ("other.example", "/api", 404),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert_eq!(client.answer().status(), status, "{host}{path}");
    }
    assert_refusal(&client.get("/"), 404).unwrap();
}

#[test]
fn a_refused_connection_is_502() {
    let reserved = Reserved::bind();
    let gate = Gate::start(&Setup::to(reserved.address));
    let mut client = gate.client();
    assert_refusal(&client.get("/"), 502).unwrap();
    // It is Tidegate's answer, so the client's connection goes on.
    assert_refusal(&client.get("/"), 502).unwrap();
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 2);
}

#[test]
fn without_an_endpoint_that_takes_requests_it_is_503() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let address = upstream.address().to_string();
    assert_eq!(gate.client().get("/").status(), 200);
    gate.run_ok(&["endpoint", "blue", &address, "drain"]);
    assert_refusal(&gate.client().get("/"), 503).unwrap();
    gate.run_ok(&["endpoint", "blue", &address, "ready"]);
    assert_eq!(gate.client().get("/").status(), 200);
}

#[test]
fn a_full_backend_is_503_and_not_its_failure() {
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/hold" {
                return peer.until_closed();
            }
            peer.write(ok("fine")).ok();
        }
    });
    let setup = Setup::empty().backend("blue", upstream.address(), "max_in_flight = 1");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", ""));
    let mut held = gate.client();
    held.send("GET /hold HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_until("the first request arrives", |log| log.requests.len() == 1);
    assert_refusal(&gate.client().get("/"), 503).unwrap();
    drop(held);
    upstream.wait_until("the first request is cancelled", |log| log.ended == 1);
    eventually("its place is free", || (gate.client().get("/").status() == 200).then_some(()));
    eventually("the overflow is counted", || {
        (gate.metric("tidegate_overflow_total", &[("queue", "in_flight")]) > 0.5).then_some(())
    });
    let failed = gate.metric("tidegate_requests_total", &[("class", "failure")]);
    assert!(failed < 0.5, "{failed} failures were counted against the backend");
}

/// Three times what fits is offered at once, again and again: what is admitted is with its endpoint at once, and the rest is
/// turned away before any of that is answered. So nothing waits within Tidegate.
#[test]
fn an_overloaded_backend_gets_what_it_can_take_and_nobody_else_waits() {
    const PLACES: usize = 8;
    const ROUNDS: usize = 5;
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = Upstream::answering(move |_| {
        released.lock().unwrap().recv().unwrap();
        ok("fine")
    });
    let setup = Setup::empty().backend("blue", upstream.address(), "max_in_flight = 8");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", ""));
    let mut clients: Vec<_> = (0..3 * PLACES).map(|_| gate.client()).collect();
    for round in 1..=ROUNDS {
        let (admitted, others) = clients.split_at_mut(PLACES);
        admitted.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        let arrived = round * PLACES;
        upstream.wait_until("all places are taken", |log| log.requests.len() == arrived);
        others.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        for client in others {
            let answer = client.answer();
            assert_refusal(&answer, 503).unwrap();
            assert_eq!(answer.headers.only("retry-after"), Some("1"));
        }
        assert_eq!(upstream.log().requests.len(), arrived, "one too many was let in");
        (0..PLACES).for_each(|_| release.send(()).unwrap());
        for client in admitted {
            assert_eq!(client.answer().text(), "fine");
        }
        gate.await_count(
            "tidegate_requests_total",
            &[("class", "success")],
            u64::try_from(arrived).unwrap(),
        );
        clients.rotate_left(PLACES);
    }
    let turned_away = u64::try_from(2 * PLACES * ROUNDS).unwrap();
    gate.await_count("tidegate_overflow_total", &[("queue", "in_flight")], turned_away);
    gate.await_count("tidegate_errors_total", &[("reason", "too_many_in_flight")], turned_away);
    for class in ["failure", "excluded"] {
        assert!(gate.metric("tidegate_requests_total", &[("class", class)]) < 0.5, "{class}");
    }
}

#[test]
fn an_answer_that_does_not_begin_is_504() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.until_closed();
    });
    let gate = Gate::start(&with_timeouts(upstream.address(), "first_byte = \"200ms\""));
    assert_refusal(&gate.client().get("/"), 504).unwrap();
    upstream.wait_until("the request is cancelled", |log| log.ended == 1);
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
}

#[test]
fn a_request_that_takes_too_long_in_all_is_504() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.until_closed();
    });
    let gate = Gate::start(&with_timeouts(upstream.address(), "total = \"200ms\""));
    assert_refusal(&gate.client().get("/"), 504).unwrap();
}

#[test]
fn a_connection_that_is_not_taken_is_504() {
    let full = FullListener::bind();
    let gate = Gate::start(&with_timeouts(full.address, "connect = \"200ms\""));
    assert_refusal(&gate.client().get("/"), 504).unwrap();
}

/// A listener whose queue is full: it neither takes nor refuses another connection.
struct FullListener {
    _socket: socket2::Socket,
    _waiting: Vec<TcpStream>,
    address: SocketAddr,
}

impl FullListener {
    fn bind() -> Self {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any_port.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        let brief = std::time::Duration::from_millis(300);
        while let Ok(stream) = TcpStream::connect_timeout(&address, brief) {
            waiting.push(stream);
        }
        Self { _socket: socket, _waiting: waiting, address }
    }
}

#[test]
fn an_answer_that_stops_coming_is_cut() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").ok();
        peer.until_closed();
    });
    let gate = Gate::start(&with_timeouts(upstream.address(), "idle = \"200ms\""));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let cut = client.reader().response("GET", |_| {});
    assert!(cut.is_err(), "{cut:?}");
    upstream.wait_until("the request is cancelled", |log| log.ended == 1);
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
}

#[test]
fn a_request_body_that_stops_coming_is_408_and_nobodys_failure() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&with_timeouts(upstream.address(), "idle = \"200ms\""));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
    assert_refusal(&client.answer_to("POST"), 408).unwrap();
    client.assert_closed();
    let failed = gate.metric("tidegate_requests_total", &[("class", "failure")]);
    assert!(failed < 0.5, "a client's slowness was counted against the backend");
}

#[test]
fn a_body_beyond_its_limit_is_413() {
    let upstream = Upstream::saying("blue");
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let lines = "split = { blue = 100 }\nmax_body = \"10B\"";
    let gate = Gate::start(&setup.route("app", lines, ""));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789");
    assert_eq!(client.answer_to("POST").status(), 200);
    upstream.take_requests();
    for body in [
        "content-length: 11\r\n\r\n0123456789x",
        "transfer-encoding: chunked\r\n\r\nb\r\n0123456789x\r\n0\r\n\r\n",
    ] {
        let mut client = gate.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\n{body}"));
        assert_refusal(&client.answer_to("POST"), 413).unwrap();
        client.assert_closed();
    }
    assert!(upstream.take_requests().is_empty(), "a body beyond its limit arrived whole");
}

#[test]
fn connections_beyond_the_limit_are_refused_and_others_go_on() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()).listener("max_connections = 2"));
    let (mut one, mut two) = (gate.client(), gate.client());
    assert_eq!((one.get("/").status(), two.get("/").status()), (200, 200));
    let mut third = gate.client();
    let refusal = third.answer();
    assert_eq!(refusal.status(), 503);
    assert!(refusal.headers.only("x-request-id").is_some(), "{refusal:?}");
    third.assert_closed();
    assert_eq!((one.get("/").status(), two.get("/").status()), (200, 200));
    drop((one, two, third));
    eventually("there is room again", || {
        let mut client = Client::try_connect(gate.address()).ok()?;
        client.stream().set_read_timeout(Some(std::time::Duration::from_secs(1))).ok()?;
        std::io::Write::write_all(client.stream(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").ok()?;
        client.reader().response("GET", |_| {}).ok().map(drop)
    });
}
