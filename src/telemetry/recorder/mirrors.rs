//! What is counted of mirrors: apart from all attempts, in series that no other metric shows.

use super::{Hidden, Names, Recorder, SeriesExhausted, hidden_id};
use crate::{
    decision::stats::Totals,
    domain::{BackendName, RouteName, SeriesId},
    telemetry::snapshot::MirrorSnapshot,
};

impl Recorder {
    /// The series that counts the copies of a route's requests to a backend; live once [`Recorder::retain`] names it.
    ///
    /// # Errors
    /// As [`Recorder::series`].
    pub fn mirror(
        &self,
        route: &RouteName,
        backend: &BackendName,
    ) -> Result<SeriesId, SeriesExhausted> {
        self.hidden(Hidden::Mirror { route: route.clone(), backend: backend.clone() })
    }

    pub(super) fn mirrors(&self, names: &Names) -> Vec<MirrorSnapshot> {
        let mirror = |(at, hidden): (usize, &Hidden)| match hidden {
            Hidden::Judged { .. } | Hidden::Fallback { .. } => None,
            Hidden::Mirror { route, backend } => {
                let Totals { mirrored, comparisons, .. } = self.totals(hidden_id(at));
                Some(MirrorSnapshot {
                    id: hidden_id(at),
                    route: route.clone(),
                    backend: backend.clone(),
                    live: names.live_mirrors.contains(&hidden_id(at)),
                    mirrored,
                    comparisons,
                })
            }
        };
        names.hidden.iter().enumerate().filter_map(mirror).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        domain::{MirrorOutcome, MirrorResult},
        telemetry::recorder::tests::names,
    };

    #[test]
    fn a_mirror_counts_apart_from_the_attempts_of_its_backend() {
        let recorder = Recorder::new(2);
        let (route, green) = names("api", "green");
        let shown = recorder.series(&route, &green).unwrap();
        let mirror = recorder.mirror(&route, &green).unwrap();
        recorder.shard(0).mirrored(mirror, MirrorOutcome::Answered);
        recorder.shard(1).compared(mirror, MirrorResult::Different);
        assert!(!recorder.snapshot().mirrors[0].live);
        recorder.retain(&HashSet::from([shown, mirror]));
        let snapshot = recorder.snapshot();
        let told = &snapshot.mirrors[0];
        assert_eq!((told.mirrored[0], told.comparisons[1], told.live), (1, 1, true));
        assert_eq!(snapshot.backend_totals(&green), Totals::default());
        assert_eq!(snapshot.difference(&snapshot).mirrors[0].mirrored[0], 0);
    }
}
