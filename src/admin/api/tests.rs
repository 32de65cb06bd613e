//! The API in process: the router as connections see it, over a controller with a data plane that only takes notes.

use axum::http::Request;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::*;
use crate::control::tests::{FakeDataPlane, House, Running};

/// A running controller and its API.
struct World {
    _house: House,
    running: Running,
    admission: Admission,
    streams: Streams,
    peer: Peer,
}

impl World {
    fn new() -> Self {
        let house = House::new("{ blue = 90, green = 10 }");
        let running = house.start(FakeDataPlane::default());
        Self {
            _house: house,
            running,
            admission: Admission::default(),
            streams: Streams::new(),
            peer: Peer::Unix { uid: 0 },
        }
    }

    fn over_tcp(token: Option<&str>) -> Self {
        let local = "127.0.0.1:9900".parse().unwrap();
        let peer = Peer::Tcp { from: "127.0.0.1".parse().unwrap(), to: local };
        let token = token.map(|text| auth::Token::new(text.as_bytes()));
        Self { peer, admission: Admission { token, ..Admission::default() }, ..Self::new() }
    }

    async fn send(&self, request: Request<Body>) -> Response {
        let control = self.running.handle.clone();
        let seen = control.clone();
        let exporter = Exporter::new(control.recorder().clone(), move || seen.gauges()).unwrap();
        let api = Api { control, exporter: Arc::new(exporter), streams: self.streams.clone() };
        let router = router(api, self.admission.clone()).layer(Extension(self.peer));
        let service = hyper_util::service::TowerToHyperService::new(router);
        hyper::service::Service::call(&service, request).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:9900")
            .header("content-type", "application/json");
        read(self.send(request.body(Body::from(body.to_owned())).unwrap()).await).await
    }
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn a_split_is_set_seen_and_remembered() {
    let world = World::new();
    let path = "/v1/routes/api/split";
    let (status, mut route) =
        world.ask("PUT", path, r#"{"blue": 50, "green": 50, "reason": "try"}"#).await;
    // A busy disk may need longer than an answer waits.
    assert!(route.as_object_mut().unwrap().remove("durable").unwrap().is_boolean());
    assert_eq!((status, &route["split"]), (200, &json!({ "blue": 50, "green": 50 })));
    assert_eq!(route["source"], "admin");
    let (_, seen) = world.ask("GET", "/v1/status", "").await;
    assert_eq!(seen["routes"], json!([route]));
    let (_, seen) = world.ask("GET", "/v1/routes/api", "").await;
    assert_eq!(seen, route);
    let (_, events) = world.ask("GET", "/v1/events?after=0&limit=1", "").await;
    assert_eq!(events["events"][0]["kind"], "split_changed");
    assert_eq!(events["events"][0]["actor"], "uid:root(0)");
    let (_, metrics) = world.ask("GET", "/metrics", "").await;
    let line = r#"tidegate_split_weight{route="api",backend="green"} 0.5"#;
    assert!(metrics.as_str().unwrap().contains(line), "{metrics}");
}

#[tokio::test]
async fn every_refusal_has_the_same_shape() {
    let world = World::new();
    let split = "/v1/routes/api/split";
    let endpoint = "/v1/backends/green/endpoints/127.0.0.1:1/drain";
    let huge = format!("{{\"blue\": {}100}}", " ".repeat(MAX_BODY));
    for (method, path, body, status, code) in [
        ("GET", "/nowhere", "", 404, "not_found"),
        ("DELETE", "/v1/status", "", 405, "method_not_allowed"),
        ("PUT", split, "{", 400, "bad_request"),
        ("PUT", split, "", 400, "bad_request"),
        ("PUT", split, r#"{"blue": "much"}"#, 422, "invalid"),
        ("PUT", split, r#"{"blue": 50}"#, 422, "invalid"),
        ("PUT", split, r#"{"blue": 100, "actor": "a\nb"}"#, 422, "invalid"),
        ("PUT", split, r#"{"blue": 100, "reason": "a\u202eb"}"#, 422, "invalid"),
        ("PUT", split, huge.as_str(), 413, "body_too_large"),
        ("PUT", "/v1/routes/web/split", r#"{"blue": 100}"#, 404, "not_found"),
        ("PUT", "/v1/routes/%ff/split", r#"{"blue": 100}"#, 400, "bad_request"),
        ("POST", endpoint, "", 404, "not_found"),
        ("POST", "/v1/reload", r#"{"who": "me"}"#, 400, "bad_request"),
        ("GET", "/v1/events?limit=0", "", 422, "invalid"),
        ("GET", "/v1/events?limit=x", "", 400, "bad_request"),
        ("GET", "/v1/events?page=1", "", 400, "bad_request"),
    ] {
        let (got, answer) = world.ask(method, path, body).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{path}: {answer}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["details"].is_array());
    }
}

#[tokio::test]
async fn all_faults_of_a_split_come_at_once() {
    let world = World::new();
    let wish = r#"{"purple": 10, "blue": 33.333, "green": "half"}"#;
    let (status, answer) = world.ask("PUT", "/v1/routes/api/split", wish).await;
    assert_eq!((status, answer["error"]["details"].as_array().unwrap().len()), (422, 3));
}

#[tokio::test]
async fn an_endpoint_is_drained_and_made_ready() {
    let world = World::new();
    let path = "/v1/backends/green/endpoints/127.0.0.1:9002";
    let (status, endpoint) = world.ask("POST", &format!("{path}/drain"), "").await;
    assert_eq!((status, &endpoint["state"]), (200, &json!("drained")));
    let signed = r#"{"actor": "alice", "reason": "patched"}"#;
    let (_, endpoint) = world.ask("POST", &format!("{path}/ready"), signed).await;
    assert_eq!(endpoint["state"], "ready");
    assert_eq!(endpoint["detail"], Value::Null, "alone it gets all at once");
    let (_, events) = world.ask("GET", "/v1/events", "").await;
    let mut events = events["events"].as_array().unwrap().iter();
    let ready = events.find(|event| event["kind"] == "endpoint_ready").unwrap();
    assert_eq!(ready["actor"], "alice as uid:root(0)");
    assert_eq!(ready["subject"], "green/127.0.0.1:9002");
}

#[tokio::test]
async fn forms_are_not_taken() {
    let world = World::new();
    let form =
        Request::post("/v1/reload").header("content-type", "application/x-www-form-urlencoded");
    let (status, answer) = read(world.send(form.body("a=b".into()).unwrap()).await).await;
    assert_eq!((status, &answer["error"]["code"]), (415, &json!("not_json")));
    let untyped = Request::post("/v1/reload").body(Body::empty()).unwrap();
    assert_eq!(read(world.send(untyped).await).await.1["outcome"], "unchanged");
}

#[tokio::test]
async fn tcp_reads_and_writes_only_with_the_token() {
    let read_only = World::over_tcp(None);
    assert_eq!(read_only.ask("GET", "/v1/status", "").await.0, 200);
    assert_eq!(read_only.ask("POST", "/v1/reload", "").await.0, 403);

    let guarded = World::over_tcp(Some("0123456789abcdef"));
    let reload = |token: &str| {
        let request = Request::post("/v1/reload").header("host", "localhost:9900");
        request.header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()
    };
    let refused = guarded.send(reload("0123456789abcdeF")).await;
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert_eq!(refused.status(), 401);
    assert_eq!(guarded.ask("POST", "/v1/reload", "").await.0, 401);
    assert_eq!(guarded.send(reload("0123456789abcdef")).await.status(), 200);
}

#[tokio::test]
async fn another_sites_name_is_misdirected_over_tcp() {
    let world = World::over_tcp(None);
    let request = Request::get("/v1/status").header("host", "evil.example:9900");
    let (status, answer) = read(world.send(request.body(Body::empty()).unwrap()).await).await;
    assert_eq!((status, &answer["error"]["code"]), (421, &json!("wrong_host")));
    let nameless = Request::get("/v1/status").body(Body::empty()).unwrap();
    assert_eq!(world.send(nameless).await.status(), 421);
}

#[tokio::test]
async fn the_stream_tells_what_was_and_what_comes() {
    let world = World::new();
    world.ask("POST", "/v1/reload", "").await;
    let request = Request::get("/v1/events/stream?after=0").body(Body::empty()).unwrap();
    let response = world.send(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let first = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("id: 1\n") && first.contains("reload_unchanged"), "{first}");
    world.ask("PUT", "/v1/routes/api/split", r#"{"green": 100}"#).await;
    let second = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(second.contains("id: 2\n") && second.contains("split_changed"), "{second}");
}

#[tokio::test]
async fn streams_are_few_and_their_places_come_back() {
    let world = World::new();
    let open = || Request::get("/v1/events/stream").body(Body::empty()).unwrap();
    let mut streams = Vec::new();
    for _ in 0..stream::MAX_STREAMS {
        streams.push(world.send(open()).await);
    }
    assert!(streams.iter().all(|stream| stream.status() == 200));
    let (status, answer) = read(world.send(open()).await).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("too_many_streams")));
    let lost = world.running.handle.recorder().snapshot().overflows_of(Queue::EventStream);
    assert_eq!(lost, 1);
    assert_eq!(world.ask("GET", "/v1/events", "").await.0, 200);
    streams.pop();
    assert_eq!(world.send(open()).await.status(), 200);
}

#[tokio::test]
async fn a_stream_from_a_number_that_is_yet_to_come_tells_what_comes() {
    let world = World::new();
    let request = Request::get("/v1/events/stream?after=900").body(Body::empty()).unwrap();
    let mut stream = world.send(request).await.into_body().into_data_stream();
    world.ask("POST", "/v1/reload", "").await;
    let first = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(first.contains("id: 1\n"), "{first}");
}

#[tokio::test]
async fn readiness_ends_with_the_drain() {
    let world = World::new();
    assert_eq!(world.ask("GET", "/readyz", "").await.0, 200);
    let minute = std::time::Duration::from_secs(60);
    world.running.drain.begin(crate::lifecycle::clock::now(), minute);
    assert_eq!(world.ask("GET", "/readyz", "").await.1["error"]["code"], "draining");
    assert_eq!(world.ask("GET", "/healthz", "").await, (200, json!("ok\n")));
}

#[test]
fn the_description_names_every_route_and_no_other() {
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described: Vec<_> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let mut served: Vec<_> =
        routes().iter().map(|(method, path, _)| (method.to_string(), (*path).to_owned())).collect();
    described.sort();
    served.sort();
    assert_eq!(described, served);
}

#[tokio::test]
async fn a_list_signs_nothing() {
    let world = World::new();
    for body in ["[]", r#" ["alice", "why"]"#] {
        let (status, answer) = world.ask("POST", "/v1/reload", body).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_request")), "{body}");
    }
}
