//! Where outcomes are counted: a shard for each worker, and the names of the series.
//!
//! A (route, backend) pair keeps its series for the life of the process, whatever reloads do, so that no counter ever
//! goes back; a pair that the configuration no longer names merely stops being live.
//!
//! Beside them are series that no metric shows as such: what the judge of a rollout goes by, and fallbacks from one backend
//! to another. They are numbered from the other end, so that both kinds share one space.
//!
//! The names stand behind a lock that only configuration changes and snapshots take: nothing on a request's way does.

mod mirrors;
mod spans;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    shard::{MAX_SERIES, Shard},
    snapshot::{FallbackSnapshot, SeriesSnapshot, Snapshot},
};
use crate::{
    decision::stats::Totals,
    domain::{BackendName, ErrorReason, Handshake, Queue, RouteName, SeriesId},
};

/// All counters of the process.
#[derive(Debug)]
pub struct Recorder {
    shards: Box<[Arc<Shard>]>,
    names: Mutex<Names>,
    /// Overflows seen outside the workers, by any thread.
    overflows: [AtomicU64; Queue::ALL.len()],
    spans: spans::Spans,
}

/// There is no room for another series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no counters left for route {route} and backend {backend}: a process counts at most {MAX_SERIES} pairs of route and \
     backend, those of earlier configurations included; restart it, or use fewer routes"
)]
pub struct SeriesExhausted {
    /// Route of the refused series.
    pub route: RouteName,
    /// Backend of the refused series.
    pub backend: BackendName,
}

#[derive(Debug, Default)]
struct Names {
    ids: HashMap<RouteName, HashMap<BackendName, SeriesId>>,
    series: Vec<Series>,
    hidden_ids: HashMap<Hidden, SeriesId>,
    hidden: Vec<Hidden>,
    /// Mirrors that the present configuration has.
    live_mirrors: HashSet<SeriesId>,
}

/// A series beside those of the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Hidden {
    /// Attempts that a rollout's judge counts.
    Judged { route: RouteName, backend: BackendName },
    /// Requests that went from one backend to another.
    Fallback { route: RouteName, from: BackendName, to: BackendName },
    /// Copies of a route's requests to a backend.
    Mirror { route: RouteName, backend: BackendName },
}

#[derive(Debug)]
struct Series {
    route: RouteName,
    backend: BackendName,
    live: bool,
}

impl Recorder {
    /// Counters for `workers` data-plane threads; at least one.
    pub fn new(workers: usize) -> Self {
        Self {
            shards: (0..workers.max(1)).map(|_| Arc::new(Shard::new())).collect(),
            names: Mutex::default(),
            overflows: [const { AtomicU64::new(0) }; _],
            spans: spans::Spans::default(),
        }
    }

    /// The series of a pair, the same at every call; a new one is live.
    ///
    /// # Errors
    /// [`SeriesExhausted`] once 65 536 pairs have been named in the life of the process.
    pub fn series(
        &self,
        route: &RouteName,
        backend: &BackendName,
    ) -> Result<SeriesId, SeriesExhausted> {
        let mut names = self.names();
        if let Some(id) = names.ids.get(route).and_then(|backends| backends.get(backend)) {
            return Ok(*id);
        }
        if names.is_full() {
            return Err(SeriesExhausted { route: route.clone(), backend: backend.clone() });
        }
        // Below `MAX_SERIES`, so the cast is exact.
        let id = SeriesId(names.series.len() as u32);
        names.series.push(Series { route: route.clone(), backend: backend.clone(), live: true });
        names.ids.entry(route.clone()).or_default().insert(backend.clone(), id);
        Ok(id)
    }

    /// The series of what the judge of a rollout counts of a pair, the same at every call: read it with
    /// [`Recorder::totals`]. It is never reset: whoever begins a window takes the difference to its begin.
    ///
    /// # Errors
    /// As [`Recorder::series`].
    pub fn judged(
        &self,
        route: &RouteName,
        backend: &BackendName,
    ) -> Result<SeriesId, SeriesExhausted> {
        self.hidden(Hidden::Judged { route: route.clone(), backend: backend.clone() })
    }

    /// The series that counts the requests of `route` which went on from one backend to another.
    ///
    /// # Errors
    /// As [`Recorder::series`].
    pub fn fallback(
        &self,
        route: &RouteName,
        from: &BackendName,
        to: &BackendName,
    ) -> Result<SeriesId, SeriesExhausted> {
        let (route, from, to) = (route.clone(), from.clone(), to.clone());
        self.hidden(Hidden::Fallback { route, from, to })
    }

    fn hidden(&self, hidden: Hidden) -> Result<SeriesId, SeriesExhausted> {
        let mut names = self.names();
        if let Some(id) = names.hidden_ids.get(&hidden) {
            return Ok(*id);
        }
        if names.is_full() {
            let (Hidden::Judged { route, backend }
            | Hidden::Mirror { route, backend }
            | Hidden::Fallback { route, from: backend, .. }) = hidden;
            return Err(SeriesExhausted { route, backend });
        }
        let id = hidden_id(names.hidden.len());
        names.hidden_ids.insert(hidden.clone(), id);
        names.hidden.push(hidden);
        Ok(id)
    }

    /// The sum of all shards for one series, now.
    pub fn totals(&self, id: SeriesId) -> Totals {
        let mut totals = Totals::default();
        self.shards.iter().for_each(|shard| shard.add_to(id, &mut totals));
        totals
    }

    /// Makes exactly the series in `live` visible to `/metrics`; the others keep their counts out of sight.
    pub fn retain(&self, live: &HashSet<SeriesId>) {
        let mut names = self.names();
        for (id, series) in (0u32..).map(SeriesId).zip(&mut names.series) {
            series.live = live.contains(&id);
        }
        names.live_mirrors.clone_from(live);
    }

    /// The shard of a worker; numbers beyond the last worker wrap around.
    pub fn shard(&self, worker: usize) -> Arc<Shard> {
        self.shards[worker % self.shards.len()].clone()
    }

    /// Number of shards.
    pub fn workers(&self) -> usize {
        self.shards.len()
    }

    /// Counts one thing that a full queue did not take; callable from any thread. Workers use their [`Shard`].
    pub fn overflow(&self, queue: Queue) {
        self.overflow_by(queue, 1);
    }

    /// The same for several at once.
    pub fn overflow_by(&self, queue: Queue, count: u64) {
        self.overflows[queue.index()].fetch_add(count, Relaxed);
    }

    /// The sum of all shards at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let names = self.names();
        let series = (0u32..).map(SeriesId).zip(&names.series).map(|(id, series)| SeriesSnapshot {
            id,
            route: series.route.clone(),
            backend: series.backend.clone(),
            live: series.live,
            totals: self.totals(id),
        });
        let errors = |reason| self.shards.iter().map(|shard| shard.errors(reason)).sum();
        let overflows = |queue: Queue| {
            let elsewhere = self.overflows[queue.index()].load(Relaxed);
            self.shards.iter().map(|shard| shard.overflows(queue)).sum::<u64>() + elsewhere
        };
        Snapshot {
            series: series.collect(),
            fallbacks: self.fallbacks(&names),
            mirrors: self.mirrors(&names),
            errors: ErrorReason::ALL.map(errors),
            overflows: Queue::ALL.map(overflows),
            handshakes: Handshake::ALL
                .map(|end| self.shards.iter().map(|shard| shard.handshakes(end)).sum()),
            https_redirects: self.shards.iter().map(|shard| shard.https_redirects()).sum(),
            spans: self.spans.read(),
        }
    }

    fn fallbacks(&self, names: &Names) -> Vec<FallbackSnapshot> {
        let fallback = |(at, hidden): (usize, &Hidden)| match hidden {
            Hidden::Judged { .. } | Hidden::Mirror { .. } => None,
            Hidden::Fallback { route, from, to } => Some(FallbackSnapshot {
                id: hidden_id(at),
                route: route.clone(),
                from: from.clone(),
                to: to.clone(),
                live: names.is_live(route, from) && names.is_live(route, to),
                count: self.totals(hidden_id(at)).fallbacks,
            }),
        };
        names.hidden.iter().enumerate().filter_map(fallback).collect()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // Every change is a single step that cannot leave the names half-written.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    fn is_full(&self) -> bool {
        self.series.len() + self.hidden.len() >= MAX_SERIES
    }

    fn is_live(&self, route: &RouteName, backend: &BackendName) -> bool {
        let id = self.ids.get(route).and_then(|backends| backends.get(backend));
        id.is_some_and(|id| self.series[id.0 as usize].live)
    }
}

/// The id of a hidden series by its place: downwards from the last one there may be, so the cast is exact.
const fn hidden_id(place: usize) -> SeriesId {
    SeriesId((MAX_SERIES - 1 - place) as u32)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{thread, time::Duration};

    use super::*;
    use crate::domain::{Class, Outcome};

    pub(in crate::telemetry) fn names(route: &str, backend: &str) -> (RouteName, BackendName) {
        (RouteName::new(route).unwrap(), BackendName::new(backend).unwrap())
    }

    pub(in crate::telemetry) fn ok(millis: u64) -> Outcome {
        Outcome {
            class: Class::Success,
            blame: None,
            status: Some(200),
            first_byte: Some(Duration::from_millis(millis)),
            total: Duration::from_millis(millis),
        }
    }

    #[test]
    fn a_pair_keeps_its_series_and_counts_over_its_absence() {
        let recorder = Recorder::new(2);
        let (route, blue) = names("api", "blue");
        let id = recorder.series(&route, &blue).unwrap();
        recorder.shard(1).record(id, &ok(1));
        recorder.retain(&HashSet::new());
        assert!(!recorder.snapshot().series[0].live);
        assert_eq!(recorder.series(&route, &blue).unwrap(), id);
        recorder.retain(&HashSet::from([id]));
        recorder.shard(0).record(id, &ok(1));
        let series = &recorder.snapshot().series[0];
        assert_eq!((series.live, series.totals.success), (true, 2));
    }

    #[test]
    fn the_last_series_fits_and_the_next_is_refused_by_name() {
        let recorder = Recorder::new(1);
        let blue = BackendName::new("blue").unwrap();
        for n in 0..MAX_SERIES {
            let route = RouteName::new(&format!("r{n}")).unwrap();
            assert_eq!(recorder.series(&route, &blue).unwrap(), SeriesId(n as u32));
        }
        let (one, more) = names("one", "more");
        let refused = recorder.series(&one, &more).unwrap_err();
        assert!(refused.to_string().contains("route one and backend more"));
    }

    #[test]
    fn what_the_judge_counts_is_no_metric() {
        let recorder = Recorder::new(2);
        let (route, blue) = names("api", "blue");
        let shown = recorder.series(&route, &blue).unwrap();
        let judged = recorder.judged(&route, &blue).unwrap();
        assert_eq!(recorder.judged(&route, &blue).unwrap(), judged);
        assert_ne!(judged, shown);
        recorder.shard(0).record(judged, &ok(1));
        recorder.shard(1).record(judged, &ok(1));
        assert_eq!(recorder.totals(judged).success, 2);
        assert_eq!(recorder.snapshot().backend_totals(&blue), Totals::default());
    }

    #[test]
    fn a_fallback_is_told_by_both_its_ends() {
        let recorder = Recorder::new(1);
        let ((route, blue), (_, green)) = (names("api", "blue"), names("api", "green"));
        let there = recorder.fallback(&route, &green, &blue).unwrap();
        let back = recorder.fallback(&route, &blue, &green).unwrap();
        recorder.shard(0).fallback(there);
        let snapshot = recorder.snapshot();
        assert!(snapshot.fallbacks.iter().all(|pair| !pair.live), "neither end is a live series");
        let earlier = snapshot;
        recorder.series(&route, &green).unwrap();
        recorder.series(&route, &blue).unwrap();
        recorder.shard(0).fallback(there);
        let now = recorder.snapshot();
        let counts = |snapshot: &Snapshot| {
            let counts = snapshot.fallbacks.iter().map(|pair| (pair.id, pair.count));
            counts.collect::<Vec<_>>()
        };
        assert_eq!(counts(&now), [(there, 2), (back, 0)]);
        assert_eq!(counts(&now.difference(&earlier)), [(there, 1), (back, 0)]);
        assert!(now.fallbacks.iter().all(|pair| pair.live));
    }

    #[test]
    fn a_snapshot_during_the_writing_never_goes_back_and_ends_exact() {
        let recorder = Recorder::new(2);
        let (route, blue) = names("api", "blue");
        let id = recorder.series(&route, &blue).unwrap();
        let each = 20_000u64;
        thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|worker| {
                    let shard = recorder.shard(worker);
                    scope.spawn(move || (0..each).for_each(|n| shard.record(id, &ok(n % 50))))
                })
                .collect();
            let mut last = 0;
            while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                let now = recorder.snapshot().series[0].totals.success;
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
        let totals = &recorder.snapshot().series[0].totals;
        assert_eq!(totals.success, 2 * each);
        assert_eq!(totals.total.histogram.count(), 2 * each);
    }

    #[test]
    fn overflows_of_workers_and_others_add_up() {
        let recorder = Recorder::new(2);
        recorder.shard(0).overflow(Queue::InFlight);
        recorder.shard(1).overflow(Queue::InFlight);
        recorder.overflow(Queue::InFlight);
        recorder.shard(1).error(ErrorReason::NoRoute);
        let snapshot = recorder.snapshot();
        assert_eq!(snapshot.overflows_of(Queue::InFlight), 3);
        assert_eq!(snapshot.overflows_of(Queue::Events), 0);
        assert_eq!(snapshot.errors_of(ErrorReason::NoRoute), 1);
    }
}
