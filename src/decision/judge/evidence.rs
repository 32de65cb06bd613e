//! What the judge knows at one moment.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    decision::{
        condition::{Facts, Missing},
        stats::{Counts, Latencies, Totals, Window},
    },
    domain::{
        MetricName, Plan,
        condition::{Gauge, Metric, Side},
    },
};

/// What control reads at each tick, as it stands. Counters only grow from one change of weights to the next; after a
/// change they may begin anew.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Attempts of the canary that began at the present weight.
    pub canary: Totals,
    /// Those of the baseline.
    pub baseline: Totals,
    /// Failures of the canary since its last success.
    pub failures_in_a_row: u64,
    /// Endpoints of the canary that take requests.
    pub canary_endpoints: Option<u64>,
    /// Those of the baseline.
    pub baseline_endpoints: Option<u64>,
    /// Required checks that failed when they last ran; `None` until each has run.
    pub checks_failed: Option<u64>,
    /// Requests are mirrored to the canary, and its answers compared.
    pub is_mirrored: bool,
    /// Resident memory of this process in bytes.
    pub process_memory: Option<u64>,
    /// Processor time of this process, 1 for all cores that it may use.
    pub process_cpu: Option<f64>,
    /// What sources outside say, in base units; what does not answer is absent.
    pub external: BTreeMap<MetricName, f64>,
    /// The budget so far.
    pub spent: Spent,
}

/// What a rollout has used of its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Failures of the canary.
    pub bad_responses: u64,
    /// Split keys that saw the canary.
    pub exposed_keys: u64,
}

/// A plan, the recent past and the present.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'e> {
    /// What is asked.
    pub plan: &'e Plan,
    /// The canary's recent past, since the step has settled.
    pub canary: &'e Window,
    /// The baseline's, over the same time.
    pub baseline: &'e Window,
    /// The present.
    pub sample: &'e Sample,
}

impl Evidence<'_> {
    /// The counts of `side` over `window`, if they are enough to say something.
    ///
    /// # Errors
    /// [`Missing`] while it settles, and when there are fewer requests than the plan wants.
    pub fn enough(&self, side: Side, window: Duration) -> Result<Counts, Missing> {
        self.enough_of(side, window, Counts::judged)
    }

    /// The same, where other attempts say something too.
    fn enough_of(
        &self,
        side: Side,
        window: Duration,
        that_tell: impl Fn(&Counts) -> u64,
    ) -> Result<Counts, Missing> {
        let counts = self.window(side).counts(Some(window)).ok_or(Missing::Settling)?;
        let (have, need) = (that_tell(&counts), self.plan.min_requests.max(1));
        if have < need {
            return Err(Missing::Traffic { side, have, need });
        }
        Ok(counts)
    }

    /// Whether no more of the canary's requests at this step were answered well than failed, though it got some. Those that
    /// ended without a verdict count: clients that give up on a silent canary leave nothing else behind.
    pub fn is_unanswered(&self) -> bool {
        let counts = self.canary.counts(None);
        counts.is_some_and(|c| c.judged() + c.excluded > 0 && c.success <= c.failure)
    }

    /// Answers of a mirror that differ among those compared. They say something without any request of the canary's own.
    fn difference_rate(&self, span: Duration) -> Result<f64, Missing> {
        let counts = self.canary.counts(Some(span)).ok_or(Missing::Settling)?;
        let need = self.plan.min_requests.max(1);
        if counts.compared < need {
            return Err(Missing::Comparisons { have: counts.compared, need });
        }
        Ok(counts.differing as f64 / counts.compared as f64)
    }

    const fn window(&self, side: Side) -> &Window {
        match side {
            Side::Canary => self.canary,
            Side::Baseline => self.baseline,
        }
    }

    /// What `of` reads off the latencies to the last byte.
    fn latency(
        &self,
        side: Side,
        span: Duration,
        of: impl Fn(&Latencies) -> Option<Duration>,
    ) -> Result<f64, Missing> {
        self.enough(side, span)?;
        let totals = self.window(side).totals(Some(span)).ok_or(Missing::Settling)?;
        of(&totals.total).map(|latency| latency.as_secs_f64()).ok_or(Missing::Settling)
    }
}

impl Facts for Evidence<'_> {
    fn read(&self, gauge: &Gauge) -> Result<f64, Missing> {
        let span = gauge.window.unwrap_or(self.plan.window);
        let quantile =
            |q| self.latency(gauge.side, span, |latencies| latencies.histogram.quantile(q));
        let share = |part: u64, whole: u64| {
            let unmeasured = || Missing::Unmeasured(gauge.metric.to_string());
            (whole > 0).then(|| part as f64 / whole as f64).ok_or_else(unmeasured)
        };
        let known =
            |value: Option<f64>| value.ok_or_else(|| Missing::Unmeasured(gauge.metric.to_string()));
        match &gauge.metric {
            Metric::Requests => {
                let counts = self.window(gauge.side).counts(gauge.window);
                counts.map(|counts| counts.judged() as f64).ok_or(Missing::Settling)
            }
            Metric::Rps => match self.window(gauge.side).counts(Some(span)) {
                Some(counts) if counts.lasted >= SHORTEST_RATE => {
                    Ok(counts.judged() as f64 / counts.lasted.as_secs_f64())
                }
                Some(_) | None => Err(Missing::Settling),
            },
            Metric::ErrorRate => {
                self.enough(gauge.side, span).and_then(|c| share(c.failure, c.judged()))
            }
            Metric::SuccessRate => {
                self.enough(gauge.side, span).and_then(|c| share(c.success, c.judged()))
            }
            Metric::AbandonedRate => self
                .enough_of(gauge.side, span, Counts::awaited)
                .and_then(|c| share(c.abandoned, c.awaited())),
            Metric::FallbackRate => {
                self.enough(gauge.side, span).and_then(|c| share(c.fallbacks, c.judged()))
            }
            Metric::CacheHitRate => {
                self.enough(gauge.side, span).and_then(|c| share(c.cache_hits, c.cache_answers))
            }
            Metric::Mean => self.latency(gauge.side, span, Latencies::mean),
            Metric::P50 => quantile(0.5),
            Metric::P90 => quantile(0.9),
            Metric::P95 => quantile(0.95),
            Metric::P99 => quantile(0.99),
            Metric::HealthyEndpoints => known(
                match gauge.side {
                    Side::Canary => self.sample.canary_endpoints,
                    Side::Baseline => self.sample.baseline_endpoints,
                }
                .map(|count| count as f64),
            ),
            Metric::ChecksFailed => known(self.sample.checks_failed.map(|count| count as f64)),
            Metric::DifferenceRate if !self.sample.is_mirrored => known(None),
            Metric::DifferenceRate => self.difference_rate(span),
            Metric::ProcessMemory => known(self.sample.process_memory.map(|bytes| bytes as f64)),
            Metric::ProcessCpu => known(self.sample.process_cpu),
            Metric::External(name, _) => {
                let value = self.sample.external.get(name).copied();
                value.ok_or_else(|| Missing::Source(gauge.metric.to_string()))
            }
        }
    }
}

/// Over less than this a rate is chance.
const SHORTEST_RATE: Duration = Duration::from_secs(1);
