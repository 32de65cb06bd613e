//! Health checks against servers of the test's own.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::*;
use crate::{
    config::model::{Probe, StatusSet},
    control::outbound::tests::{answer, server},
    telemetry::Recorder,
};

const SOON: Duration = Duration::from_millis(5);

fn checks() -> (HealthChecks, mpsc::Receiver<Event>) {
    let (events, inbox) = EventSink::new(Arc::new(Recorder::new(1)));
    let tasks = Tasks::new(|failure| panic!("{failure}"));
    (HealthChecks::new(tasks, Outbound::default(), events), inbox)
}

fn http() -> Probe {
    let (path, host) = ("/health?deep=1".into(), Some("app.test".into()));
    Probe::Http { path, host, expect_status: StatusSet::below_400() }
}

fn watched(address: SocketAddr, probe: Probe) -> Watched {
    Watched {
        protocol: BackendProtocol::Http1,
        tls: None,
        backend: BackendName::new("blue").unwrap(),
        endpoint: Arc::new(Endpoint::new(address.to_string().parse().unwrap(), 1)),
        check: HealthCheck {
            probe,
            interval: SOON,
            timeout: Duration::from_secs(20),
            healthy_after: 2,
            unhealthy_after: 3,
        },
        slow_start: Some(Duration::from_secs(3_600)),
    }
}

#[tokio::test]
async fn an_endpoint_goes_after_bad_answers_and_comes_back_slowly_after_good_ones() {
    let good = || answer(204, "", "");
    let bad = || answer(503, "", "no database");
    let answers = vec![good(), bad(), bad(), good(), bad(), bad(), bad(), good(), good()];
    let (address, mut requests) = server(answers).await;
    let (checks, mut inbox) = checks();
    let running = checks.run(watched(address, http()));
    let endpoint = running.watched.endpoint.clone();

    let event = inbox.recv().await.unwrap();
    assert_eq!(
        (event.kind, &event.subject),
        (EventKind::EndpointUnhealthy, &format!("blue/{address}"))
    );
    assert_eq!(event.message, "no new requests: GET /health?deep=1 gives 503, not 200-399");
    let event = inbox.recv().await.unwrap();
    assert_eq!(event.kind, EventKind::EndpointHealthy);
    assert!(endpoint.is_usable(clock::now()));
    assert!(!endpoint.availability().slow_for(clock::now()).is_zero());

    let request = requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("get /health?deep=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("host: app.test\r\n"), "{request}");
}

#[tokio::test]
async fn the_reason_is_that_of_the_last_bad_answer_and_told_once() {
    let answers = [503, 503, 200, 404].map(|status| answer(status, "", ""));
    let (address, _requests) = server(answers.to_vec()).await;
    let (checks, mut inbox) = checks();
    let running = checks.run(watched(address, http()));
    let event = inbox.recv().await.unwrap();
    assert!(event.message.ends_with("gives 503, not 200-399"), "{}", event.message);
    let availability = running.watched.endpoint.availability();
    let last = async {
        while !availability.health().unwrap().why.contains("gives 404") {
            tokio::time::sleep(SOON).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), last).await.unwrap();
    assert!(availability.is_unhealthy(), "one good answer among them is not enough");
    assert!(inbox.try_recv().is_err(), "the verdict is the same");
}

#[tokio::test]
async fn an_answer_that_clients_would_not_get_is_a_bad_one() {
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{lines}\r\n");
    let chunked = |lines: &str| format!("{}0\r\n\r\n", head(lines));
    let twice = "more than one of content-length and transfer-encoding";
    for (answer, told) in [
        (chunked("content-length: 0\r\ntransfer-encoding: chunked\r\n"), Some(twice)),
        (head("content-length: 0\r\ncontent-length: 0\r\n"), Some(twice)),
        (head("content-length: 0\r\ncontent-length: 1\r\n"), Some("content-length")),
        (head("content-length: 0, 0\r\n"), Some("a content-length that is no number")),
        (head("content-length: +0\r\n"), Some("content-length")),
        (head("transfer-encoding: gzip\r\n"), Some("a transfer-encoding other than chunked")),
        (chunked("transfer-encoding: gzip, chunked\r\n"), Some("other than chunked")),
        (chunked("transfer-encoding: Chunked\r\n"), None),
        (head("content-length: 0\r\n"), None),
        (head(""), None),
    ] {
        let (address, _requests) = server(vec![answer.clone()]).await;
        let asked = watched(address, http());
        let outbound = Outbound::default();
        let how = (BackendProtocol::Http1, None);
        let said = probe::probe(&asked.check, &asked.endpoint, how, &outbound).await;
        match told {
            None => assert_eq!(said.unwrap(), "GET /health?deep=1 gives 200", "{answer:?}"),
            Some(told) => {
                let said = said.expect_err(&answer).to_lowercase();
                assert!(said.contains(told), "{answer:?}: {said}");
            }
        }
    }
}

#[tokio::test]
async fn a_change_of_protocols_is_no_answer_to_a_check() {
    let switched = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let (address, _requests) = server(vec![switched.to_owned()]).await;
    let mut asked = watched(address, http());
    let all = StatusSet::parse("100-599").unwrap();
    let (path, host) = ("/".into(), None);
    asked.check.probe = Probe::Http { path, host, expect_status: all };
    let how = (BackendProtocol::Http1, None);
    let said = probe::probe(&asked.check, &asked.endpoint, how, &Outbound::default()).await;
    let told =
        "GET / gives 101 with a change of protocols that nobody asked for: clients would get 502";
    assert_eq!(said.unwrap_err(), told);
}

#[tokio::test]
async fn an_endpoint_that_is_dead_from_the_beginning_is_known_at_once() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (checks, mut inbox) = checks();
    let mut dead = watched(closed, Probe::Tcp);
    dead.check.interval = Duration::from_secs(3_600);
    let running = checks.run(dead);
    let event = inbox.recv().await.unwrap();
    assert_eq!(event.kind, EventKind::EndpointUnhealthy);
    assert!(event.message.contains("refused"), "{}", event.message);
    assert!(running.watched.endpoint.availability().is_unhealthy());
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up_in_time() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (checks, mut inbox) = checks();
    let mut slow = watched(silent.local_addr().unwrap(), http());
    slow.check.timeout = SOON;
    let _running = checks.run(slow);
    assert_eq!(inbox.recv().await.unwrap().message, "no new requests: no answer within 5 ms");
}

#[tokio::test]
async fn any_address_of_a_name_will_do() {
    let (good, _requests) = server(vec![answer(200, "", "")]).await;
    let mut named = watched(good, http());
    named.endpoint = Arc::new(Endpoint::new("app.internal:80".parse().unwrap(), 1));
    let closed = SocketAddr::from(([127, 0, 0, 1], 1));
    named.endpoint.addresses().set(vec![closed, good]);
    let how = (BackendProtocol::Http1, None);
    let said = probe::probe(&named.check, &named.endpoint, how, &Outbound::default()).await;
    assert_eq!(said.unwrap(), "GET /health?deep=1 gives 200");
}

#[tokio::test]
async fn a_reload_keeps_what_is_known_and_forgets_it_with_the_check() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let text = |more: &str| {
        format!(
            "[[listener]]\nbind = \"127.0.0.1:1\"\n[backend.blue]\nendpoints = [\"{closed}\"]\n{more}\n\
             [[route]]\nname = \"api\"\nsplit = {{ blue = 100 }}\n"
        )
    };
    let config = |more| crate::config::parse(&text(more), "t.toml", &|_| None).unwrap();
    let recorder = Recorder::new(1);
    let checked = config("[backend.blue.health_check]\ninterval = \"1h\"");
    let ingredients = crate::routing::Ingredients {
        splits: &HashMap::new(),
        secret: &mut |_| Ok(Vec::new()),
        series: &mut |route, backend| recorder.series(route, backend).map_err(|e| e.to_string()),
        fallbacks: &mut |_, _, _| Err(String::new()),
        pages: &HashMap::new(),
        mirrors: &mut |_, _| Ok(crate::domain::SeriesId(2)),
        previous: None,
        tls: &crate::tls::Material::default(),
        workers: 1,
        now: clock::now(),
    };
    let table = crate::routing::build(&checked, ingredients).unwrap();
    let (checks, mut inbox) = checks();
    let unhealthy = || table.backends()[0].endpoints[0].availability().is_unhealthy();

    checks.configure(&checked, &table);
    assert_eq!(inbox.recv().await.unwrap().kind, EventKind::EndpointUnhealthy);
    checks.configure(&config("[backend.blue.health_check]\ninterval = \"2h\""), &table);
    assert!(unhealthy(), "another interval is no other endpoint");
    checks.configure(&config(""), &table);
    assert!(!unhealthy(), "without checks nothing speaks against it");
}
