//! All counters at one moment, or over the span between two.

use crate::{
    decision::stats::Totals,
    domain::{
        BackendName, ErrorReason, Handshake, MirrorOutcome, MirrorResult, Queue, RouteName,
        SeriesId,
    },
};

/// The counters of the process, summed over its workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Every pair of route and backend ever named, in the order of its id.
    pub series: Vec<SeriesSnapshot>,
    /// Every pair of backends ever named between which a route's requests fall back.
    pub fallbacks: Vec<FallbackSnapshot>,
    /// Every pair of route and mirror ever named.
    pub mirrors: Vec<MirrorSnapshot>,
    /// Answers that Tidegate gave itself, by [`ErrorReason::index`].
    pub errors: [u64; ErrorReason::ALL.len()],
    /// Things that a full queue did not take, by [`Queue::index`].
    pub overflows: [u64; Queue::ALL.len()],
    /// TLS handshakes with clients, by [`Handshake::index`].
    pub handshakes: [u64; Handshake::ALL.len()],
    /// Clients that were sent to https.
    pub https_redirects: u64,
    /// What became of spans.
    pub spans: SpanCounts,
}

/// What became of spans that were handed over to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanCounts {
    /// The collector has taken them.
    pub exported: u64,
    /// It has not, and they were given up.
    pub failed: u64,
}

/// The counters of one pair of route and backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesSnapshot {
    /// Its series.
    pub id: SeriesId,
    /// The route.
    pub route: RouteName,
    /// The backend.
    pub backend: BackendName,
    /// Whether the present configuration names it.
    pub live: bool,
    /// What was counted.
    pub totals: Totals,
}

/// Requests that went on from one backend to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FallbackSnapshot {
    /// Its series.
    pub id: SeriesId,
    /// The route.
    pub route: RouteName,
    /// The backend that failed.
    pub from: BackendName,
    /// The backend that answered instead.
    pub to: BackendName,
    /// Whether the present configuration names both for the route.
    pub live: bool,
    /// How many.
    pub count: u64,
}

/// Copies of a route's requests to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorSnapshot {
    /// Its series.
    pub id: SeriesId,
    /// The route.
    pub route: RouteName,
    /// The backend that gets the copies.
    pub backend: BackendName,
    /// Whether the present configuration has this mirror.
    pub live: bool,
    /// What became of them, by [`MirrorOutcome::index`].
    pub mirrored: [u64; MirrorOutcome::ALL.len()],
    /// What came of comparing their answers, by [`MirrorResult::index`].
    pub comparisons: [u64; MirrorResult::ALL.len()],
}

impl Snapshot {
    /// What was counted since `earlier`, an older snapshot of the same recorder.
    pub fn difference(&self, earlier: &Self) -> Self {
        let series = self.series.iter().map(|now| match earlier.series(now.id) {
            Some(then) => {
                SeriesSnapshot { totals: now.totals.difference(&then.totals), ..now.clone_head() }
            }
            None => now.clone(),
        });
        let before = |id| earlier.fallbacks.iter().find(|pair| pair.id == id);
        let fallbacks = self.fallbacks.iter().map(|now| {
            let then = before(now.id).map_or(0, |pair| pair.count);
            FallbackSnapshot { count: now.count.saturating_sub(then), ..now.clone() }
        });
        let mirrors = self.mirrors.iter().map(|now| {
            let then = earlier.mirrors.iter().find(|mirror| mirror.id == now.id);
            then.map_or_else(|| now.clone(), |then| now.since(then))
        });
        Self {
            series: series.collect(),
            fallbacks: fallbacks.collect(),
            mirrors: mirrors.collect(),
            errors: subtract(&self.errors, &earlier.errors),
            overflows: subtract(&self.overflows, &earlier.overflows),
            handshakes: subtract(&self.handshakes, &earlier.handshakes),
            https_redirects: self.https_redirects.saturating_sub(earlier.https_redirects),
            spans: SpanCounts {
                exported: self.spans.exported.saturating_sub(earlier.spans.exported),
                failed: self.spans.failed.saturating_sub(earlier.spans.failed),
            },
        }
    }

    /// The counters of a series; `None` when the snapshot is older than the series.
    pub fn series(&self, id: SeriesId) -> Option<&SeriesSnapshot> {
        self.series.get(id.0 as usize)
    }

    /// The series that the present configuration names.
    pub fn live(&self) -> impl Iterator<Item = &SeriesSnapshot> {
        self.series.iter().filter(|series| series.live)
    }

    /// The fallbacks between backends that the present configuration names.
    pub fn live_fallbacks(&self) -> impl Iterator<Item = &FallbackSnapshot> {
        self.fallbacks.iter().filter(|pair| pair.live)
    }

    /// The mirrors that the present configuration has.
    pub fn live_mirrors(&self) -> impl Iterator<Item = &MirrorSnapshot> {
        self.mirrors.iter().filter(|mirror| mirror.live)
    }

    /// What the series of `backend` counted over all routes.
    pub fn backend_totals(&self, backend: &BackendName) -> Totals {
        let mut totals = Totals::default();
        let own = self.series.iter().filter(|series| series.backend == *backend);
        own.for_each(|series| totals.merge(&series.totals));
        totals
    }

    /// Answers that Tidegate gave itself for `reason`.
    pub const fn errors_of(&self, reason: ErrorReason) -> u64 {
        self.errors[reason.index()]
    }

    /// Things that `queue` did not take.
    pub const fn overflows_of(&self, queue: Queue) -> u64 {
        self.overflows[queue.index()]
    }
}

impl SeriesSnapshot {
    /// A copy with nothing counted.
    fn clone_head(&self) -> Self {
        let Self { id, route, backend, live, totals: _ } = self;
        let (route, backend) = (route.clone(), backend.clone());
        Self { id: *id, route, backend, live: *live, totals: Totals::default() }
    }
}

impl MirrorSnapshot {
    fn since(&self, then: &Self) -> Self {
        Self {
            mirrored: subtract(&self.mirrored, &then.mirrored),
            comparisons: subtract(&self.comparisons, &then.comparisons),
            ..self.clone()
        }
    }
}

fn subtract<const N: usize>(now: &[u64; N], then: &[u64; N]) -> [u64; N] {
    std::array::from_fn(|at| now[at].saturating_sub(then[at]))
}

#[cfg(test)]
mod tests {
    use super::{
        super::recorder::{
            Recorder,
            tests::{names, ok},
        },
        *,
    };

    #[test]
    fn a_difference_holds_what_came_between_and_new_series_whole() {
        let recorder = Recorder::new(1);
        let shard = recorder.shard(0);
        let (route, blue) = names("api", "blue");
        let first = recorder.series(&route, &blue).unwrap();
        shard.record(first, &ok(1));
        shard.error(ErrorReason::NoRoute);
        let earlier = recorder.snapshot();

        let (_, green) = names("api", "green");
        let second = recorder.series(&route, &green).unwrap();
        shard.record(first, &ok(1));
        shard.record(second, &ok(1));
        shard.overflow(Queue::Events);
        let between = recorder.snapshot().difference(&earlier);
        let counts = between.series.iter().map(|series| series.totals.success);
        assert_eq!(counts.collect::<Vec<_>>(), [1, 1]);
        assert_eq!(between.errors_of(ErrorReason::NoRoute), 0);
        assert_eq!(between.overflows_of(Queue::Events), 1);
        assert_eq!(between.backend_totals(&green).total.histogram.count(), 1);
    }
}
