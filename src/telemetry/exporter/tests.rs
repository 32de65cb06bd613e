//! The text that a scrape gets, word for word, and the rules that any scrape must keep.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::{
    super::{
        CertificateGauge, EndpointGauge, ListenerGauge, NotificationCount, RateLimitCount,
        SplitWeight, recorder::tests::names,
    },
    *,
};
use crate::domain::{Outcome, RolloutName, SinkName, Weight};

const GOLDEN: &str = include_str!("golden.txt");

fn outcome(class: Class, status: u16, micros: u64) -> Outcome {
    let total = Duration::from_micros(micros);
    Outcome { class, blame: None, status: Some(status), first_byte: Some(total / 2), total }
}

fn gauges() -> Gauges {
    let (route, green) = names("api", "green");
    Gauges {
        weights: vec![SplitWeight {
            route,
            backend: green.clone(),
            weight: Weight::from_percent(12.5).unwrap(),
        }],
        endpoints: vec![EndpointGauge {
            backend: green,
            address: "green.internal:9002".parse().unwrap(),
            healthy: true,
            ejections: 5,
            ejections_withheld: 4,
            in_flight: 3,
        }],
        connections: vec![ListenerGauge { bind: "127.0.0.1:8080".parse().unwrap(), open: 17 }],
        rollouts: vec![RolloutGauge {
            rollout: RolloutName::new("api").unwrap(),
            phases: vec![("idle", false), ("baking", true)],
            step: 2,
            weight: Weight::from_percent(12.5).unwrap(),
            verdict: -1,
            rollbacks: vec![("breaker", 3)],
        }],
        reload_successful: true,
        reload_success_at_ms: 1_700_000_000_500,
        rate_limits: vec![RateLimitCount { route: names("api", "green").0, count: 5 }],
        notifications: vec![NotificationCount {
            sink: SinkName::new("chat").unwrap(),
            result: "sent",
            count: 2,
        }],
        certificates: vec![CertificateGauge {
            owner: "listener 127.0.0.1:8443".to_owned(),
            file: "fullchain.pem".to_owned(),
            not_after_s: 1_800_000_000,
        }],
    }
}

/// A recorder with traffic on one series, none on a second, and a third that is no longer live.
fn recorder() -> Arc<Recorder> {
    let recorder = Recorder::new(2);
    let [blue, green, old] = ["blue", "green", "old"].map(|backend| {
        let (route, backend) = names("api", backend);
        recorder.series(&route, &backend).unwrap()
    });
    let shard = recorder.shard(0);
    shard.record(blue, &outcome(Class::Success, 200, 1_024));
    shard.record(blue, &outcome(Class::Success, 200, 1_025));
    shard.record(blue, &outcome(Class::Failure, 503, 90_000_000));
    recorder.shard(1).record(blue, &outcome(Class::Excluded, 200, 5));
    shard.record(old, &outcome(Class::Success, 200, 1));
    let (route, backend) = names("api", "green");
    let mirror = recorder.mirror(&route, &backend).unwrap();
    shard.mirrored(mirror, MirrorOutcome::Answered);
    shard.compared(mirror, MirrorResult::Different);
    recorder.retain(&HashSet::from([blue, green, mirror]));
    let (route, [blue_name, green_name, old_name]) =
        (names("api", "blue").0, ["blue", "green", "old"].map(|backend| names("api", backend).1));
    shard.fallback(recorder.fallback(&route, &green_name, &blue_name).unwrap());
    shard.fallback(recorder.fallback(&route, &old_name, &blue_name).unwrap());
    shard.cache_answer(blue, true);
    shard.cache_answer(blue, false);
    shard.abandoned(blue);
    shard.error(ErrorReason::NoRoute);
    shard.handshake(Handshake::Resumed);
    shard.https_redirect();
    recorder.overflow(Queue::Events);
    Arc::new(recorder)
}

fn rendered() -> String {
    Exporter::new(recorder(), gauges).unwrap().render().unwrap()
}

/// Our own lines; those of `process_*` differ from run to run.
fn own_lines(text: &str) -> String {
    let own = text.lines().filter(|line| line.contains("tidegate_"));
    own.fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn the_text_is_the_golden_one() {
    let golden = GOLDEN.replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(own_lines(&rendered()), golden);
}

#[test]
fn the_process_is_described_too() {
    let text = rendered();
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(text.contains(&format!("\n{name} ")), "{name} is missing");
    }
}

#[test]
fn an_empty_process_renders_as_well() {
    let text = Exporter::new(Arc::new(Recorder::new(1)), Gauges::default).unwrap().render();
    assert!(text.unwrap().contains("tidegate_config_last_reload_successful 0\n"));
}

#[test]
fn every_sample_follows_its_help_and_type_and_none_comes_twice() {
    let mut family = String::new();
    let (mut families, mut samples) = (HashSet::new(), HashSet::new());
    for line in rendered().lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap().to_owned();
            assert!(families.insert(family.clone()), "{family} comes twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert!(kind.starts_with(&format!("{family} ")), "{line} after the help of {family}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(sample.starts_with(&family), "{line} under {family}");
            assert!(samples.insert(sample.to_owned()), "{sample} comes twice");
            let lowest = if family == "tidegate_verdict" { -1.0 } else { 0.0 };
            assert!(value.parse::<f64>().unwrap() >= lowest, "{line}");
        }
    }
}

#[test]
fn buckets_grow_to_the_count() {
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for line in own_lines(&rendered()).lines().filter(|line| !line.starts_with('#')) {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        if let Some((series, bound)) = sample.split_once(",le=\"") {
            let bound = bound.trim_end_matches("\"}").parse().unwrap();
            let series = series.replace("_bucket", "");
            buckets.entry(series).or_default().push((bound, value));
        } else if sample.contains("_count{") {
            counts.insert(sample.replace("_count", "").trim_end_matches('}').to_owned(), value);
        }
    }
    assert_eq!(buckets.len(), 2, "one series with traffic, two histograms");
    for (series, buckets) in buckets {
        assert!(buckets.len() <= 21, "{series} has {} buckets", buckets.len());
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{series}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, counts[&series])), "{series}");
    }
}
