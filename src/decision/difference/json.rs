//! Two JSON documents held against each other by their structure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Difference, Kind, MOST_FOUND};
use crate::domain::is_steering;

/// Bytes of the longest place; deeper down, subtrees are compared whole.
const LONGEST_PLACE: usize = 160;
/// Characters of a key that are shown.
const LONGEST_KEY: usize = 40;

/// What differs between two bodies that say they are JSON. What is none after all is compared byte for byte, and these
/// bytes differ.
pub(super) fn compare(known: &[u8], other: &[u8]) -> BTreeSet<Difference> {
    let parsed = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    match (parsed(known), parsed(other)) {
        (Some(known), Some(other)) => {
            let mut walk = Walk { place: "$".to_owned(), found: BTreeSet::new() };
            walk.values(&known, &other);
            walk.found
        }
        (None, None) => [Difference::new("body", Kind::Value)].into(),
        (Some(_), None) | (None, Some(_)) => [Difference::new("body", Kind::Type)].into(),
    }
}

/// A way through both documents at once.
struct Walk {
    /// Where it is.
    place: String,
    found: BTreeSet<Difference>,
}

impl Walk {
    fn note(&mut self, kind: Kind) {
        if self.found.len() + 1 < MOST_FOUND {
            self.found.insert(Difference::new(self.place.as_str(), kind));
        } else {
            self.found.insert(Difference::new("body", Kind::Many));
        }
    }

    fn values(&mut self, known: &Value, other: &Value) {
        match (known, other) {
            (Value::Object(known), Value::Object(other)) => self.objects(known, other),
            (Value::Array(known), Value::Array(other)) => self.lists(known, other),
            (Value::Number(known), Value::Number(other)) => {
                // 1 and 1.0 are one number, which serializers write as they like.
                let fractional = known.is_f64() || other.is_f64();
                if known != other && !(fractional && known.as_f64() == other.as_f64()) {
                    self.note(Kind::Value);
                }
            }
            (Value::Bool(_), Value::Bool(_))
            | (Value::String(_), Value::String(_))
            | (Value::Null, Value::Null) => {
                if known != other {
                    self.note(Kind::Value);
                }
            }
            (
                Value::Object(_)
                | Value::Array(_)
                | Value::Number(_)
                | Value::Bool(_)
                | Value::String(_)
                | Value::Null,
                _,
            ) => self.note(Kind::Type),
        }
    }

    fn objects(
        &mut self,
        known: &serde_json::Map<String, Value>,
        other: &serde_json::Map<String, Value>,
    ) {
        for (key, value) in known {
            self.below(&step(key), |walk| match other.get(key) {
                Some(other) => walk.values(value, other),
                None => walk.note(Kind::Missing),
            });
        }
        for key in other.keys().filter(|key| !known.contains_key(*key)) {
            self.below(&step(key), |walk| walk.note(Kind::Extra));
        }
    }

    fn lists(&mut self, known: &[Value], other: &[Value]) {
        if known.len() != other.len() {
            self.note(Kind::Length);
        }
        self.below("[]", |walk| {
            known.iter().zip(other).for_each(|(known, other)| walk.values(known, other));
        });
    }

    /// Goes one step down, unless the place would be too long: then what differs below differs here.
    fn below(&mut self, step: &str, look: impl FnOnce(&mut Self)) {
        let length = self.place.len();
        if length + step.len() <= LONGEST_PLACE {
            self.place.push_str(step);
        }
        look(self);
        self.place.truncate(length);
    }
}

/// A key as a step of a place: `.name`, `.*` for what looks like an identity, `["odd name"]` for the rest.
fn step(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if is_identity(key) {
        ".*".to_owned()
    } else if !key.is_empty() && key.len() <= LONGEST_KEY && key.chars().all(plain) {
        format!(".{key}")
    } else {
        let shown = key.chars().take(LONGEST_KEY);
        let shown: String =
            shown.map(|c| if is_steering(c) || c == '"' { '?' } else { c }).collect();
        format!("[\"{shown}\"]")
    }
}

/// Whether a key is made of data rather than named by a programmer: a number, or long and hexadecimal, as UUIDs are.
fn is_identity(key: &str) -> bool {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    let hexadecimal = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (digits > 0 && digits == key.len())
        || (key.len() >= 16 && digits > 0 && key.bytes().all(hexadecimal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(known: &str, other: &str) -> Vec<String> {
        compare(known.as_bytes(), other.as_bytes()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn places_follow_the_structure() {
        let cases: [(&str, &str, &[&str]); 9] = [
            (r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1.0 }"#, &[]),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":"1"}}"#, &["$.a.b (type)"]),
            (r#"{"a":1}"#, r#"{"b":1}"#, &["$.a (missing)", "$.b (extra)"]),
            ("[1,2,3]", "[1,3]", &["$ (length)", "$[] (value)"]),
            (r#"{"a":[{"p":1},{"p":2}]}"#, r#"{"a":[{"p":3},{"p":4}]}"#, &["$.a[].p (value)"]),
            (r#"{"7":{"n":1},"8":{}}"#, r#"{"7":{"n":2}}"#, &["$.* (missing)", "$.*.n (value)"]),
            ("{\"a b\\u001b\":1}", "{}", &["$[\"a b?\"] (missing)"]),
            ("null", "false", &["$ (type)"]),
            ("{}", "no JSON", &["body (type)"]),
        ];
        for (known, other, wanted) in cases {
            assert_eq!(found(known, other), wanted, "{known} against {other}");
        }
    }

    #[test]
    fn large_numbers_differ_by_their_last_digit() {
        assert_eq!(found("12345678901234567", "12345678901234567"), [""; 0]);
        assert_eq!(found("12345678901234567", "12345678901234568"), ["$ (value)"]);
    }

    /// Any document, not too large.
    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 100, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,60}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_document_is_like_itself_and_differences_have_two_sides(
            known in documents(),
            other in documents(),
        ) {
            let (known, other) = (known.to_string(), other.to_string());
            prop_assert!(found(&known, &known).is_empty());
            let there = compare(known.as_bytes(), other.as_bytes());
            let back = compare(other.as_bytes(), known.as_bytes());
            prop_assert_eq!(there.is_empty(), back.is_empty());
            let whole = |found: &BTreeSet<Difference>| found.len() < MOST_FOUND - 1;
            for difference in there.iter().filter(|_| whole(&there)) {
                let kind = match difference.kind {
                    Kind::Missing => Kind::Extra,
                    Kind::Extra => Kind::Missing,
                    same @ (Kind::Value | Kind::Type | Kind::Length | Kind::Many) => same,
                };
                let turned = Difference { kind, ..difference.clone() };
                prop_assert!(back.contains(&turned), "{difference}");
            }
        }

        #[test]
        fn what_is_found_is_bounded_whatever_comes(
            known in "[\\[\\]{}\":,a0-9]{0,200}",
            keys in prop::collection::btree_set("[a-z]{1,300}", 0..200),
        ) {
            let map = keys.iter().map(|key| (key.clone(), Value::from(1)));
            let other = Value::Object(map.collect()).to_string();
            for found in [compare(known.as_bytes(), other.as_bytes()), compare(b"{}", other.as_bytes())] {
                prop_assert!(found.len() <= MOST_FOUND);
                prop_assert!(found.iter().all(|d| d.place.len() <= LONGEST_PLACE));
                prop_assert!(found.iter().all(|d| !d.place.contains(char::is_control)));
            }
        }
    }
}
