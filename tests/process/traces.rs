//! Traces as a collector reads them that knows OpenTelemetry's protocol by its own definitions.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    python::Script,
    support::{gate::Gate, setup::Setup, upstream::Upstream},
};

/// Attributes of a span or a resource, by key.
fn attributes(holder: &Value) -> BTreeMap<&str, &Value> {
    let pairs = holder["attributes"].as_array().expect("attributes").iter();
    pairs
        .map(|pair| {
            let value = pair["value"].as_object().and_then(|any| any.values().next());
            (pair["key"].as_str().expect("a key"), value.expect("a value"))
        })
        .collect()
}

fn nanos(span: &Value, key: &str) -> u64 {
    span[key].as_str().expect("a time as text").parse().expect("a number")
}

#[test]
fn a_collector_understands_every_word() {
    let collector = Script::otlp_collector();
    let port = collector.line();
    let upstream = Upstream::saying("good");
    let section = format!(
        "[traces]\nendpoint = \"http://127.0.0.1:{port}\"\nsample = \"100%\"\nmax_delay = \"50ms\"\n\
         service_name = \"edge\"\nheaders = {{ x-key = \"k-1\" }}\n\
         resource = {{ \"deployment.environment.name\" = \"test\" }}\n"
    );
    let gate = Gate::start(&Setup::to(upstream.address()).more(&section));
    let long = "ü".repeat(2_000);
    let answer = gate
        .client()
        .try_get(&format!("/{}", "a".repeat(3_000)), &format!("user-agent: {long}\r\n"));
    assert_eq!(answer.expect("an answer").text(), "good");
    let mut spans: Vec<Value> =
        (0..2).map(|_| serde_json::from_str(&collector.line()).expect("JSON")).collect();
    spans.sort_by_key(|span| span["kind"].to_string());
    let [client, server] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(
        (&server["kind"], &client["kind"]),
        (&"SPAN_KIND_SERVER".into(), &"SPAN_KIND_CLIENT".into())
    );
    assert_eq!(client["traceId"], server["traceId"]);
    assert_eq!(client["parentSpanId"], server["spanId"]);
    assert!(server.get("parentSpanId").is_none());
    let told = upstream.take_requests()[0].headers.only("traceparent").map(str::to_owned);
    let ids = [&client["traceId"], &client["spanId"]].map(|id| id.as_str().expect("an id"));
    assert_eq!(told, Some(format!("00-{}-{}-01", ids[0], ids[1])));
    for span in &spans {
        assert_eq!(span["same"], true, "the definitions write it otherwise: {span:#}");
        assert_eq!((&span["path"], &span["key"]), (&"/v1/traces".into(), &"k-1".into()));
        assert_eq!(
            (&span["scope"], &span["name"].as_str().map(|n| &n[..4])),
            (&"tidegate".into(), &Some("GET "))
        );
        assert!(nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"));
        assert!(nanos(span, "startTimeUnixNano") > 1_700_000_000_000_000_000);
        let resource = attributes(&span["resource"]);
        assert_eq!(*resource["service.name"], "edge");
        assert_eq!(*resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(*resource["deployment.environment.name"], "test");
        assert_eq!(resource["process.pid"].as_str(), Some(&*gate.process_id().to_string()));
    }
    assert!(nanos(server, "startTimeUnixNano") <= nanos(client, "startTimeUnixNano"));
    assert!(nanos(client, "endTimeUnixNano") <= nanos(server, "endTimeUnixNano"));
    let server = attributes(server);
    assert_eq!(*server["http.response.status_code"], "200");
    // A client does not decide how large a span is.
    assert_eq!(server["url.path"].as_str().map(str::len), Some(1024));
    assert_eq!(server["user_agent.original"].as_str(), Some(&*"ü".repeat(512)));
}
