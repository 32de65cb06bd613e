//! Spans on their way to the collector: gathered, sent by OTLP over HTTP, tried again while that may help, and given up
//! within half a minute.
//!
//! No worker waits for it: while a collector is away the queue fills, and what it does not take is dropped and counted where
//! it arises. A reload changes where to, under the task.

mod delivery;

use std::{sync::Arc, time::Duration};

use delivery::Desk;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::Outbound;
use crate::{
    config::Config,
    domain::Moment,
    lifecycle::{Tasks, clock},
    telemetry::{Recorder, SpanBatch, SpanSink, spans::MOST_SPANS},
};

/// Time for the last spans, at the end of the process.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends spans for as long as it runs.
#[derive(Debug)]
pub struct TraceExporter {
    task: JoinHandle<()>,
    ending: watch::Sender<bool>,
}

impl TraceExporter {
    /// Sends by `outbound` what comes through the sink, as the configuration of the moment has it.
    pub fn start(
        config: watch::Receiver<Arc<Config>>,
        outbound: Outbound,
        recorder: Arc<Recorder>,
        tasks: &Tasks,
    ) -> (Self, SpanSink) {
        let (sink, inbox) = SpanSink::new(recorder.clone());
        let (ending, ends) = watch::channel(false);
        let sender =
            Sender { inbox, desk: Desk::new(config, outbound, recorder, ends.clone()), ends };
        (Self { task: tasks.spawn("traces", sender.run()), ending }, sink)
    }

    /// Sends what is left, each batch once, and waits for that a moment.
    pub async fn finish(self) {
        self.ending.send_replace(true);
        // What is not taken by then is lost with the process.
        let _ = tokio::time::timeout(PATIENCE, self.task).await;
    }
}

/// Gathers batches until they are worth a request.
struct Sender {
    inbox: mpsc::Receiver<SpanBatch>,
    desk: Desk,
    /// The process ends.
    ends: watch::Receiver<bool>,
}

/// Spans for one request, and when the first of them came.
struct Parcel {
    batches: Vec<SpanBatch>,
    since: Moment,
}

impl Parcel {
    fn spans(&self) -> usize {
        self.batches.iter().map(|batch| batch.spans).sum()
    }
}

impl Sender {
    async fn run(mut self) {
        let mut parcel: Option<Parcel> = None;
        loop {
            let due = due(parcel.as_ref(), self.desk.max_delay());
            let batch = tokio::select! {
                batch = self.inbox.recv() => match batch {
                    Some(batch) => batch,
                    None => break,
                },
                () = due => {
                    self.send(parcel.take()).await;
                    continue;
                }
                Ok(()) = self.ends.changed() => {
                    // What is in the queue still comes, and then its end.
                    self.inbox.close();
                    continue;
                }
            };
            let fits = |parcel: &Parcel| parcel.spans() + batch.spans <= MOST_SPANS;
            if !parcel.as_ref().is_none_or(fits) {
                self.send(parcel.take()).await;
            }
            let parcel =
                parcel.get_or_insert_with(|| Parcel { batches: Vec::new(), since: clock::now() });
            parcel.batches.push(batch);
        }
        self.send(parcel).await;
    }

    async fn send(&mut self, parcel: Option<Parcel>) {
        if let Some(parcel) = parcel {
            self.desk.send(&parcel).await;
        }
    }
}

/// Waits until `parcel` has waited for `delay`; for ever without one.
async fn due(parcel: Option<&Parcel>, delay: Duration) {
    match parcel {
        Some(parcel) if parcel.spans() < MOST_SPANS => {
            clock::sleep_until(parcel.since + delay).await;
        }
        Some(_) => {}
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        control::outbound::tests::{answer, server},
    };

    const MINIMAL: &str = include_str!("../../../config/examples/minimal.toml");

    #[tokio::test]
    async fn spans_gather_until_they_fill_a_request_or_time_is_up_and_the_last_go_at_the_end() {
        let (address, mut requests) = server(vec![answer(200, "", "")]).await;
        let text = |delay: &str| {
            format!(
                "{MINIMAL}\n[traces]\nendpoint = \"http://{address}\"\nmax_delay = \"{delay}\"\n"
            )
        };
        let config = |delay| Arc::new(config::parse(&text(delay), "test.toml", &|_| None).unwrap());
        let (present, watched) = watch::channel(config("1h"));
        let recorder = Arc::new(Recorder::new(1));
        let tasks = Tasks::new(|failure| panic!("{failure}"));
        let (exporter, sink) =
            TraceExporter::start(watched, Outbound::default(), recorder.clone(), &tasks);
        let exported = || recorder.snapshot().spans.exported;
        let hand_over = |spans: usize| {
            let mut buffer = sink.buffer();
            (0..spans).for_each(|_| buffer.span(|out| out.extend_from_slice(&[0x12, 0])));
        };
        // As many as a request may have are not kept waiting.
        (0..2).for_each(|_| hand_over(MOST_SPANS / 2));
        requests.recv().await.unwrap();
        // What does not fit into it sends what there is.
        hand_over(MOST_SPANS - 1);
        hand_over(2);
        requests.recv().await.unwrap();
        assert_eq!(exported(), (2 * MOST_SPANS - 1) as u64 - (MOST_SPANS - 1) as u64);
        assert!(requests.try_recv().is_err());
        exporter.finish().await;
        requests.recv().await.unwrap();
        assert_eq!(exported(), (2 * MOST_SPANS + 1) as u64);
        drop(present);
    }
}
