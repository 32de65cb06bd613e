//! Traces: what spans say, how they hang together with what endpoints are told, and what becomes of
//! them and of requests where nobody takes them.

use std::net::SocketAddr;

use crate::support::{
    collector::{Collector, Span, section},
    eventually,
    gate::Gate,
    message::Message,
    setup::{NONE, Setup},
    upstream::{Reserved, Upstream, ok},
};

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const PARENT: &str = "b7ad6b7169203331";

pub(crate) fn given(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

pub(crate) fn traceparent(request: &Message) -> &str {
    request.headers.only("traceparent").expect("a trace")
}

/// Asks for `path` with more header lines.
pub(crate) fn get(gate: &Gate, path: &str, lines: &str) -> Message {
    gate.client().try_get(path, lines).expect("an answer")
}

/// Two endpoints that take turns, the first one first.
fn pair(collector: &Collector, first: SocketAddr, second: SocketAddr) -> Gate {
    let backend = Setup::empty().backend_of("blue", &[first, second], "balance = \"round_robin\"");
    let routed = backend.route("app", "split = { blue = 100 }", NONE);
    Gate::start(&routed.more(&collector.section("")))
}

/// Reads each request and ends the connection without a word.
fn mute() -> Upstream {
    Upstream::scripted(|peer| drop(peer.request()))
}

pub(crate) fn assert_within(inner: &Span, outer: &Span) {
    assert_eq!((&inner.trace, &inner.parent), (&outer.trace, &outer.id));
    assert!(
        outer.start_ns <= inner.start_ns && inner.end_ns <= outer.end_ns,
        "{outer:?} {inner:?}"
    );
}

#[test]
fn a_request_has_a_span_and_its_attempt_another_which_the_endpoint_is_told_of() {
    let (upstream, collector) = (Upstream::saying("good"), Collector::start());
    let setup = Setup::to(upstream.address()).more(&collector.section("service_name = \"edge-1\""));
    let gate = Gate::start(&setup);
    let lines = "user-agent: probe/1\r\nx-request-id: id-7\r\nauthorization: hush\r\n";
    assert_eq!(get(&gate, "/a/b?token=hush", lines).text(), "good");
    let spans = collector.await_spans(2);
    let [server, client] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((server.kind, server.name.as_str(), server.status), (2, "GET app", 0));
    assert_eq!((server.parent.as_str(), server.flags), ("", 0x101));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.path", "/a/b"),
        ("url.scheme", "http"),
        ("server.address", "test"),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "probe/1"),
        ("tidegate.route", "app"),
        ("tidegate.backend", "blue"),
        ("tidegate.request_id", "id-7"),
    ] {
        assert_eq!(server.says(key), value, "{key}");
    }
    assert!(server.says("tidegate.bucket").parse::<u32>().unwrap() < 10_000);
    assert!(!server.has("error.type"));
    assert_eq!((client.kind, client.name.as_str(), client.status), (3, "GET blue", 0));
    assert_within(client, server);
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.full", &format!("http://{}/a/b", upstream.address())),
        ("server.address", "127.0.0.1"),
        ("server.port", &upstream.address().port().to_string()),
        ("network.protocol.version", "1.1"),
        ("tidegate.backend", "blue"),
        ("tidegate.class", "success"),
    ] {
        assert_eq!(client.says(key), value, "{key}");
    }
    assert!(!client.has("error.type") && !client.has("http.request.resend_count"));
    assert!(!format!("{spans:?}").contains("hush"), "a secret is told: {spans:#?}");
    assert_eq!(traceparent(&upstream.take_requests()[0]), client.traceparent());
    let request = &collector.requests()[0];
    assert_eq!(request.first_line, "POST /v1/traces HTTP/1.1");
    assert_eq!(request.headers.only("content-type"), Some("application/x-protobuf"));
    assert!(request.text().contains("edge-1"));
    gate.await_count("tidegate_trace_spans_total", &[("result", "exported")], 2);
}

#[test]
fn a_retry_is_a_second_attempt_with_a_span_of_its_own() {
    let (bad, good, collector) = (mute(), Upstream::saying("good"), Collector::start());
    let gate = pair(&collector, bad.address(), good.address());
    assert_eq!(get(&gate, "/", "").text(), "good");
    let spans = collector.await_spans(3);
    let [server, first, second] = &spans[..] else { panic!("{spans:#?}") };
    assert_within(first, server);
    assert_within(second, server);
    assert_eq!((first.says("error.type"), first.status), ("upstream_reset", 2));
    assert_eq!(first.says("tidegate.class"), "failure");
    assert_eq!((second.says("http.request.resend_count"), second.status), ("1", 0));
    assert_eq!(server.status, 0, "the client was not failed");
    assert_eq!(traceparent(&bad.take_requests()[0]), first.traceparent());
    assert_eq!(traceparent(&good.take_requests()[0]), second.traceparent());
}

#[test]
fn so_is_one_after_an_endpoint_that_could_not_be_reached() {
    let (closed, good, collector) = (Reserved::bind(), Upstream::echoing(), Collector::start());
    let gate = pair(&collector, closed.address, good.address());
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer_to("POST").text(), "hello");
    let spans = collector.await_spans(3);
    let [server, first, second] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(server.name, "POST app");
    assert_eq!(first.says("error.type"), "connect_failed");
    assert_eq!(first.says("server.port"), closed.address.port().to_string());
    assert!(!first.has("http.response.status_code"));
    assert_eq!(second.says("server.port"), good.address().port().to_string());
    assert_eq!(traceparent(&good.take_requests()[0]), second.traceparent());
}

#[test]
fn and_so_is_what_a_broken_connection_makes_go_out_again() {
    let collector = Collector::start();
    // The first connection breaks with its second request, the next one works.
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            if peer.number == 0 && request.target() == "/second" {
                return;
            }
            if peer.write(ok("good")).is_err() {
                return;
            }
        }
    });
    let gate = Gate::start(&Setup::to(upstream.address()).more(&collector.section("")));
    let mut client = gate.client();
    assert_eq!(client.get("/first").text(), "good");
    assert_eq!(client.get("/second").text(), "good");
    let spans = collector.await_spans(5);
    let [_, server, _, broken, again] = &spans[..] else { panic!("{spans:#?}") };
    assert_within(broken, server);
    assert_within(again, server);
    assert_eq!(broken.says("error.type"), "upstream_reset");
    assert_eq!(again.says("http.request.resend_count"), "1");
    let seen = upstream.take_requests();
    let told: Vec<_> = seen[1..].iter().map(traceparent).collect();
    assert_eq!(told, [broken.traceparent(), again.traceparent()]);
}

#[test]
fn the_baselines_answer_for_a_canary_is_an_attempt_of_the_same_request() {
    let (blue, collector) = (Upstream::saying("blue"), Collector::start());
    let broken = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec();
    let green = Upstream::answering(move |_| broken.clone());
    let tables = format!("{NONE}\n[route.fallback]\non = [\"5xx\"]\nbudget = \"100%\"");
    let setup = Setup::blue_green((blue.address(), green.address()), 100, &tables);
    let plan = "[[rollout.app.step]]\nname = \"all\"\nweight = 100\nhold = \"1h\"";
    let gate = Gate::start(&setup.rollout(plan).more(&collector.section("")));
    assert_eq!(get(&gate, "/", "").text(), "blue");
    let spans = collector.await_spans(3);
    let [server, canary, baseline] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((server.says("tidegate.fallback"), server.says("tidegate.backend")), ("1", "blue"));
    assert_eq!((canary.name.as_str(), canary.says("error.type")), ("GET green", "503"));
    assert_eq!((canary.status, canary.says("tidegate.class")), (2, "failure"));
    assert_eq!((baseline.name.as_str(), baseline.status), ("GET blue", 0));
    assert_eq!(traceparent(&green.take_requests()[0]), canary.traceparent());
    assert_eq!(traceparent(&blue.take_requests()[0]), baseline.traceparent());
}

#[test]
fn a_call_of_grpc_fails_by_its_own_status() {
    let collector = Collector::start();
    let upstream = Upstream::answering(|request| {
        let status = if request.target() == "/none" { "" } else { "grpc-status: 14\r\n" };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n";
        format!("{head}{status}\r\n").into_bytes()
    });
    let gate = Gate::start(&Setup::to(upstream.address()).more(&collector.section("")));
    let mut client = gate.client();
    for path in ["/some", "/none"] {
        client.try_get(path, "content-type: application/grpc\r\n").expect("an answer");
    }
    let spans = collector.await_spans(4);
    let [_, _, some, none] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(
        (some.says("rpc.grpc.status_code"), some.says("error.type"), some.status),
        ("14", "14", 2)
    );
    assert_eq!((none.says("error.type"), none.status), ("grpc_status_missing", 2));
    assert!(!none.has("rpc.grpc.status_code"));
}

#[test]
fn what_tidegate_answers_itself_has_a_span_that_says_why() {
    let (closed, collector) = (Reserved::bind(), Collector::start());
    let setup = Setup::empty().backend("blue", closed.address, "").route(
        "app",
        "path = \"/app\"\nsplit = { blue = 100 }",
        NONE,
    );
    let gate = Gate::start(&setup.more(&collector.section("")));
    assert_eq!(get(&gate, "/none", "").status(), 404);
    let mut client = gate.client();
    client.send("BREW /app HTTP/1.1\r\nhost: a:81\r\n\r\n");
    assert_eq!(client.answer_to("BREW").status(), 502);
    let spans = collector.await_spans(3);
    let [lost, failed, attempt] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((lost.name.as_str(), lost.says("error.type"), lost.status), ("GET", "no_route", 0));
    assert_eq!((failed.says("http.response.status_code"), failed.status), ("502", 2));
    assert_eq!(failed.says("error.type"), "connect_failed");
    // A client's word is neither a name nor a method that is known.
    assert_eq!((failed.name.as_str(), attempt.name.as_str()), ("HTTP app", "HTTP blue"));
    assert_eq!(failed.says("http.request.method"), "_OTHER");
    assert_eq!(failed.says("http.request.method_original"), "BREW");
    assert_eq!((failed.says("server.address"), failed.says("server.port")), ("a", "81"));
}

#[test]
fn a_client_that_leaves_has_its_spans_all_the_same() {
    let collector = Collector::start();
    let upstream = Upstream::scripted(|peer| {
        drop(peer.request());
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()).more(&collector.section("")));
    let mut client = gate.client();
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_until("the request is there", |log| log.requests.len() == 1);
    drop(client);
    let spans = collector.await_spans(2);
    let [server, attempt] = &spans[..] else { panic!("{spans:#?}") };
    for span in [server, attempt] {
        assert_eq!((span.says("error.type"), span.status), ("client_gone", 0));
        assert!(!span.has("http.response.status_code"), "{span:?}");
    }
    assert_within(attempt, server);
    assert_eq!(attempt.says("tidegate.class"), "excluded");
}

#[test]
fn the_spans_of_a_tunnel_end_with_it() {
    let collector = Collector::start();
    let upstream = Upstream::scripted(|peer| {
        drop(peer.request());
        let agreed =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        peer.write(agreed).ok();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()).more(&collector.section("")));
    let mut client = gate.client();
    client
        .send("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(client.reader().response_head("GET").unwrap().status(), 101);
    // Another request begins and ends meanwhile: by the time that its spans are here, others would be too.
    gate.await_count("tidegate_requests_total", &[("class", "success")], 1);
    let before = eventually("a later request's spans", || {
        // It switches protocols unasked, and is refused.
        assert_eq!(get(&gate, "/later", "").status(), 502);
        let spans = collector.spans();
        (!spans.is_empty()).then_some(spans)
    });
    assert!(before.iter().all(|span| !span.has("url.path") || span.says("url.path") == "/later"));
    drop(client);
    let spans = eventually("the tunnel's spans", || {
        let spans = collector.spans();
        let server = spans
            .iter()
            .find(|span| span.attributes.get("url.path").is_some_and(|p| p == "/chat"))?;
        let attempt = spans.iter().find(|span| span.parent == server.id)?;
        Some([server.clone(), attempt.clone()])
    });
    let [server, attempt] = &spans;
    assert_within(attempt, server);
    for span in [server, attempt] {
        assert_eq!((span.says("http.response.status_code"), span.status), ("101", 0));
        let later = before.iter().map(|span| span.end_ns).min().unwrap();
        assert!(span.end_ns > later, "it ended with the change of protocols: {span:?}");
    }
}

#[test]
fn a_dead_collector_costs_spans_and_no_request() {
    let (upstream, closed) = (Upstream::saying("good"), Reserved::bind());
    let setup = Setup::to(upstream.address()).more(&section(closed.address, "timeout = \"1s\""));
    let mut gate = Gate::start(&setup);
    let mut client = gate.client();
    eventually("spans are dropped", || {
        for _ in 0..200 {
            assert_eq!(client.get("/").text(), "good");
        }
        (gate.metric("tidegate_trace_spans_total", &[("result", "dropped")]) > 0.0).then_some(())
    });
    let dropped = gate.metric("tidegate_overflow_total", &[("queue", "spans")]);
    assert!(dropped > 0.0);
    assert_eq!(gate.metric("tidegate_trace_spans_total", &[("result", "exported")]), 0.0);
    assert_eq!(gate.metric("tidegate_requests_total", &[("class", "failure")]), 0.0);
    gate.signal("TERM");
    assert!(gate.wait().success(), "{}", gate.log());
    let log = gate.log();
    assert_eq!(log.matches("spans do not reach the collector").count(), 1, "{log}");
}

#[test]
fn a_reload_changes_what_is_sampled_and_where_it_goes() {
    let (upstream, first, second) =
        (Upstream::saying("good"), Collector::start(), Collector::start());
    let setup = |traces: &str| Setup::to(upstream.address()).more(traces);
    let gate = Gate::start(&setup(""));
    let reload = |traces: &str| {
        gate.replace_config(&setup(traces));
        gate.run_ok(&["reload"]);
    };
    get(&gate, "/without", &given("01"));
    let seen = upstream.take_requests();
    assert_eq!(traceparent(&seen[0]), format!("00-{TRACE}-{PARENT}-01"), "goes on as it came");
    reload(&first.section(""));
    get(&gate, "/first", "");
    assert_eq!(first.await_spans(2)[0].says("url.path"), "/first");
    reload(&second.section(""));
    get(&gate, "/second", "");
    assert_eq!(second.await_spans(2)[0].says("url.path"), "/second");
    reload(&second.section("sample = 0"));
    get(&gate, "/third", "");
    reload("");
    get(&gate, "/fourth", "");
    gate.stop();
    assert_eq!((first.spans().len(), second.spans().len()), (2, 2));
}

#[test]
fn what_waits_for_others_goes_out_when_the_process_ends() {
    let (upstream, collector) = (Upstream::saying("good"), Collector::start());
    let setup = Setup::to(upstream.address()).more(&collector.section("max_delay = \"1h\""));
    let gate = Gate::start(&setup);
    for _ in 0..3 {
        assert_eq!(get(&gate, "/", "").text(), "good");
    }
    assert_eq!(collector.spans(), []);
    gate.stop();
    assert_eq!(collector.spans().iter().filter(|span| span.is_server()).count(), 3);
    assert_eq!(collector.spans().len(), 6);
    assert_eq!(collector.requests().len(), 1, "they travel together");
}
