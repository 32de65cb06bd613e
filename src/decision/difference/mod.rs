//! What differs between two answers to one request: where and how, never the values.
//!
//! A difference has a *place* (`status`, `header etag`, `$.items[].price`, `body`) and a kind. Places come from the shape of
//! the data: elements of a list share one place, and keys that look like identities are `*`, so that an answer has as many
//! places as its schema, not as many as its rows. Whether a difference is one that two answers of the same version have as
//! well, [`Noise`] knows.
//!
//! Invariants: an answer does not differ from itself; headers and body bring [`MOST_FOUND`] differences each at most, with
//! places of bounded length that hold no control character.

mod json;
mod noise;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub use noise::{LEARNT_AFTER, Noise};

use crate::domain::MirrorDepth;

/// Differences of one body that are kept; more of them are one of kind [`Kind::Many`].
pub const MOST_FOUND: usize = 64;

/// What is kept of an answer to compare it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// A hash of each header's values, by its name.
    pub headers: BTreeMap<Box<str>, u64>,
    /// What is known of its body.
    pub body: Body,
}

/// What is kept of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Bytes in it.
    pub length: u64,
    /// Their hash.
    pub hash: u64,
    /// The body itself, where it can be looked into.
    pub json: Json,
}

/// A body as far as it is JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// It does not say that it is.
    No,
    /// All of it.
    Whole(Vec<u8>),
    /// More than is kept.
    TooLarge,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Difference {
    /// Where.
    pub place: Box<str>,
    /// How.
    pub kind: Kind,
}

/// How two answers differ at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// By their values.
    Value,
    /// By the type of their values.
    Type,
    /// By the number of elements.
    Length,
    /// The other answer has nothing there.
    Missing,
    /// The other answer alone has something there.
    Extra,
    /// In more places than are kept.
    Many,
}

impl Difference {
    fn new(place: impl Into<Box<str>>, kind: Kind) -> Self {
        Self { place: place.into(), kind }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Value => "value",
            Kind::Type => "type",
            Kind::Length => "length",
            Kind::Missing => "missing",
            Kind::Extra => "extra",
            Kind::Many => "many",
        };
        write!(f, "{} ({kind})", self.place)
    }
}

/// Whether `place` is `above` or lies below it: `$.a` is above `$.a.b` and `$.a[]`, not above `$.ab`.
pub fn is_at_or_below(place: &str, above: &str) -> bool {
    place.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What differs between `known` and `other`, which may not have come at all; `None` where a body is too large to say.
pub fn compare(
    depth: MirrorDepth,
    known: &Answer,
    other: Option<&Answer>,
) -> Option<Vec<Difference>> {
    let Some(other) = other else {
        return Some(vec![Difference::new("answer", Kind::Missing)]);
    };
    let mut found = BTreeSet::new();
    if depth >= MirrorDepth::Status && known.status != other.status {
        found.insert(Difference::new("status", Kind::Value));
    }
    if depth >= MirrorDepth::Headers {
        headers(&known.headers, &other.headers, &mut found);
    }
    if depth >= MirrorDepth::Body {
        found.extend(bodies(&known.body, &other.body)?);
    }
    Some(found.into_iter().collect())
}

fn headers(
    known: &BTreeMap<Box<str>, u64>,
    other: &BTreeMap<Box<str>, u64>,
    found: &mut BTreeSet<Difference>,
) {
    let mut note = |name: &str, kind| {
        if found.len() < MOST_FOUND {
            found.insert(Difference::new(format!("header {name}"), kind));
        }
    };
    for (name, value) in known {
        match other.get(name) {
            None => note(name, Kind::Missing),
            Some(same) if same == value => {}
            Some(_) => note(name, Kind::Value),
        }
    }
    for name in other.keys().filter(|name| !known.contains_key(*name)) {
        note(name, Kind::Extra);
    }
}

fn bodies(known: &Body, other: &Body) -> Option<BTreeSet<Difference>> {
    if (known.length, known.hash) == (other.length, other.hash) {
        return Some(BTreeSet::new());
    }
    match (&known.json, &other.json) {
        (Json::Whole(known), Json::Whole(other)) => Some(json::compare(known, other)),
        (Json::TooLarge, Json::Whole(_) | Json::TooLarge) | (Json::Whole(_), Json::TooLarge) => {
            None
        }
        (Json::No, Json::No) => Some([Difference::new("body", Kind::Value)].into()),
        (Json::No, Json::Whole(_) | Json::TooLarge)
        | (Json::Whole(_) | Json::TooLarge, Json::No) => {
            Some([Difference::new("body", Kind::Type)].into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&str, u64)], body: &str) -> Answer {
        Answer {
            status: 200,
            headers: headers.iter().map(|(name, hash)| ((*name).into(), *hash)).collect(),
            body: Body {
                length: body.len() as u64,
                hash: xxhash_rust::xxh3::xxh3_64(body.as_bytes()),
                json: Json::Whole(body.as_bytes().to_vec()),
            },
        }
    }

    fn found(depth: MirrorDepth, known: &Answer, other: &Answer) -> Vec<String> {
        let found = compare(depth, known, Some(other)).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_depth_looks_as_far_as_it_says() {
        let known = answer(&[("etag", 1), ("x-a", 1)], "{\"n\":1}");
        let mut other = answer(&[("etag", 2), ("x-b", 1)], "{\"n\":2}");
        other.status = 500;
        assert!(found(MirrorDepth::Off, &known, &other).is_empty());
        assert_eq!(found(MirrorDepth::Status, &known, &other), ["status (value)"]);
        let headers = ["header etag (value)", "header x-a (missing)", "header x-b (extra)"];
        assert_eq!(found(MirrorDepth::Headers, &known, &other)[..3], headers);
        assert_eq!(found(MirrorDepth::Body, &known, &other)[0], "$.n (value)");
        let none = compare(MirrorDepth::Status, &known, None).unwrap();
        assert_eq!(none[0].to_string(), "answer (missing)");
    }

    #[test]
    fn a_body_that_is_too_large_is_told_by_its_hash_alone() {
        let large = |hash| Answer {
            body: Body { length: 1 << 30, hash, json: Json::TooLarge },
            ..answer(&[], "")
        };
        assert_eq!(compare(MirrorDepth::Body, &large(1), Some(&large(1))), Some(vec![]));
        assert_eq!(compare(MirrorDepth::Body, &large(1), Some(&large(2))), None);
        let text = |hash| Answer {
            body: Body { length: 1 << 30, hash, json: Json::No },
            ..answer(&[], "")
        };
        assert_eq!(found(MirrorDepth::Body, &text(1), &text(2)), ["body (value)"]);
        assert_eq!(found(MirrorDepth::Body, &text(1), &large(2)), ["body (type)"]);
    }

    #[test]
    fn a_place_is_below_another_by_whole_steps() {
        assert!(is_at_or_below("$.a.b", "$.a") && is_at_or_below("$.a[]", "$.a"));
        assert!(is_at_or_below("header etag", "header etag"));
        assert!(!is_at_or_below("$.ab", "$.a") && !is_at_or_below("header etag2", "header etag"));
    }
}
