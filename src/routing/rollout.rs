//! What a rollout means for its route: which side is which, and where its attempts are judged.

use std::sync::Arc;

use super::Guard;
use crate::{
    decision::split::SplitKey,
    domain::{BackendName, SeriesId, Split},
};

/// How a rollout wants its route's traffic, from a change of weights to the next.
#[derive(Debug, Clone)]
pub struct RolloutTraffic {
    /// Shares; names the baseline, the canary, and nothing else that the route does not know.
    pub split: Split,
    /// Mixed into every split key, so that two rollouts do not try their canaries on the same people.
    pub salt: u64,
    /// Known to be good.
    pub baseline: Side,
    /// Under trial. It owns the lowest buckets, whatever its name.
    pub canary: Side,
    /// Counts the requests that go on from the canary to the baseline.
    pub fallbacks: SeriesId,
    /// What workers and control share; the same from the rollout's start to its end.
    pub guard: Arc<Guard>,
    /// From [`Guard::begin_epoch`] at each change of weights: the judge counts the attempts that began since.
    pub epoch: u32,
}

/// One side of a rollout and where its attempts are counted.
#[derive(Debug, Clone)]
pub struct Side {
    /// Its name.
    pub backend: BackendName,
    /// For the metrics: all attempts.
    pub series: SeriesId,
    /// For the judge: attempts of the present epoch that the split decided, and no override.
    pub judged: SeriesId,
}

/// The way of a request that the canary fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detour {
    /// The canary's place in the route's targets.
    pub from: usize,
    /// The baseline's.
    pub to: usize,
    /// Counts those that take it.
    pub series: SeriesId,
}

/// The rollout that owns a route, as requests see it.
#[derive(Debug, Clone)]
pub struct Rollout {
    /// What workers and control share.
    pub guard: Arc<Guard>,
    /// Attempts that begin by this table belong to this epoch.
    pub epoch: u32,
    /// Place in the route's targets.
    pub baseline: usize,
    /// Place in the route's targets.
    pub canary: usize,
}

impl Rollout {
    /// The target for a request whose bucket belongs to `target`: the baseline instead of a canary that may have no more.
    pub fn admit(&self, target: usize, key: Option<SplitKey>) -> usize {
        if target != self.canary || self.guard.admits(key) { target } else { self.baseline }
    }

    /// Whether an attempt of this table still counts for the judge.
    pub fn is_current(&self) -> bool {
        self.guard.epoch() == self.epoch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{
        config,
        decision::split::Bucket,
        domain::Weight,
        routing::{GuardLimits, Ingredients, Table, build},
    };

    fn name(text: &str) -> BackendName {
        BackendName::new(text).unwrap()
    }

    fn split(shares: &[(&str, f64)]) -> Split {
        let share =
            |(at, percent): &(&str, f64)| (name(at), Weight::from_percent(*percent).unwrap());
        Split::new(shares.iter().map(share).collect()).unwrap()
    }

    /// Backends a to c; the route's split names a and b, an override c.
    fn table() -> Table {
        let text = "[[listener]]\nbind = \"127.0.0.1:1\"\n\
                    [backend.a]\nendpoints = [\"127.0.0.1:2\"]\n\
                    [backend.b]\nendpoints = [\"127.0.0.1:3\"]\n\
                    [backend.c]\nendpoints = [\"127.0.0.1:4\"]\n\
                    [backend.d]\nendpoints = [\"127.0.0.1:5\"]\n\
                    [[route]]\nname = \"api\"\nsplit = { a = 100, b = 0 }\n\
                    affinity = { by = \"none\" }\n\
                    override = [{ header = \"x\", equals = \"c\", backend = \"c\" }]\n";
        let config = config::parse(text, "test.toml", &|_| None).unwrap();
        let mut next = 0;
        let mut series = |_: &_, _: &_| {
            next += 1;
            Ok(SeriesId(next))
        };
        let ingredients = Ingredients {
            splits: &HashMap::new(),
            secret: &mut |_| Ok(Vec::new()),
            series: &mut series,
            fallbacks: &mut |_, _, _| Ok(SeriesId(200)),
            pages: &HashMap::new(),
            mirrors: &mut |_, _| Ok(SeriesId(400)),
            previous: None,
            tls: &crate::tls::Material::default(),
            workers: 1,
            now: crate::domain::Moment::default(),
        };
        build(&config, ingredients).unwrap()
    }

    fn traffic(baseline: &str, canary: &str, shares: &[(&str, f64)]) -> RolloutTraffic {
        let guard = Arc::new(Guard::new(1, GuardLimits::default()));
        let side = |at, series| Side {
            backend: name(at),
            series: SeriesId(series),
            judged: SeriesId(series + 100),
        };
        RolloutTraffic {
            split: split(shares),
            salt: 42,
            baseline: side(baseline, 7),
            canary: side(canary, 8),
            fallbacks: SeriesId(300),
            epoch: guard.begin_epoch(),
            guard,
        }
    }

    /// The names of a route's targets, and the one that its override leads to.
    fn targets(table: &Table) -> (Vec<String>, String) {
        let route = &table.routes()[0];
        let names = |at: usize| table.backends()[route.targets[at].backend].name.to_string();
        ((0..route.targets.len()).map(names).collect(), names(route.overrides[0].target))
    }

    #[test]
    fn the_canary_owns_the_lowest_buckets_by_its_role() {
        let owned =
            table().with_rollout(0, &traffic("b", "a", &[("a", 10.0), ("b", 90.0)])).unwrap();
        let route = &owned.routes()[0];
        let rollout = route.rollout.as_ref().unwrap();
        assert_eq!(targets(&owned), (vec!["b".into(), "a".into(), "c".into()], "c".into()));
        assert_eq!((rollout.baseline, rollout.canary, route.salt), (0, 1, 42));
        assert_eq!(route.detour, Some(Detour { from: 1, to: 0, series: SeriesId(300) }));
        assert_eq!(route.shares.choose(Bucket::new(999).unwrap()), rollout.canary);
        assert_eq!(route.shares.choose(Bucket::new(1_000).unwrap()), rollout.baseline);
        assert_eq!(route.targets[rollout.canary].judged, Some(SeriesId(108)));
        assert_eq!(route.targets[2].judged, None);
    }

    #[test]
    fn a_canary_that_the_routes_split_does_not_name_joins_its_targets() {
        let owned =
            table().with_rollout(0, &traffic("a", "d", &[("a", 50.0), ("d", 50.0)])).unwrap();
        let (names, exception) = targets(&owned);
        assert_eq!((names, exception.as_str()), (["a", "d", "b", "c"].map(Into::into).into(), "c"));
        let refused = table().with_rollout(0, &traffic("a", "e", &[("a", 50.0), ("e", 50.0)]));
        assert!(refused.unwrap_err().to_string().contains("backend e"));
    }

    #[test]
    fn a_route_that_its_rollout_leaves_is_as_it_was() {
        let plain = table();
        let owned = plain.with_rollout(0, &traffic("b", "a", &[("a", 10.0), ("b", 90.0)])).unwrap();
        let left = owned.with_split(0, split(&[("a", 30.0), ("b", 70.0)]));
        assert_eq!(targets(&left), targets(&plain));
        let (route, before) = (&left.routes()[0], &plain.routes()[0]);
        assert!(route.rollout.is_none() && route.salt == before.salt);
        let detour = Detour { from: 0, to: 1, series: SeriesId(300) };
        assert_eq!(route.detour, Some(detour), "a is still the canary");
        assert!(route.targets.iter().all(|target| target.judged.is_none()));
        assert_eq!(route.shares.choose(Bucket::new(0).unwrap()), 1, "b, the last by name");
    }

    #[test]
    fn a_request_goes_to_the_baseline_once_the_canary_may_have_no_more() {
        let traffic = traffic("a", "b", &[("a", 50.0), ("b", 50.0)]);
        let owned = table().with_rollout(0, &traffic).unwrap();
        let rollout = owned.routes()[0].rollout.as_ref().unwrap();
        let (baseline, canary) = (rollout.baseline, rollout.canary);
        assert_eq!(
            (rollout.admit(canary, None), rollout.admit(baseline, None)),
            (canary, baseline)
        );
        traffic.guard.recall();
        assert_eq!(
            (rollout.admit(canary, None), rollout.admit(baseline, None)),
            (baseline, baseline)
        );
        assert!(rollout.is_current());
        traffic.guard.begin_epoch();
        assert!(!rollout.is_current());
    }
}
