//! Deliveries to a collector on a real socket.

use tokio::{net::TcpListener, sync::mpsc};

use super::*;
use crate::{
    config,
    control::outbound::tests::{answer, server},
    lifecycle::clock,
    telemetry::SpanBatch,
};

const MINIMAL: &str = include_str!("../../../../config/examples/minimal.toml");

fn config(endpoint: &str, more: &str) -> Arc<Config> {
    let text = format!("{MINIMAL}\n[traces]\nendpoint = \"{endpoint}\"\n{more}\n");
    Arc::new(config::parse(&text, "test.toml", &|_| None).unwrap())
}

struct Scene {
    desk: Desk,
    recorder: Arc<Recorder>,
    config: watch::Sender<Arc<Config>>,
    ending: watch::Sender<bool>,
}

fn scene(present: Arc<Config>) -> Scene {
    let recorder = Arc::new(Recorder::new(1));
    let (config, watched) = watch::channel(present);
    let (ending, ends) = watch::channel(false);
    let mut desk = Desk::new(watched, Outbound::default(), recorder.clone(), ends);
    desk.first_pause = Duration::from_millis(1);
    Scene { desk, recorder, config, ending }
}

fn parcel(spans: usize) -> Parcel {
    let batches = vec![SpanBatch { bytes: vec![0x12, 0], spans }];
    Parcel { batches, since: clock::now() }
}

impl Scene {
    fn counts(&self) -> (u64, u64) {
        let spans = self.recorder.snapshot().spans;
        (spans.exported, spans.failed)
    }
}

/// A collector that gives `answers`, and what it was asked.
async fn collector(answers: Vec<String>, more: &str) -> (Scene, mpsc::Receiver<String>) {
    let (address, requests) = server(answers).await;
    (scene(config(&format!("http://{address}"), more)), requests)
}

#[tokio::test]
async fn spans_go_with_their_headers_to_where_traces_are_taken() {
    let more = "service_name = \"gate-7\"\nheaders = { x-key = \"top secret\" }\n\
                resource = { \"deployment.environment.name\" = \"test\" }";
    let (mut scene, mut requests) = collector(vec![answer(200, "", "")], more).await;
    scene.desk.send(&parcel(3)).await;
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{request}");
    for part in [
        "content-type: application/x-protobuf\r\n",
        "x-key: top secret\r\n",
        "gate-7",
        "deployment.environment.name",
    ] {
        assert!(request.contains(part), "{part} is not in {request}");
    }
    assert_eq!(scene.counts(), (3, 0));
    assert!(!format!("{:?}", scene.config.borrow()).contains("top secret"));
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_given_up() {
    for status in [429, 502, 503, 504] {
        let answers = vec![answer(status, "", ""), answer(status, "", ""), answer(200, "", "")];
        let (mut scene, mut requests) = collector(answers, "").await;
        scene.desk.send(&parcel(2)).await;
        assert_eq!(scene.counts(), (2, 0), "{status}");
        for _ in 0..3 {
            requests.recv().await.unwrap();
        }
    }
    for status in [301, 400, 401, 404, 500] {
        let (mut scene, mut requests) = collector(vec![answer(status, "", "")], "").await;
        scene.desk.send(&parcel(2)).await;
        assert_eq!(scene.counts(), (0, 2), "{status}");
        requests.recv().await.unwrap();
        assert!(requests.try_recv().is_err(), "{status} was tried again");
    }
}

#[tokio::test]
async fn a_collector_that_asks_for_time_gets_it_within_a_bound() {
    let answers = vec![answer(429, "retry-after: 1\r\n", ""), answer(200, "", "")];
    let (mut scene, _requests) = collector(answers, "").await;
    let began = clock::now();
    scene.desk.send(&parcel(1)).await;
    assert!(clock::now().since(began) >= Duration::from_secs(1));
    assert_eq!(scene.counts(), (1, 0));

    let (mut scene, _requests) =
        collector(vec![answer(503, "retry-after: 86400\r\n", "")], "").await;
    scene.desk.most_time = Duration::from_millis(200);
    scene.desk.send(&parcel(1)).await;
    assert_eq!(scene.counts(), (0, 1));
}

#[tokio::test]
async fn spans_that_are_rejected_are_counted_as_such() {
    let (mut scene, _requests) =
        collector(vec![answer(200, "", "\n\u{4}\u{8}\u{2}\u{12}\0")], "").await;
    scene.desk.send(&parcel(5)).await;
    assert_eq!(scene.counts(), (3, 2));
    assert!(scene.desk.is_away);
}

#[tokio::test]
async fn a_dead_collector_is_given_up_in_time_and_its_return_is_noticed() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut scene = scene(config(&format!("http://{closed}"), ""));
    scene.desk.most_time = Duration::from_millis(100);
    scene.desk.send(&parcel(4)).await;
    assert_eq!(scene.counts(), (0, 4));
    assert!(scene.desk.is_away);
    // A reload names another one, under the same desk.
    let (address, _requests) = server(vec![answer(200, "", "")]).await;
    scene.config.send_replace(config(&format!("http://{address}/v1/traces"), ""));
    scene.desk.most_time = MOST_TIME;
    scene.desk.send(&parcel(1)).await;
    assert_eq!(scene.counts(), (1, 4));
    assert!(!scene.desk.is_away);
}

#[tokio::test]
async fn at_the_end_and_without_the_section_nothing_is_tried_again() {
    let answers = vec![answer(503, "", ""), answer(200, "", "")];
    let (mut scene, mut requests) = collector(answers, "").await;
    scene.ending.send_replace(true);
    scene.desk.send(&parcel(1)).await;
    assert_eq!(scene.counts(), (0, 1));
    requests.recv().await.unwrap();
    let none = config::parse(MINIMAL, "test.toml", &|_| None).unwrap();
    scene.config.send_replace(Arc::new(none));
    scene.desk.send(&parcel(1)).await;
    assert_eq!(scene.counts(), (0, 2));
    assert!(requests.try_recv().is_err());
}

#[test]
fn an_address_is_told_without_its_path() {
    assert_eq!(place("https://in.example/key/123"), "https://in.example");
    assert_eq!(place("https://in.example"), "https://in.example");
}
