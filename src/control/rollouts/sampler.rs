//! Takes samples of both sides as time goes by, often enough for a chart and seldom enough to be kept for weeks.

use std::time::Duration;

use super::{Sample, SideSample};
use crate::{
    decision::stats::Totals,
    domain::{Moment, Plan, Weight},
};

/// Samples over a plan that goes as planned.
const WANTED: u32 = 1_000;
const MOST_OFTEN: Duration = Duration::from_secs(1);
const MOST_SELDOM: Duration = Duration::from_secs(30);

/// Remembers the counters at the last sample.
#[derive(Debug)]
pub(super) struct Sampler {
    every: Duration,
    last: Option<(Moment, Totals, Totals)>,
}

impl Sampler {
    /// Nothing taken yet, for a run of `plan`.
    pub(super) fn new(plan: &Plan) -> Self {
        let planned: Duration = plan.steps.iter().map(|step| step.hold).sum();
        Self { every: (planned / WANTED).clamp(MOST_OFTEN, MOST_SELDOM), last: None }
    }

    /// The next sample, when it is time; the counters are of the whole process and only grow.
    pub(super) fn take(
        &mut self,
        now: Moment,
        at_ms: u64,
        weight: Weight,
        sides: (&Totals, &Totals),
    ) -> Option<Sample> {
        let (baseline, canary) = sides;
        let Some((then, old_baseline, old_canary)) = &self.last else {
            self.last = Some((now, baseline.clone(), canary.clone()));
            return None;
        };
        let span = now.since(*then);
        if span < self.every {
            return None;
        }
        let sample = Sample {
            at_ms,
            weight,
            baseline: side(&baseline.difference(old_baseline), span),
            canary: side(&canary.difference(old_canary), span),
        };
        self.last = Some((now, baseline.clone(), canary.clone()));
        Some(sample)
    }
}

fn side(totals: &Totals, span: Duration) -> SideSample {
    let micros = |share| {
        let latency = totals.total.histogram.quantile(share)?;
        u64::try_from(latency.as_micros()).ok()
    };
    SideSample {
        rps: totals.judged() as f64 / span.as_secs_f64().max(f64::EPSILON),
        error_rate: totals.error_rate(),
        p50_us: micros(0.5),
        p95_us: micros(0.95),
        p99_us: micros(0.99),
    }
}
