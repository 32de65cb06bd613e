//! Where copies of a route's requests go, and what all workers have learnt of the differences between answers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    config::model,
    decision::difference::{Difference, LEARNT_AFTER, Noise, is_at_or_below},
    domain::{MirrorDepth, MirrorResult, Moment, SeriesId, Weight},
};

/// A route's mirror.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// What the configuration says of it.
    pub rules: model::Mirror,
    /// Its backend's place in the table.
    pub backend: usize,
    /// Counts the copies and their comparisons.
    pub series: SeriesId,
    /// What is known of differences.
    pub findings: Arc<Findings>,
}

/// What comes of one comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it counts.
    pub result: MirrorResult,
    /// Differences beyond noise, where it is time to tell of some.
    pub news: Vec<Difference>,
}

/// What the workers have learnt of one mirror, together: each for itself would take as many times longer.
///
/// It is behind a lock that nobody waits for. Only comparisons take it, when client and mirror have both been answered; one
/// that finds it taken goes without.
#[derive(Debug, Default)]
pub struct Findings {
    learnt: Mutex<Learnt>,
    /// Pairs that were asked for to begin with.
    asked: AtomicU32,
}

#[derive(Debug, Default)]
struct Learnt {
    noise: Noise,
    told: Option<Moment>,
}

/// Differences told at once.
const MOST_TOLD: usize = 5;
/// Pairs asked for to begin with, at most: some bring nothing, and a backend whose answers never end shall not get each
/// request twice for good.
const MOST_ASKED: u32 = 5 * LEARNT_AFTER;
/// From one telling to the next.
const SILENCE: Duration = Duration::from_secs(60);

impl Mirror {
    /// Whether it must be known what is noise before answers are held against each other.
    pub fn learns(&self) -> bool {
        self.rules.compare >= MirrorDepth::Headers && self.rules.noise != Weight::ZERO
    }

    /// Whether another pair of answers of one version is wanted; `chance` is any number. Until noise is known each one is, as
    /// a rule.
    pub fn wants_pair(&self, chance: u64) -> bool {
        let share = u64::from(self.rules.noise.basis_points());
        self.learns() && (chance % 10_000 < share || self.findings.asks_early())
    }

    /// Learns from what differed between two answers of one version.
    pub fn learn(&self, differences: &[Difference]) {
        if let Some(mut learnt) = self.findings.try_lock() {
            learnt.noise.learn(differences);
        }
    }

    /// What `differences` between the client's answer and the mirror's come to at `now`.
    pub fn judge(&self, mut differences: Vec<Difference>, now: Moment) -> Finding {
        let quiet = |result| Finding { result, news: Vec::new() };
        let ignored = |place: &str| self.rules.ignore.iter().any(|at| is_at_or_below(place, at));
        differences.retain(|difference| !ignored(&difference.place));
        let Some(mut learnt) = self.findings.try_lock() else {
            return quiet(MirrorResult::Learning);
        };
        if self.learns() {
            if !learnt.noise.is_learnt() {
                return quiet(MirrorResult::Learning);
            }
            differences.retain(|difference| !learnt.noise.hides(difference));
        }
        if differences.is_empty() {
            return quiet(MirrorResult::Same);
        }
        let due = learnt.told.is_none_or(|told| now.since(told) >= SILENCE);
        if due {
            learnt.told = Some(now);
        }
        differences.truncate(if due { MOST_TOLD } else { 0 });
        Finding { result: MirrorResult::Different, news: differences }
    }
}

impl Findings {
    fn asks_early(&self) -> bool {
        let few = self.asked.load(Relaxed) < MOST_ASKED;
        let asks = few && self.try_lock().is_some_and(|learnt| !learnt.noise.is_learnt());
        asks && self.asked.fetch_add(1, Relaxed) < MOST_ASKED
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Learnt>> {
        match self.learnt.try_lock() {
            Ok(learnt) => Some(learnt),
            // Every change is a single step that cannot leave it half-written.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{
        config,
        decision::difference::Kind,
        domain::BackendName,
        routing::{Ingredients, Table, build},
    };

    fn mirror(noise: Weight) -> Mirror {
        Mirror {
            rules: model::Mirror {
                to: BackendName::new("green").unwrap(),
                share: Weight::FULL,
                max_body: 0,
                compare: MirrorDepth::Body,
                methods: vec![http::Method::GET],
                noise,
                ignore: vec!["$.build".into()],
                timeout: Duration::from_secs(1),
                max_in_flight: 1,
            },
            backend: 0,
            series: SeriesId(0),
            findings: Arc::default(),
        }
    }

    fn at(place: &str) -> Difference {
        Difference { place: place.into(), kind: Kind::Value }
    }

    #[test]
    fn nothing_is_held_against_a_version_before_noise_is_known() {
        let (mirror, now) = (mirror(Weight::TENTH), Moment::default());
        assert_eq!(mirror.judge(vec![at("$.n")], now).result, MirrorResult::Learning);
        for _ in 0..LEARNT_AFTER {
            assert!(mirror.wants_pair(9_999));
            mirror.learn(&[at("$.time")]);
        }
        assert!(!mirror.wants_pair(1_000) && mirror.wants_pair(999));
        assert_eq!(mirror.judge(vec![at("$.time")], now).result, MirrorResult::Same);
        assert_eq!(mirror.judge(vec![at("$.build.date")], now).result, MirrorResult::Same);
        let finding = mirror.judge(vec![at("$.n"), at("$.time")], now);
        assert_eq!(finding, Finding { result: MirrorResult::Different, news: vec![at("$.n")] });
    }

    fn table(mirror: &str, previous: Option<&Table>) -> Table {
        let text = format!(
            "[[listener]]\nbind = \"127.0.0.1:1\"\n[backend.blue]\nendpoints = [\"127.0.0.1:2\"]\n\
             [backend.green]\nendpoints = [\"127.0.0.1:3\"]\n\
             [[route]]\nname = \"api\"\nsplit = {{ blue = 100 }}\naffinity = {{ by = \"none\" }}\n{mirror}"
        );
        let config = config::parse(&text, "test.toml", &|_| None).unwrap();
        let ingredients = Ingredients {
            splits: &HashMap::new(),
            secret: &mut |_| Ok(Vec::new()),
            series: &mut |_, _| Ok(SeriesId(1)),
            fallbacks: &mut |_, _, _| Ok(SeriesId(2)),
            mirrors: &mut |_, _| Ok(SeriesId(3)),
            pages: &HashMap::new(),
            previous,
            tls: &crate::tls::Material::default(),
            workers: 1,
            now: Moment::default(),
        };
        build(&config, ingredients).unwrap()
    }

    #[test]
    fn what_is_learnt_outlasts_a_reload_for_the_same_backend() {
        let findings = |table: &Table| table.routes()[0].mirror.as_ref().unwrap().findings.clone();
        let first = table("mirror = { to = \"green\", compare = \"body\" }", None);
        let mirror = first.routes()[0].mirror.as_ref().unwrap();
        assert_eq!((mirror.backend, mirror.series), (1, SeriesId(3)));
        let other = table("mirror = { to = \"green\", share = \"1%\" }", Some(&first));
        assert!(Arc::ptr_eq(&findings(&first), &findings(&other)));
        let turned = table("mirror = { to = \"blue\" }", Some(&first));
        assert!(!Arc::ptr_eq(&findings(&first), &findings(&turned)));
        assert!(table("", Some(&first)).routes()[0].mirror.is_none());
    }

    #[test]
    fn pairs_that_bring_nothing_are_not_asked_for_without_end() {
        let mirror = mirror(Weight::TENTH);
        let asked = (0..10_000).filter(|_| mirror.wants_pair(9_999)).count();
        assert_eq!(asked, MOST_ASKED as usize);
    }

    #[test]
    fn without_noise_every_difference_counts_and_few_are_told() {
        let mirror = mirror(Weight::ZERO);
        assert!(!mirror.wants_pair(0));
        let many: Vec<_> = (0..20).map(|n| at(&format!("$.n{n}"))).collect();
        let second = |n: u64| Moment::from_nanos(n * 1_000_000_000);
        let told = |now| mirror.judge(many.clone(), now).news.len();
        assert_eq!([1, 2, 60, 61, 62].map(|n| told(second(n))), [5, 0, 0, 5, 0]);
    }
}
