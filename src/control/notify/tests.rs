//! Notifications to made-up sinks: what arrives, what is tried again, what is given up.

use std::time::Duration;

use super::*;
use crate::{
    config::model::{Address, SinkKind},
    control::outbound::tests::{answer, server},
    domain::{RolloutName, Severity, Weight},
    telemetry::{Event, EventKind},
};

/// A rollback.
pub(super) fn notification() -> Notification {
    Notification {
        kind: NotificationKind::RolledBack,
        severity: Severity::Critical,
        rollout: RolloutName::new("api").unwrap(),
        step: Some("canary".into()),
        weight: Weight::ZERO,
        message: "all traffic is on blue".into(),
        rule: String::new(),
        reasons: vec!["error_rate 12% > 10%".into()],
        at_ms: 1_700_000_000_000,
    }
}

fn sink(name: &str, kind: SinkKind) -> Sink {
    Sink {
        name: SinkName::new(name).unwrap(),
        kind,
        events: NotificationKind::ALL.to_vec(),
        min_severity: Severity::Info,
        timeout: Duration::from_secs(20),
    }
}

fn url(text: String) -> Address {
    Address::Url(text.into())
}

fn notifier() -> (Notifier, tokio::sync::mpsc::Receiver<Event>, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::new(1));
    let (events, inbox) = EventSink::new(recorder.clone());
    let notifier = Notifier::new(Tasks::new(|_| {}), Outbound::default(), events, recorder.clone());
    (notifier, inbox, recorder)
}

fn count(notifier: &Notifier, sink: &str, result: &str) -> u64 {
    let counts = notifier.counts();
    let mut own = counts.iter().filter(|count| count.sink.as_str() == sink);
    own.find(|count| count.result == result).unwrap().count
}

#[tokio::test]
async fn a_webhook_is_signed_tried_again_and_told_that_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "key\n").unwrap();
    let (address, mut requests) = server(vec![answer(503, "", "busy"), answer(204, "", "")]).await;
    let (notifier, mut inbox, _) = notifier();
    let kind = SinkKind::Webhook {
        url: url(format!("http://{address}/hook?a=b")),
        secret_file: Some(key),
    };
    notifier.configure(&[sink("ops", kind)]);
    notifier.notify(&notification());
    let (first, second) = (requests.recv().await.unwrap(), requests.recv().await.unwrap());
    assert!(first.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{first}");
    assert_eq!(first, second, "the second attempt is the first again");
    let header = |name: &str| first.split(name).nth(1).unwrap().lines().next().unwrap();
    assert_eq!(header("x-tidegate-signature: ").len(), "sha256=".len() + 64);
    assert_eq!(header("x-tidegate-delivery: ").len(), 16);
    assert!(first.ends_with("\"at\":\"2023-11-14T22:13:20Z\"}"), "{first}");
    notifier.drained().await;
    assert_eq!(count(&notifier, "ops", "sent"), 1);
    assert!(inbox.try_recv().is_err(), "a delivery that succeeded in the end is no event");
}

#[tokio::test]
async fn a_dead_sink_is_an_event_and_delays_no_other() {
    let (dead, _) = server(vec![answer(410, "", "gone for\u{1b} good")]).await;
    let (alive, mut requests) = server(vec![answer(200, "", "ok")]).await;
    let (notifier, mut inbox, _) = notifier();
    notifier.configure(&[
        sink("dead", SinkKind::Slack(url(format!("http://{dead}/")))),
        sink("file", SinkKind::Slack(Address::File("/nowhere/url".into()))),
        sink("alive", SinkKind::Slack(url(format!("http://{alive}/")))),
    ]);
    notifier.notify(&notification());
    let request = requests.recv().await.unwrap();
    assert!(request.contains("critical: api rolled back: all traffic is on blue"), "{request}");
    let event = inbox.recv().await.unwrap();
    assert_eq!((event.kind, event.subject.as_str()), (EventKind::NotifyFailed, "dead"));
    assert!(event.message.ends_with("status 410: gone for  good"), "{}", event.message);
    assert_eq!((count(&notifier, "dead", "failed"), count(&notifier, "dead", "sent")), (1, 0));
    assert_eq!(count(&notifier, "file", "failed"), 0, "it may be there the next time");
}

#[tokio::test]
async fn a_sink_gets_what_it_asked_for() {
    let (address, mut requests) = server(vec![answer(200, "", "ok")]).await;
    let (notifier, _inbox, _) = notifier();
    let mut chat = sink("chat", SinkKind::Slack(url(format!("http://{address}/"))));
    chat.events = vec![NotificationKind::Held, NotificationKind::RolledBack];
    chat.min_severity = Severity::Warning;
    notifier.configure(std::slice::from_ref(&chat));
    for (kind, severity) in [
        (NotificationKind::Started, Severity::Critical),
        (NotificationKind::Held, Severity::Info),
        (NotificationKind::RolledBack, Severity::Warning),
    ] {
        notifier.notify(&Notification { kind, severity, ..notification() });
    }
    assert!(requests.recv().await.unwrap().contains("warning: api rolled back"));
    // A reload that selects more holds for what comes then.
    chat.events.push(NotificationKind::Started);
    notifier.configure(&[chat]);
    notifier.notify(&Notification { kind: NotificationKind::Started, ..notification() });
    assert!(requests.recv().await.unwrap().contains("critical: api started"));
    notifier.configure(&[]);
    assert!(notifier.counts().is_empty());
}

#[tokio::test]
async fn alertmanager_gets_open_alerts_and_their_end() {
    let (address, mut requests) = server(vec![answer(200, "", "")]).await;
    let (notifier, _inbox, _) = notifier();
    let mut page = sink("page", SinkKind::Alertmanager(url(format!("http://{address}/am/"))));
    page.events = vec![NotificationKind::Paused];
    notifier.configure(&[page]);
    for kind in [NotificationKind::Alert, NotificationKind::Paused] {
        notifier.notify(&Notification { kind, ..notification() });
    }
    let opened = requests.recv().await.unwrap();
    notifier.notify(&Notification { kind: NotificationKind::Resumed, ..notification() });
    assert!(opened.starts_with("POST /am/api/v2/alerts HTTP/1.1\r\n"), "{opened}");
    assert!(opened.contains("\"alertname\":\"TidegateRolloutPaused\""), "{opened}");
    assert!(opened.contains("\"endsAt\":\"2023-11-14T22:17:20Z\""), "{opened}");
    let closed = requests.recv().await.unwrap();
    assert!(closed.contains("\"endsAt\":\"2023-11-14T22:13:20Z\""), "{closed}");
}

#[tokio::test]
async fn a_full_queue_loses_the_oldest_and_counts_it() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let (notifier, _inbox, recorder) = notifier();
    notifier.configure(&[sink("slow", SinkKind::Slack(url(format!("http://{address}/"))))]);
    for _ in 0..queue::CAPACITY + 3 {
        notifier.notify(&notification());
    }
    assert_eq!(count(&notifier, "slow", "dropped"), 3);
    assert_eq!(recorder.snapshot().overflows_of(domain::Queue::Notifications), 3);
}

#[tokio::test]
async fn how_it_ended_and_critical_alerts_go_before_what_waits() {
    let (address, mut requests) = server(vec![answer(200, "", "ok")]).await;
    let (notifier, _inbox, _) = notifier();
    notifier.configure(&[sink("chat", SinkKind::Slack(url(format!("http://{address}/"))))]);
    let told = [
        (NotificationKind::Started, Severity::Info),
        (NotificationKind::Alert, Severity::Warning),
        (NotificationKind::Alert, Severity::Critical),
        (NotificationKind::Held, Severity::Warning),
        (NotificationKind::Resolved, Severity::Critical),
        (NotificationKind::RolledBack, Severity::Critical),
    ];
    for (number, (kind, severity)) in told.into_iter().enumerate() {
        let message = format!("number {number}.");
        notifier.notify(&Notification { kind, severity, message, ..notification() });
    }
    for number in [2, 4, 5, 0, 1, 3] {
        let request = requests.recv().await.unwrap();
        assert!(request.contains(&format!("number {number}.")), "{number}: {request}");
    }
}

/// The sink would take its own timeout five times over.
#[tokio::test]
async fn a_sink_that_hangs_has_a_time_for_all_attempts_at_one_delivery() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let (events, mut inbox) = EventSink::new(Arc::new(Recorder::new(1)));
    let hangs = sink("hangs", SinkKind::Slack(url(format!("http://{address}/"))));
    let (_keep, sink) = watch::channel(Arc::new(hangs));
    let counts = Arc::<Counts>::default();
    let (queue, outbound, most_time) =
        (Arc::default(), Outbound::default(), Duration::from_millis(50));
    let courier = Courier { sink, queue, counts: counts.clone(), outbound, events, most_time };
    let parcel = delivery::Parcel::Notification(Box::new(notification()));
    courier.bring(&parcel, 1, &mut courier::Trouble::default()).await;
    let event = inbox.recv().await.unwrap();
    assert!(event.message.ends_with("not taken within 50 ms"), "{}", event.message);
    let failed = counts.read(&SinkName::new("hangs").unwrap());
    assert!(failed.iter().any(|count| (count.result, count.count) == ("failed", 1)));
}

#[tokio::test]
async fn alertmanager_gets_all_that_waits_at_once_with_the_last_word_on_each() {
    let (address, mut requests) = server(vec![answer(200, "", "")]).await;
    let (notifier, _inbox, _) = notifier();
    notifier.configure(&[sink("page", SinkKind::Alertmanager(url(format!("http://{address}"))))]);
    use NotificationKind::{Held, Paused, RolledBack};
    for kind in [Held, Paused, Held, RolledBack] {
        notifier.notify(&Notification { kind, ..notification() });
    }
    let request = requests.recv().await.unwrap();
    for (name, times) in [("Held", 1), ("Paused", 1), ("RolledBack", 1)] {
        let name = format!("\"alertname\":\"TidegateRollout{name}\"");
        assert_eq!(request.matches(&name).count(), times, "{name}: {request}");
    }
    notifier.drained().await;
    assert_eq!(count(&notifier, "page", "sent"), 4);
}
