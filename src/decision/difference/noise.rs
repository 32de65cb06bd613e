//! Differences that two answers of the same version have as well: times, identities, counters.
//!
//! Now and then a request is sent a second time to the backend that answered its client, and what differs between these two
//! answers is counted by place and kind. A difference is noise once it came more than once, and in a fair share of such
//! pairs: so a value that merely changed between two reads does not hide its place for good. Keys that are data, a new one
//! in each answer, never come twice; an object where such keys come and go is noise with all that lies below it.
//!
//! Invariants: a bounded number of places; old pairs count half as much each time that enough new ones have come, so what
//! is noise no longer is forgotten.

use std::collections::BTreeMap;

use super::{Difference, Kind, is_at_or_below};

/// Pairs after which noise is known well enough to hold versions against each other.
pub const LEARNT_AFTER: u32 = 20;

/// Places that are remembered.
const MOST_PLACES: usize = 512;
/// Objects with changing keys that are remembered.
const MOST_OBJECTS: usize = 64;
/// Pairs after which all counts are halved.
const HALVE_AFTER: u32 = 2_000;
/// One pair in so many makes noise.
const ONE_IN: u32 = 50;
/// A place is noise from so many pairs on.
const LEAST: u32 = 2;
/// An object's keys are data from so many new ones on.
const LEAST_KEYS: u32 = 5;

/// What is known of one route's noise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Noise {
    pairs: u32,
    places: BTreeMap<Difference, u32>,
    /// By place: in how many pairs a key came or went below it that had not before.
    objects: BTreeMap<Box<str>, u32>,
}

impl Noise {
    /// Takes what differed between two answers of one version.
    pub fn learn(&mut self, differences: &[Difference]) {
        self.pairs += 1;
        let mut grown: Vec<&str> = Vec::new();
        for difference in differences {
            if let Some(count) = self.places.get_mut(difference) {
                *count += 1;
                continue;
            }
            if let Some(object) = object_of(difference).filter(|object| !grown.contains(object)) {
                grown.push(object);
            }
            make_room(&mut self.places, MOST_PLACES);
            self.places.insert(difference.clone(), 1);
        }
        for object in grown {
            if !self.objects.contains_key(object) {
                make_room(&mut self.objects, MOST_OBJECTS);
            }
            *self.objects.entry(object.into()).or_default() += 1;
        }
        if self.pairs >= HALVE_AFTER {
            self.halve();
        }
    }

    /// Whether enough pairs were seen.
    pub const fn is_learnt(&self) -> bool {
        self.pairs >= LEARNT_AFTER
    }

    /// Whether `difference` says nothing about a version.
    pub fn hides(&self, difference: &Difference) -> bool {
        let often =
            |count: u32, least| count >= least && count.saturating_mul(ONE_IN) >= self.pairs;
        self.places.get(difference).is_some_and(|count| often(*count, LEAST))
            || self.objects.iter().any(|(object, count)| {
                let below = *difference.place != **object;
                often(*count, LEAST_KEYS) && below && is_at_or_below(&difference.place, object)
            })
    }

    /// Places remembered.
    pub fn len(&self) -> usize {
        self.places.len() + self.objects.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn halve(&mut self) {
        self.pairs /= 2;
        let halved = |count: &mut u32| {
            *count /= 2;
            *count > 0
        };
        self.places.retain(|_, count| halved(count));
        self.objects.retain(|_, count| halved(count));
    }
}

/// The object whose key came or went, where that is the difference.
fn object_of(difference: &Difference) -> Option<&str> {
    match difference.kind {
        Kind::Missing | Kind::Extra if difference.place.starts_with('$') => {
            let place = &*difference.place;
            let end =
                if place.ends_with("\"]") { place.rfind("[\"")? } else { place.rfind('.')? };
            Some(&place[..end])
        }
        Kind::Missing | Kind::Extra | Kind::Value | Kind::Type | Kind::Length | Kind::Many => None,
    }
}

/// Forgets what came least often where `counts` is full.
fn make_room<K: Ord + Clone>(counts: &mut BTreeMap<K, u32>, most: usize) {
    if counts.len() < most {
        return;
    }
    let least = counts.iter().min_by_key(|(_, count)| **count).map(|(key, _)| key.clone());
    if let Some(least) = least {
        counts.remove(&least);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(place: &str, kind: Kind) -> Difference {
        Difference::new(place, kind)
    }

    #[test]
    fn what_differs_in_each_pair_is_noise_and_nothing_else() {
        let mut noise = Noise::default();
        let time = at("$.time", Kind::Value);
        for _ in 0..LEARNT_AFTER {
            assert!(!noise.is_learnt());
            noise.learn(std::slice::from_ref(&time));
        }
        assert!(noise.is_learnt() && noise.hides(&time));
        assert!(!noise.hides(&at("$.time", Kind::Missing)), "a time that is gone is news");
        assert!(!noise.hides(&at("$.total", Kind::Value)));
    }

    #[test]
    fn a_value_that_changed_between_two_reads_is_no_noise() {
        let mut noise = Noise::default();
        let balance = at("$.balance", Kind::Value);
        noise.learn(std::slice::from_ref(&balance));
        assert!(!noise.hides(&balance), "once is chance");
        (0..200).for_each(|_| noise.learn(&[]));
        noise.learn(std::slice::from_ref(&balance));
        assert!(!noise.hides(&balance), "two in two hundred");
    }

    #[test]
    fn what_is_no_longer_noise_is_forgotten() {
        let mut noise = Noise::default();
        let time = at("$.time", Kind::Value);
        (0..100).for_each(|_| noise.learn(std::slice::from_ref(&time)));
        (0..20_000).for_each(|_| noise.learn(&[]));
        assert!(!noise.hides(&time));
        assert!(noise.is_learnt());
    }

    #[test]
    fn an_object_with_data_for_keys_is_noise_below() {
        let mut noise = Noise::default();
        for n in 0..LEARNT_AFTER {
            let (gone, come) = (format!("$.users.u{n}x"), format!("$.users.v{n}x"));
            noise.learn(&[at(&gone, Kind::Missing), at(&come, Kind::Extra)]);
        }
        assert!(noise.hides(&at("$.users.w7x", Kind::Missing)));
        assert!(noise.hides(&at("$.users.w7x.name", Kind::Value)));
        assert!(!noise.hides(&at("$.users", Kind::Type)));
        assert!(!noise.hides(&at("$.total", Kind::Missing)), "its neighbours are not");
    }

    #[test]
    fn one_key_that_comes_and_goes_hides_no_other() {
        let mut noise = Noise::default();
        let debug = at("$.debug", Kind::Missing);
        (0..LEARNT_AFTER).for_each(|_| noise.learn(std::slice::from_ref(&debug)));
        assert!(noise.hides(&debug) && !noise.hides(&at("$.total", Kind::Missing)));
    }

    fn differences() -> impl Strategy<Value = Vec<Difference>> {
        let kinds = [Kind::Value, Kind::Type, Kind::Length, Kind::Missing, Kind::Extra];
        let one = ("\\$(\\.[a-z]{1,3}){1,3}", prop::sample::select(kinds.to_vec()));
        prop::collection::vec(one.prop_map(|(place, kind)| at(&place, kind)), 0..40)
    }

    proptest! {
        #[test]
        fn memory_is_bounded_whatever_differs(pairs in prop::collection::vec(differences(), 0..60)) {
            let mut noise = Noise::default();
            for pair in &pairs {
                noise.learn(pair);
                prop_assert!(noise.len() <= MOST_PLACES + MOST_OBJECTS);
            }
        }

        #[test]
        fn what_was_never_seen_is_not_hidden_but_below_an_object_of_data(
            pairs in prop::collection::vec(differences(), 0..30),
            asked in differences(),
        ) {
            let mut noise = Noise::default();
            pairs.iter().for_each(|pair| noise.learn(pair));
            for one in asked.iter().filter(|one| !pairs.iter().flatten().any(|seen| seen == *one)) {
                let excused = noise.objects.iter().any(|(object, count)| {
                    *count >= LEAST_KEYS && is_at_or_below(&one.place, object)
                });
                prop_assert!(excused || !noise.hides(one), "{one}");
            }
        }

        #[test]
        fn what_always_differs_is_hidden(pair in differences()) {
            let mut noise = Noise::default();
            (0..LEARNT_AFTER).for_each(|_| noise.learn(&pair));
            prop_assert!(pair.iter().all(|one| noise.hides(one)));
        }
    }
}
