//! Which requests are traced: by chance, or as a trusted proxy says; and what everybody behind is told.

use crate::{
    support::{
        collector::Collector,
        frames::Frames,
        gate::Gate,
        setup::{NONE, Setup},
        upstream::Upstream,
    },
    traces::{PARENT, TRACE, assert_within, get, given, traceparent},
};

/// Everybody on this machine is a trusted proxy.
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

#[test]
fn a_request_that_is_not_sampled_has_no_span_and_everybody_behind_is_told_so() {
    let (upstream, collector) = (Upstream::saying("good"), Collector::start());
    let setup = Setup::to(upstream.address()).more(&collector.section("sample = 0"));
    let gate = Gate::start(&setup);
    for flags in ["", "00", "01", "03"] {
        let lines = if flags.is_empty() { String::new() } else { given(flags) };
        assert_eq!(get(&gate, "/", &lines).text(), "good");
    }
    let seen = upstream.take_requests();
    let told: Vec<_> = seen.iter().map(traceparent).collect();
    assert!(told[0].ends_with("-00"), "{told:?}");
    assert_eq!(told[1], format!("00-{TRACE}-{PARENT}-00"), "goes on as it is");
    for (told, flags) in [(told[2], "00"), (told[3], "02")] {
        assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with(flags), "{told}");
        assert!(!told.contains(PARENT), "the flag belongs to its span: {told}");
    }
    assert_eq!(collector.spans(), []);
    gate.await_count("tidegate_trace_spans_total", &[], 0);
}

#[test]
fn an_untrusted_client_continues_its_trace_and_does_not_decide() {
    let (upstream, collector) = (Upstream::saying("good"), Collector::start());
    let gate = Gate::start(&Setup::to(upstream.address()).more(&collector.section("")));
    get(&gate, "/", &(given("00") + "tracestate: a=b\r\n"));
    let spans = collector.await_spans(2);
    let [server, client] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((server.trace.as_str(), server.parent.as_str()), (TRACE, PARENT));
    assert_eq!(server.flags, 0x301, "its parent is another process's");
    let seen = upstream.take_requests();
    assert_eq!(traceparent(&seen[0]), client.traceparent());
    assert_eq!(seen[0].headers.only("tracestate"), Some("a=b"));
}

#[test]
fn a_trusted_proxy_decides_for_and_against() {
    let (upstream, collector) = (Upstream::saying("good"), Collector::start());
    for (sample, flags) in [("0", "01"), ("100", "00")] {
        let setup = Setup::to(upstream.address()).listener(TRUSTED);
        let gate = Gate::start(&setup.more(&collector.section(&format!("sample = {sample}"))));
        get(&gate, &format!("/{flags}"), &given(flags));
        assert!(gate.stop().path().exists(), "what there is to send is sent");
    }
    let spans = collector.await_spans(2);
    let [server, client] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((server.says("url.path"), server.parent.as_str()), ("/01", PARENT));
    let seen = upstream.take_requests();
    assert_eq!(traceparent(&seen[0]), client.traceparent());
    assert_eq!(traceparent(&seen[1]), format!("00-{TRACE}-{PARENT}-00"));
}

#[test]
fn two_proxies_behind_each_other_make_one_trace_over_http2() {
    let (upstream, collector) = (Upstream::saying("good"), Collector::start());
    let inner = Setup::to(upstream.address()).listener(TRUSTED);
    let inner = Gate::start(&inner.more(&collector.section("sample = 0")));
    let outer = Setup::empty().backend("blue", inner.address(), "protocol = \"h2\"");
    let outer = outer.route("app", "split = { blue = 100 }", NONE);
    let outer = Gate::start(&outer.more(&collector.section("")));
    let mut frames = Frames::connect(outer.address());
    frames.send_get(1, "/deep");
    frames.end_of(1);
    let spans = collector.await_spans(4);
    let [first, third, second, fourth] = &spans[..] else { panic!("{spans:#?}") };
    for (inner, outer) in [(second, first), (third, second), (fourth, third)] {
        assert_within(inner, outer);
    }
    for span in [first, second, third] {
        assert_eq!(span.says("network.protocol.version"), "2");
        assert_eq!(span.says("http.response.status_code"), "200");
    }
    assert_eq!((first.says("url.path"), third.says("url.path")), ("/deep", "/deep"));
    assert_eq!(traceparent(&upstream.take_requests()[0]), fourth.traceparent());
}
