//! Metrics from outside: a task for each asks its Prometheus server again and again, and keeps the last answer.
//!
//! Whoever reads gets a number or why there is none; nobody waits for a server. A server that does not answer leaves the
//! last number standing until it is three intervals old; an answer that holds no number takes it away at once.

mod latest;
mod query;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use latest::ExternalReading;
use latest::Latest;
use tokio::{sync::watch, task::AbortHandle, time::MissedTickBehavior};

use super::Outbound;
use crate::{
    config::model::Metric,
    domain::{MetricName, Moment},
    lifecycle::{Tasks, clock},
};

/// The metrics of the configuration and what is known of them; cheap to clone.
#[derive(Debug, Clone)]
pub struct ExternalMetrics(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tasks: Tasks,
    outbound: Outbound,
    polled: Mutex<BTreeMap<MetricName, Polled>>,
}

/// A metric and the task that asks for it, which ends with this value.
#[derive(Debug)]
struct Polled {
    metric: Metric,
    latest: watch::Receiver<Latest>,
    task: AbortHandle,
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ExternalMetrics {
    /// None yet.
    pub fn new(tasks: Tasks, outbound: Outbound) -> Self {
        Self(Arc::new(Shared { tasks, outbound, polled: Mutex::default() }))
    }

    /// Asks for `metrics` from now on, and for no others. One that stays as it was keeps its answer. Needs a runtime.
    pub fn configure(&self, metrics: &[Metric]) {
        let mut polled = self.polled();
        polled.retain(|_, old| metrics.contains(&old.metric));
        for metric in metrics {
            let name = metric.name.clone();
            polled.entry(name).or_insert_with(|| self.poll(metric));
        }
    }

    /// Each metric's number at `now`, or why there is none.
    pub fn read(&self, now: Moment) -> BTreeMap<MetricName, ExternalReading> {
        let polled = self.polled();
        let read = |(name, polled): (&MetricName, &Polled)| {
            (name.clone(), polled.latest.borrow().reading(now, polled.metric.interval))
        };
        polled.iter().map(read).collect()
    }

    fn poll(&self, metric: &Metric) -> Polled {
        let (sender, latest) = watch::channel(Latest::default());
        let (asked, outbound) = (metric.clone(), self.0.outbound.clone());
        let sender = Arc::new(sender);
        let task = self
            .0
            .tasks
            .keep("metric poller", move || poll(asked.clone(), outbound.clone(), sender.clone()));
        Polled { metric: metric.clone(), latest, task: task.abort_handle() }
    }

    fn polled(&self) -> MutexGuard<'_, BTreeMap<MetricName, Polled>> {
        self.0.polled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for ever.
async fn poll(metric: Metric, outbound: Outbound, latest: Arc<watch::Sender<Latest>>) {
    let mut turns = tokio::time::interval(metric.interval);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        // The age is counted from the question: the server may be slow to say what was true then.
        let asked_at = clock::now();
        let answer = query::ask(&metric, &outbound).await;
        latest.send_modify(|latest| latest.take(asked_at, answer));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::model::MetricUnit,
        control::outbound::tests::{answer, server},
    };

    fn metric(name: &str, prometheus: &str, token_file: Option<std::path::PathBuf>) -> Metric {
        Metric {
            name: MetricName::new(name).unwrap(),
            prometheus: prometheus.into(),
            query: "sum(up{job=\"a b\"})".into(),
            unit: MetricUnit::Count,
            interval: Duration::from_secs(3_600),
            timeout: Duration::from_secs(20),
            token_file,
        }
    }

    async fn answered(metrics: &ExternalMetrics, name: &str) -> ExternalReading {
        let mut latest = metrics.polled()[&MetricName::new(name).unwrap()].latest.clone();
        latest.wait_for(|latest| *latest != Latest::default()).await.unwrap();
        metrics.read(clock::now()).remove(&MetricName::new(name).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_metric_is_asked_for_with_its_token_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "let-me-in\n").unwrap();
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2.5"]}]}}"#;
        let (address, mut requests) = server(vec![answer(200, "", vector)]).await;
        let metrics = ExternalMetrics::new(Tasks::new(|_| {}), Outbound::default());
        metrics.configure(&[metric("cpu", &format!("http://{address}/base"), Some(token))]);
        let reading = answered(&metrics, "cpu").await;
        assert_eq!(reading.value, Ok(2.5));
        assert!(reading.age.unwrap() < Duration::from_secs(60));
        let request = requests.recv().await.unwrap();
        let line = "GET /base/api/v1/query?query=sum%28up%7Bjob%3D%22a+b%22%7D%29 HTTP/1.1\r\n";
        assert!(request.starts_with(line), "{request}");
        assert!(request.contains("authorization: Bearer let-me-in\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_metric_that_stays_keeps_its_answer_and_one_that_goes_is_gone() {
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
        let (address, _requests) = server(vec![answer(200, "", scalar)]).await;
        let metrics = ExternalMetrics::new(Tasks::new(|_| {}), Outbound::default());
        let kept = metric("kept", &format!("http://{address}"), None);
        let gone = metric("gone", "http://127.0.0.1:1", None);
        metrics.configure(&[kept.clone(), gone]);
        assert_eq!(answered(&metrics, "kept").await.value, Ok(7.0));
        assert!(answered(&metrics, "gone").await.value.is_err());
        metrics.configure(&[kept]);
        let readings = metrics.read(clock::now());
        assert_eq!(readings.len(), 1);
        assert_eq!(readings.values().next().unwrap().value, Ok(7.0));
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_read_is_why_there_is_no_number() {
        let metrics = ExternalMetrics::new(Tasks::new(|_| {}), Outbound::default());
        metrics.configure(&[metric("cpu", "http://127.0.0.1:1", Some("/nowhere/token".into()))]);
        let reading = answered(&metrics, "cpu").await;
        assert!(reading.value.unwrap_err().contains("/nowhere/token"), "it names the file");
    }
}
