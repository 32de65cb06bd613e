//! One delivery of spans: tried until the collector takes them, refuses them for good, or too much time has passed.

use std::{sync::Arc, time::Duration};

use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use tokio::sync::watch;

use super::Parcel;
use crate::{
    config::{Config, model::Traces},
    control::{
        Outbound,
        outbound::{Answer, OutboundError, Outgoing},
    },
    telemetry::{Recorder, spans::otlp},
};

/// Longest time for all attempts at one delivery.
const MOST_TIME: Duration = Duration::from_secs(30);
/// Pause after the first failed attempt; it doubles after each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Why spans have not been taken.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// Another attempt may do, after a while that the collector may name.
    Passing(String, Option<Duration>),
    /// None will.
    Final(String),
}

impl Refusal {
    fn why(&self) -> &str {
        match self {
            Self::Passing(why, _) | Self::Final(why) => why,
        }
    }
}

/// Where deliveries are made.
pub(super) struct Desk {
    config: watch::Receiver<Arc<Config>>,
    recorder: Arc<Recorder>,
    outbound: Outbound,
    /// The process ends: nothing is tried again.
    ends: watch::Receiver<bool>,
    most_time: Duration,
    first_pause: Duration,
    /// The last delivery failed, and that has been said.
    is_away: bool,
}

impl Desk {
    pub(super) fn new(
        config: watch::Receiver<Arc<Config>>,
        outbound: Outbound,
        recorder: Arc<Recorder>,
        ends: watch::Receiver<bool>,
    ) -> Self {
        Self {
            config,
            recorder,
            outbound,
            ends,
            most_time: MOST_TIME,
            first_pause: FIRST_PAUSE,
            is_away: false,
        }
    }

    /// Longest time that a span waits for others.
    pub(super) fn max_delay(&self) -> Duration {
        self.config.borrow().traces.as_ref().map_or(Duration::ZERO, |traces| traces.max_delay)
    }

    /// Delivers `parcel`, or gives it up, and counts what became of its spans.
    pub(super) async fn send(&mut self, parcel: &Parcel) {
        let spans = parcel.spans() as u64;
        let mut last = Refusal::Passing("the collector takes too long".to_owned(), None);
        let tried = tokio::time::timeout(self.most_time, self.try_often(parcel, &mut last)).await;
        match tried {
            Ok(Some(rejected)) => {
                let rejected = rejected.min(spans);
                self.recorder.spans_exported(spans - rejected);
                self.recorder.spans_failed(rejected);
                if rejected > 0 {
                    self.fails(&format!("it rejects {rejected} of {spans} spans"));
                } else if std::mem::take(&mut self.is_away) {
                    tracing::info!("spans reach the collector again");
                }
            }
            Ok(None) | Err(_) => {
                self.recorder.spans_failed(spans);
                self.fails(last.why());
            }
        }
    }

    /// Says so once until it is over.
    fn fails(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_away, true) {
            let config = self.config.borrow();
            let endpoint = config.traces.as_ref().map_or("none", |traces| place(&traces.endpoint));
            tracing::warn!(endpoint, why, "spans do not reach the collector");
        }
    }

    /// How many spans were rejected by a collector that took the parcel; `None` when it is given up, and `last` says why.
    async fn try_often(&self, parcel: &Parcel, last: &mut Refusal) -> Option<u64> {
        let (mut pause, mut ends) = (self.first_pause, self.ends.clone());
        loop {
            let traces = self.config.borrow().traces.clone();
            let Some(traces) = traces else {
                *last = Refusal::Final("there is no [traces] any more".to_owned());
                return None;
            };
            let asked = match self.post(&traces, parcel).await {
                Ok(rejected) => return Some(rejected),
                Err(Refusal::Passing(why, asked)) if !*ends.borrow() => {
                    *last = Refusal::Passing(why, asked);
                    asked
                }
                Err(refusal) => {
                    *last = refusal;
                    return None;
                }
            };
            // Several proxies of one collector do not come back all at once.
            let own = pause.mul_f64(0.75 + fastrand::f64() / 2.0);
            tokio::select! {
                () = tokio::time::sleep(asked.map_or(own, |asked| asked.max(own))) => {}
                Ok(_) = ends.wait_for(|ends| *ends) => return None,
            }
            pause *= 2;
        }
    }

    async fn post(&self, traces: &Traces, parcel: &Parcel) -> Result<u64, Refusal> {
        let mut headers = HeaderMap::with_capacity(traces.headers.len() + 1);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        for (name, value) in &traces.headers {
            // Checked with the configuration.
            if let Ok(mut value) = HeaderValue::from_str(value) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let outgoing = Outgoing {
            method: Method::POST,
            url: &traces.endpoint,
            headers,
            body: body(traces, parcel),
            timeout: traces.timeout,
        };
        judge(self.outbound.ask(outgoing).await)
    }
}

/// The spans of `parcel`, and who sends them.
fn body(traces: &Traces, parcel: &Parcel) -> Vec<u8> {
    otlp::request(
        |say| {
            say.text("service.name", &traces.service_name);
            say.text("service.version", env!("CARGO_PKG_VERSION"));
            say.number("process.pid", std::process::id().into());
            traces.resource.iter().for_each(|(name, value)| say.text(name, value));
        },
        parcel.batches.iter().map(|batch| batch.bytes.as_slice()),
    )
}

/// What an answer means (OTLP/HTTP, "Failures" and "Throttling"); how many spans were rejected where all was well otherwise.
fn judge(answer: Result<Answer, OutboundError>) -> Result<u64, Refusal> {
    match answer {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(otlp::rejected(&answer.body)),
        Ok(answer) => {
            let why = format!("it answers {}", answer.status);
            match answer.status {
                429 | 502 | 503 | 504 => Err(Refusal::Passing(why, retry_after(&answer.headers))),
                _ => Err(Refusal::Final(why)),
            }
        }
        Err(error @ (OutboundError::Timeout(_) | OutboundError::Broken(_))) => {
            Err(Refusal::Passing(error.to_string(), None))
        }
        Err(
            error @ (OutboundError::Client(_)
            | OutboundError::Untrusted(_)
            | OutboundError::TooLong),
        ) => Err(Refusal::Final(error.to_string())),
    }
}

/// Seconds alone: no collector writes a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Scheme and host of an address whose path may be as good as a password.
fn place(url: &str) -> &str {
    let ends = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
    &url[..ends]
}

#[cfg(test)]
mod tests;
