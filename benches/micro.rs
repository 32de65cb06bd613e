//! What single steps on a request's way cost: matching, split, token, pick, and the counting of an outcome.
//!
//! `cargo bench --bench micro`

#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate::{
    config::model::{HostPattern, PathPattern},
    decision::{
        affinity::TokenKey,
        pick::{Candidates, less_busy_of_two, round_robin},
        sequence::Sequence,
        split::{SplitKey, SplitTable},
        stats::bucket_index,
    },
    domain::{BackendName, Class, Outcome, RouteName, Split, Weight},
    routing::{Guard, GuardLimits, Matcher},
    telemetry::Recorder,
};

const SALT: u64 = 7;

fn name(text: &str) -> BackendName {
    BackendName::new(text).unwrap_or_else(|fault| unreachable!("{fault}"))
}

fn table() -> SplitTable {
    let weight = |points| Weight::from_basis_points(points).unwrap_or_default();
    let shares = vec![(name("blue"), weight(9_000)), (name("green"), weight(1_000))];
    SplitTable::new(&Split::new(shares).unwrap_or_else(|fault| unreachable!("{fault}")))
}

fn split(c: &mut Criterion) {
    let table = table();
    let mut group = c.benchmark_group("split");
    let cookie = b"0123456789abcdef0123456789abcdef";
    group.bench_function("cookie to backend", |b| {
        b.iter(|| table.choose(SplitKey::of(black_box(cookie)).bucket(SALT)));
    });
    let mut sequence = Sequence::default();
    group.bench_function("sequence", |b| b.iter(|| sequence.next(black_box(&table))));
    let key = TokenKey::new(b"secret");
    let token = key.issue(1);
    group.bench_function("token issue", |b| b.iter(|| key.issue(black_box(1))));
    group.bench_function("token verify", |b| b.iter(|| key.verify(black_box(token.as_bytes()))));
    group.finish();
}

struct Fleet(Vec<(bool, u32)>);

impl Candidates for Fleet {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn usable(&self, index: usize) -> bool {
        self.0[index].0
    }
    fn load(&self, index: usize) -> u64 {
        self.0[index].1.into()
    }
    fn key(&self, index: usize) -> u64 {
        index as u64
    }
}

fn pick(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for size in [1, 2, 10, 1_000] {
        let fleet = Fleet((0..size).map(|at| (true, at % 7)).collect());
        let mut number = 0u64;
        group.bench_function(BenchmarkId::new("least in flight", size), |b| {
            b.iter(|| {
                number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
                less_busy_of_two(&fleet, number, None)
            });
        });
        group.bench_function(BenchmarkId::new("round robin", size), |b| {
            b.iter(|| {
                number = number.wrapping_add(1);
                round_robin(&fleet, number, None)
            });
        });
    }
    group.finish();
}

fn recorder(c: &mut Criterion) {
    let recorder = Recorder::new(1);
    let route = RouteName::new("api").unwrap_or_else(|fault| unreachable!("{fault}"));
    let series =
        recorder.series(&route, &name("blue")).unwrap_or_else(|fault| unreachable!("{fault}"));
    let shard = recorder.shard(0);
    let mut group = c.benchmark_group("recorder");
    let mut micros = 0;
    group.bench_function("bucket", |b| {
        b.iter(|| {
            micros = (micros + 997) % 2_000_000;
            bucket_index(Duration::from_micros(micros))
        });
    });
    group.bench_function("record", |b| {
        b.iter(|| {
            micros = (micros + 37) % 2_000;
            let total = Duration::from_micros(micros);
            let first_byte = Some(total / 2);
            let outcome = Outcome {
                class: Class::Success,
                blame: None,
                status: Some(200),
                first_byte,
                total,
            };
            shard.record(series, black_box(&outcome));
        });
    });
    group.bench_function("snapshot of one series", |b| b.iter(|| recorder.snapshot()));
    group.finish();
}

fn guard(c: &mut Criterion) {
    let mut group = c.benchmark_group("guard");
    for (name, max_exposed_keys) in [("without a limit", None), ("with a limit", Some(100_000))] {
        let limits = GuardLimits { max_exposed_keys, ..GuardLimits::default() };
        let guard = Guard::new(1, limits);
        let mut key = 0u64;
        group.bench_function(BenchmarkId::new("admit", name), |b| {
            b.iter(|| {
                key = (key + 1) % 200_000;
                guard.admits(black_box(Some(SplitKey::of(&key.to_le_bytes()))))
            });
        });
        group.bench_function(BenchmarkId::new("a success", name), |b| {
            b.iter(|| guard.record(black_box(Class::Success)));
        });
    }
    group.finish();
}

fn matcher(c: &mut Criterion) {
    let mut group = c.benchmark_group("matcher");
    for routes in [1, 100, 10_000] {
        let path = |at| PathPattern::Prefix(format!("/service-{at}/v1").into());
        let rules: Vec<_> = (0..routes).map(|at| ([HostPattern::Any], path(at))).collect();
        let matcher = Matcher::new(rules.iter().map(|(hosts, path)| (hosts.as_slice(), path)));
        let last = format!("/service-{}/v1/items/7", routes - 1);
        group.bench_function(BenchmarkId::new("the last of", routes), |b| {
            b.iter(|| matcher.find(black_box("www.example.com"), black_box(&last)));
        });
    }
    group.finish();
}

criterion_group!(micro, matcher, split, pick, recorder, guard);
criterion_main!(micro);
