//! Is it fast enough, and is there room?

use std::time::Duration;

use super::{Builtin, Evidence, Finding, holds};
use crate::domain::{
    condition::{Gauge, Metric, Side},
    plan::Step,
};

/// Latencies this close are the same: a few requests say no more.
const NOISE: Duration = Duration::from_millis(20);

/// Memory below which the kernel ends processes.
const LEAST_MEMORY: u64 = 64 << 20;

/// Memory below which it is worth a look.
const ENOUGH_MEMORY: u64 = 256 << 20;

/// A baseline that fails more than this share of its requests is none to compare with.
const SICK_BASELINE: f64 = 0.1;

/// A baseline that fails more than this share makes the comparison slow.
const NOISY_BASELINE: f64 = 0.01;

pub(super) const CHECKS: &[Builtin] = &[
    holds("canary is about as fast as the baseline", latency),
    holds("canary has as many endpoints", |e| {
        let (blue, green) = (e.baseline.in_use().count(), e.canary.in_use().count());
        if green < blue {
            let detail = format!("{green} where the baseline has {blue}");
            Finding::warn(detail, "it must carry all traffic in the end: add endpoints")
        } else {
            Finding::pass(format!("{green}, the baseline has {blue}"))
        }
    }),
    holds("canary may have as many requests in flight", |e| {
        let (now, most) = (e.baseline.in_flight, e.canary.max_in_flight);
        let detail = format!("{most} at most, the baseline has {now} now");
        let mend = format!("raise backend.{}.max_in_flight", e.canary.name);
        if most <= now {
            Finding::fail(detail, mend)
        } else if most < e.baseline.max_in_flight {
            Finding::warn(
                format!("{most} where the baseline may {}", e.baseline.max_in_flight),
                mend,
            )
        } else {
            Finding::pass(detail)
        }
    }),
    holds("open files are enough for the listeners", |e| {
        let clients: u64 =
            e.config.listeners.iter().map(|listener| u64::from(listener.max_connections)).sum();
        match e.machine.descriptors {
            None => Finding::pass("there is no limit"),
            Some(limit) if limit < clients => Finding::warn(
                format!("{limit} files for {clients} clients and their upstream connections"),
                "raise LimitNOFILE, or lower max_connections",
            ),
            Some(limit) => Finding::pass(format!("{limit} files for {clients} clients")),
        }
    }),
    holds("memory is available", |e| match e.machine.available_memory {
        Some(free) if free < LEAST_MEMORY => {
            Finding::fail(format!("{} MiB", free >> 20), "free memory before anything else")
        }
        Some(free) if free < ENOUGH_MEMORY => {
            Finding::warn(format!("{} MiB", free >> 20), "keep an eye on the memory")
        }
        Some(free) => Finding::pass(format!("{} MiB", free >> 20)),
        None => Finding::Moot,
    }),
    holds("the processor has room", |e| match e.machine.load {
        Some(load) => {
            let (cores, detail) =
                (e.machine.cores, format!("load {load:.2} on {} cores", e.machine.cores));
            if load > 2.0 * cores as f64 {
                Finding::warn(
                    detail,
                    "latencies of both sides will show the machine, not the canary",
                )
            } else {
                Finding::pass(detail)
            }
        }
        None => Finding::Moot,
    }),
    holds("the baseline is well", |e| {
        let (all, failed) = (e.baseline.requests_per_s, e.baseline.failures_per_s);
        if all <= 0.0 {
            return Finding::Moot;
        }
        let share = failed / all;
        let detail = format!("{:.2} % of {all:.1} requests a second fail", share * 100.0);
        if share > SICK_BASELINE {
            Finding::fail(detail, "mend the baseline first: there is nothing to compare with")
        } else if share > NOISY_BASELINE {
            Finding::warn(detail, "the comparison will take longer")
        } else {
            Finding::pass(detail)
        }
    }),
    holds("there is enough traffic for rates and latencies", traffic),
    holds("volumes that the plan asks for are reachable", volumes),
];

fn latency(evidence: &Evidence) -> Finding {
    let (Some(blue), Some(green)) = (evidence.baseline.latency, evidence.canary.latency) else {
        return Finding::Moot;
    };
    let detail = format!("{} ms, the baseline {} ms", millis(green), millis(blue));
    if green > blue * 5 + 10 * NOISE {
        Finding::fail(detail, "find out why it is so much slower, with no load on it at all")
    } else if green > blue * 2 + NOISE {
        Finding::warn(detail, "warm it up, and look again")
    } else {
        Finding::pass(detail)
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1_000.0)
}

/// Requests a second that the route has now.
fn present_rps(evidence: &Evidence) -> f64 {
    evidence.baseline.requests_per_s + evidence.canary.requests_per_s
}

fn traffic(evidence: &Evidence) -> Finding {
    let plan = &evidence.plan;
    let rps = present_rps(evidence);
    if rps <= 0.0 {
        return Finding::warn(
            "there is no traffic now",
            "without it nothing can be judged, and the rollout stays where it is",
        );
    }
    let expected = |step: &Step| rps * step.weight.share() * plan.window.as_secs_f64();
    let judged = plan.steps.iter().filter(|step| {
        let mut gauges = step.require.iter().flat_map(|condition| condition.gauges());
        gauges.any(|gauge| gauge.metric.needs_requests() && gauge.side == Side::Canary)
    });
    let wanted = plan.min_requests as f64;
    match judged.filter(|step| step.weight.share() > 0.0).find(|step| expected(step) < wanted) {
        Some(step) => Finding::warn(
            format!(
                "step {} gets about {:.0} requests in a window, and needs {}",
                step.name,
                expected(step),
                plan.min_requests
            ),
            "lengthen the window, lower min_requests, or raise the step's weight",
        ),
        None => Finding::pass(format!("{rps:.1} requests a second")),
    }
}

/// Whether `requests` and `rps` can become what the steps ask for.
fn volumes(evidence: &Evidence) -> Finding {
    let rps = present_rps(evidence);
    let mut looked_at = 0;
    for step in &evidence.plan.steps {
        for condition in &step.require {
            let is_volume = |gauge: &Gauge| matches!(gauge.metric, Metric::Requests | Metric::Rps);
            if condition.gauges().next().is_none() || !condition.gauges().all(is_volume) {
                continue;
            }
            looked_at += 1;
            let mut read = |gauge: &Gauge| -> Result<f64, std::convert::Infallible> {
                Ok(volume(gauge, step, rps))
            };
            let Ok(left) = condition.left.evaluate(&mut read);
            let Ok(right) = condition.right.evaluate(&mut read);
            if !condition.comparison.holds(left, right) {
                return Finding::warn(
                    format!("step {}: {condition} at {rps:.1} requests a second", step.name),
                    "the step would hold: lower the threshold, or wait for more traffic",
                );
            }
        }
    }
    match looked_at {
        0 => Finding::Moot,
        count => Finding::pass(format!("{count} conditions at {rps:.1} requests a second")),
    }
}

/// What `gauge` would be at the end of `step`, with the present traffic.
fn volume(gauge: &Gauge, step: &Step, rps: f64) -> f64 {
    let share = step.weight.share();
    let share = if gauge.side == Side::Canary { share } else { 1.0 - share };
    let seconds = gauge.window.unwrap_or(step.hold).as_secs_f64();
    if gauge.metric == Metric::Rps { rps * share } else { rps * share * seconds }
}
