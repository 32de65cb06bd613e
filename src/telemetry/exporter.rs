//! `/metrics`: a snapshot and the gauges of the moment in Prometheus' text format.
//!
//! Nothing is counted here. The exporter is a collector of the `prometheus` crate that reads the same [`Snapshot`] as the
//! judge. Histograms show every octave from 128 µs to 67 s: their bounds are exact edges of ours, so a count at a bound is
//! not an estimate. A pair of route and backend without traffic shows its request counters, but no empty histograms, to
//! keep a scrape of many idle routes small.

use std::{collections::HashMap, sync::Arc};

use prometheus::{
    Registry, TextEncoder,
    core::{Collector, Desc},
    process_collector::ProcessCollector,
    proto::{
        Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType,
    },
};

use super::{
    Error, FallbackSnapshot, Gauges, MirrorSnapshot, Recorder, RolloutGauge, SeriesSnapshot,
    Snapshot,
    names::{self, Metric, MetricKind},
};
use crate::{
    decision::stats::Latencies,
    domain::{Class, ErrorReason, Handshake, MirrorOutcome, MirrorResult, Queue},
};

/// Content type of what [`Exporter::render`] returns.
pub const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Octaves whose upper bounds are exported: 2^7 µs (128 µs) to 2^26 µs (67 s).
const EXPORTED_OCTAVES: std::ops::RangeInclusive<usize> = 7..=26;

/// Renders the process's metrics.
#[derive(Debug)]
pub struct Exporter {
    registry: Registry,
}

impl Exporter {
    /// Exports what `recorder` counted and what `gauges` says at each scrape.
    ///
    /// # Errors
    /// [`Error::Metrics`] when the names contradict each other.
    pub fn new(
        recorder: Arc<Recorder>,
        gauges: impl Fn() -> Gauges + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let registry = Registry::new();
        let descriptions = descriptions()?;
        registry.register(Box::new(Source { recorder, gauges, descriptions }))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { registry })
    }

    /// All metrics at this moment, as [`METRICS_CONTENT_TYPE`].
    ///
    /// # Errors
    /// [`Error::Metrics`] when a family cannot be encoded.
    pub fn render(&self) -> Result<String, Error> {
        Ok(TextEncoder::new().encode_to_string(&self.registry.gather())?)
    }
}

fn descriptions() -> Result<Vec<Desc>, Error> {
    let describe = |metric: &&Metric| {
        let labels = metric.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, HashMap::new())
    };
    Ok(names::ALL.iter().map(describe).collect::<Result<_, _>>()?)
}

/// What the registry collects from.
struct Source<G> {
    recorder: Arc<Recorder>,
    gauges: G,
    descriptions: Vec<Desc>,
}

impl<G: Fn() -> Gauges + Send + Sync> Collector for Source<G> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = counter_families(&self.recorder.snapshot());
        families.extend(gauge_families(&(self.gauges)()));
        families
    }
}

fn counter_families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut requests = Family::new(&names::REQUESTS);
    let mut responses = Family::new(&names::RESPONSES);
    let mut abandoned = Family::new(&names::ABANDONED);
    let mut retries = Family::new(&names::RETRIES);
    let mut cache_answers = Family::new(&names::CACHE_ANSWERS);
    let mut cache_hits = Family::new(&names::CACHE_HITS);
    let mut duration = Family::new(&names::DURATION);
    let mut first_byte = Family::new(&names::FIRST_BYTE);
    for SeriesSnapshot { route, backend, totals, .. } in snapshot.live() {
        let (route, backend) = (route.as_str(), backend.as_str());
        for class in Class::ALL {
            requests.count(&[route, backend, class.label()], totals.class(class));
        }
        for (code, count) in &totals.codes {
            responses.count(&[route, backend, &code.to_string()], *count);
        }
        abandoned.count(&[route, backend], totals.abandoned);
        retries.count(&[route, backend], totals.retries);
        // Most backends never speak of a cache.
        if totals.cache_answers > 0 {
            cache_answers.count(&[route, backend], totals.cache_answers);
            cache_hits.count(&[route, backend], totals.cache_hits);
        }
        duration.spread(&[route, backend], &totals.total);
        first_byte.spread(&[route, backend], &totals.first_byte);
    }
    let mut fallbacks = Family::new(&names::FALLBACKS);
    for FallbackSnapshot { route, from, to, count, .. } in snapshot.live_fallbacks() {
        fallbacks.count(&[route.as_str(), from.as_str(), to.as_str()], *count);
    }
    let mut errors = Family::new(&names::ERRORS);
    for reason in ErrorReason::ALL {
        errors.count(&[reason.label()], snapshot.errors_of(reason));
    }
    let mut overflow = Family::new(&names::OVERFLOW);
    for queue in Queue::ALL {
        overflow.count(&[queue.label()], snapshot.overflows_of(queue));
    }
    let mut handshakes = Family::new(&names::HANDSHAKES);
    for end in Handshake::ALL {
        handshakes.count(&[end.label()], snapshot.handshakes[end.index()]);
    }
    let mut redirects = Family::new(&names::HTTPS_REDIRECTS);
    redirects.count(&[], snapshot.https_redirects);
    let mut spans = Family::new(&names::TRACE_SPANS);
    spans.count(&["exported"], snapshot.spans.exported);
    spans.count(&["failed"], snapshot.spans.failed);
    spans.count(&["dropped"], snapshot.overflows_of(Queue::Spans));
    let attempts = [requests, responses, abandoned, retries, cache_answers, cache_hits];
    let attempts = attempts.into_iter().chain([duration, first_byte]);
    let [mirrored, comparisons] = mirror_families(snapshot);
    let others = [fallbacks, mirrored, comparisons, errors, overflow, handshakes, redirects, spans];
    attempts.chain(others).map(Family::finish).collect()
}

fn mirror_families(snapshot: &Snapshot) -> [Family; 2] {
    let mut mirrored = Family::new(&names::MIRRORED);
    let mut compared = Family::new(&names::MIRROR_COMPARISONS);
    for MirrorSnapshot { route, backend, mirrored: ends, comparisons, .. } in
        snapshot.live_mirrors()
    {
        let (route, backend) = (route.as_str(), backend.as_str());
        for outcome in MirrorOutcome::ALL {
            mirrored.count(&[route, backend, outcome.label()], ends[outcome.index()]);
        }
        for result in MirrorResult::ALL {
            compared.count(&[route, backend, result.label()], comparisons[result.index()]);
        }
    }
    [mirrored, compared]
}

fn gauge_families(gauges: &Gauges) -> Vec<MetricFamily> {
    let mut weight = Family::new(&names::SPLIT_WEIGHT);
    for share in &gauges.weights {
        weight.gauge(&[share.route.as_str(), share.backend.as_str()], share.weight.share());
    }
    let mut healthy = Family::new(&names::ENDPOINT_HEALTHY);
    let mut ejections = Family::new(&names::EJECTIONS);
    let mut in_flight = Family::new(&names::ENDPOINT_IN_FLIGHT);
    for endpoint in &gauges.endpoints {
        let labels = [endpoint.backend.as_str(), endpoint.address.as_str()];
        healthy.gauge(&labels, f64::from(u8::from(endpoint.healthy)));
        let [backend, address] = labels;
        ejections.count(&[backend, address, "ejected"], endpoint.ejections);
        ejections.count(&[backend, address, "withheld"], endpoint.ejections_withheld);
        in_flight.gauge(&labels, endpoint.in_flight as f64);
    }
    let mut connections = Family::new(&names::CONNECTIONS);
    for listener in &gauges.connections {
        connections.gauge(&[&listener.bind.to_string()], listener.open as f64);
    }
    let mut successful = Family::new(&names::RELOAD_SUCCESSFUL);
    successful.gauge(&[], f64::from(u8::from(gauges.reload_successful)));
    let mut success_at = Family::new(&names::RELOAD_SUCCESS_AT);
    success_at.gauge(&[], gauges.reload_success_at_ms as f64 / 1_000.0);
    let mut notifications = Family::new(&names::NOTIFICATIONS);
    for end in &gauges.notifications {
        notifications.count(&[end.sink.as_str(), end.result], end.count);
    }
    let mut expiry = Family::new(&names::CERTIFICATE_EXPIRY);
    for certificate in &gauges.certificates {
        expiry.gauge(&[&certificate.owner, &certificate.file], certificate.not_after_s as f64);
    }
    let mut rate_limited = Family::new(&names::RATE_LIMITED);
    for limit in &gauges.rate_limits {
        rate_limited.count(&[limit.route.as_str()], limit.count);
    }
    let mut build = Family::new(&names::BUILD);
    build.gauge(&[env!("CARGO_PKG_VERSION")], 1.0);
    let mut families: Vec<_> = [
        weight,
        healthy,
        ejections,
        in_flight,
        connections,
        successful,
        success_at,
        notifications,
        build,
        expiry,
        rate_limited,
    ]
    .map(Family::finish)
    .into();
    families.extend(rollout_families(&gauges.rollouts));
    families
}

fn rollout_families(rollouts: &[RolloutGauge]) -> [MetricFamily; 5] {
    let mut phase = Family::new(&names::ROLLOUT_PHASE);
    let mut step = Family::new(&names::ROLLOUT_STEP);
    let mut weight = Family::new(&names::ROLLOUT_WEIGHT);
    let mut rollbacks = Family::new(&names::ROLLBACKS);
    let mut verdict = Family::new(&names::VERDICT);
    for gauge in rollouts {
        let rollout = gauge.rollout.as_str();
        for (label, present) in &gauge.phases {
            phase.gauge(&[rollout, label], f64::from(u8::from(*present)));
        }
        step.gauge(&[rollout], gauge.step as f64);
        weight.gauge(&[rollout], gauge.weight.share());
        for (cause, count) in &gauge.rollbacks {
            rollbacks.count(&[rollout, cause], *count);
        }
        verdict.gauge(&[rollout], f64::from(gauge.verdict));
    }
    [phase, step, weight, rollbacks, verdict].map(Family::finish)
}

/// A metric with its samples.
struct Family {
    metric: &'static Metric,
    samples: Vec<Sample>,
}

impl Family {
    const fn new(metric: &'static Metric) -> Self {
        Self { metric, samples: Vec::new() }
    }

    fn count(&mut self, labels: &[&str], count: u64) {
        let mut counter = Counter::default();
        counter.set_value(count as f64);
        self.sample(labels).set_counter(counter);
    }

    fn gauge(&mut self, labels: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.sample(labels).set_gauge(gauge);
    }

    fn spread(&mut self, labels: &[&str], latencies: &Latencies) {
        let count = latencies.histogram.count();
        if count == 0 {
            return;
        }
        let bucket = |octave| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound((1u64 << octave) as f64 / 1e6);
            bucket.set_cumulative_count(latencies.histogram.count_below_octave(octave));
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(EXPORTED_OCTAVES.map(bucket).collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(latencies.sum_us as f64 / 1e6);
        self.sample(labels).set_histogram(histogram);
    }

    /// A new sample without a value.
    fn sample(&mut self, values: &[&str]) -> &mut Sample {
        debug_assert_eq!(values.len(), self.metric.labels.len());
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let labels = self.metric.labels.iter().zip(values).map(pair).collect();
        self.samples.push_mut(Sample::from_label(labels))
    }

    fn finish(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(match self.metric.kind {
            MetricKind::Counter => MetricType::COUNTER,
            MetricKind::Gauge => MetricType::GAUGE,
            MetricKind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(self.samples);
        family
    }
}

#[cfg(test)]
mod tests;
