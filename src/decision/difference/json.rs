//! Two JSON documents held against each other by their structure.
//!
//! They are taken apart level by level, and values stay the text they are: a number that is larger than any type of ours still
//! differs by its last digit, and what is spelled alike is not looked into.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::{Difference, Kind, MOST_FOUND};
use crate::domain::is_steering;

/// Bytes of the longest place; deeper down, subtrees are compared whole.
const LONGEST_PLACE: usize = 160;
/// Characters of a key that are shown.
const LONGEST_KEY: usize = 40;
/// Levels that are taken apart; what lies below is compared by its text, since each level is read once more than the one above.
const MOST_LEVELS: usize = 64;

/// What differs between two bodies that say they are JSON. What is none after all is compared byte for byte, and these
/// bytes differ.
pub(super) fn compare(known: &[u8], other: &[u8]) -> BTreeSet<Difference> {
    let parsed = |bytes| serde_json::from_slice::<&RawValue>(bytes).ok();
    match (parsed(known), parsed(other)) {
        (Some(known), Some(other)) => {
            let mut walk = Walk { place: "$".to_owned(), level: 0, found: BTreeSet::new() };
            walk.values(known.get(), other.get());
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
    level: usize,
    found: BTreeSet<Difference>,
}

/// An object's members, by their keys.
type Members<'t> = BTreeMap<String, &'t RawValue>;

impl Walk {
    fn note(&mut self, kind: Kind) {
        if self.found.len() + 1 < MOST_FOUND {
            self.found.insert(Difference::new(self.place.as_str(), kind));
        } else {
            self.found.insert(Difference::new("body", Kind::Many));
        }
    }

    /// Compares two values, each the text of one.
    fn values(&mut self, known: &str, other: &str) {
        if known == other {
            return;
        }
        match (Type::of(known), Type::of(other)) {
            (Type::Object | Type::List, Type::Object | Type::List) if self.level == MOST_LEVELS => {
                self.note(Kind::Value);
            }
            (Type::Object, Type::Object) => match [known, other].map(members) {
                [Some(known), Some(other)] => self.objects(&known, &other),
                _ => self.note(Kind::Value),
            },
            (Type::List, Type::List) => match [known, other].map(elements) {
                [Some(known), Some(other)] => self.lists(&known, &other),
                _ => self.note(Kind::Value),
            },
            (Type::Text, Type::Text) => {
                // Half a character, as a lone surrogate is, has no value but its text.
                let [known, other] = [known, other].map(characters);
                if known.is_none() || known != other {
                    self.note(Kind::Value);
                }
            }
            (Type::Number, Type::Number) if is_same_number(known, other) => {}
            (known, other) if known == other => self.note(Kind::Value),
            _ => self.note(Kind::Type),
        }
    }

    fn objects(&mut self, known: &Members<'_>, other: &Members<'_>) {
        for (key, value) in known {
            self.below(&step(key), |walk| match other.get(key) {
                Some(other) => walk.values(value.get(), other.get()),
                None => walk.note(Kind::Missing),
            });
        }
        for key in other.keys().filter(|key| !known.contains_key(*key)) {
            self.below(&step(key), |walk| walk.note(Kind::Extra));
        }
    }

    fn lists(&mut self, known: &[&RawValue], other: &[&RawValue]) {
        if known.len() != other.len() {
            self.note(Kind::Length);
        }
        self.below("[]", |walk| {
            let pairs = known.iter().zip(other);
            pairs.for_each(|(known, other)| walk.values(known.get(), other.get()));
        });
    }

    /// Goes one step down; where the place would be too long, what differs below differs here.
    fn below(&mut self, step: &str, look: impl FnOnce(&mut Self)) {
        let length = self.place.len();
        if length + step.len() <= LONGEST_PLACE {
            self.place.push_str(step);
        }
        self.level += 1;
        look(self);
        self.level -= 1;
        self.place.truncate(length);
    }
}

/// What a value is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Object,
    List,
    Text,
    Bool,
    Null,
    Number,
}

impl Type {
    fn of(value: &str) -> Self {
        match value.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::List,
            Some(b'"') => Self::Text,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }
}

fn members(object: &str) -> Option<Members<'_>> {
    serde_json::from_str(object).ok()
}

fn elements(list: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(list).ok()
}

fn characters(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// Whether both are one number, which serializers write as they like: 1 and 1.0, and all spellings of one double.
fn is_same_number(known: &str, other: &str) -> bool {
    let is_whole = |text: &str| !text.contains(['.', 'e', 'E']);
    let double = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let (whole, doubles) = (is_whole(known) && is_whole(other), (double(known), double(other)));
    (!whole && doubles.0.is_some() && doubles.0 == doubles.1) || decimal(known) == decimal(other)
}

/// A number's sign, its digits without zeros at either end, and the power of ten that the last of them counts.
fn decimal(text: &str) -> (bool, String, i64) {
    let (digits, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let far = if power.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
    let power = power.parse().unwrap_or(far).clamp(i64::MIN / 2, i64::MAX / 2);
    let digits = digits.trim_start_matches('-');
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = [whole, fraction].concat();
    let ending = all.trim_end_matches('0');
    // No text is as long as half of what a power may be.
    let last = power - fraction.len() as i64 + (all.len() - ending.len()) as i64;
    match ending.trim_start_matches('0') {
        "" => (false, String::new(), 0),
        digits => (text.starts_with('-'), digits.to_owned(), last),
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
    use serde_json::Value;

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
        assert_eq!(found("12345678901234567890123", "12345678901234567890124"), ["$ (value)"]);
        assert_eq!(found("-1", "1"), ["$ (value)"]);
        assert_eq!(found("1e400", "2e400"), ["$ (value)"]);
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for (known, other) in [
            ("1", "1.0"),
            ("-0", "0"),
            ("100", "1e2"),
            ("1.50E+1", "15"),
            ("0.1", "0.10000000000000001"),
            ("0.002", "2.0E-3"),
            ("12345678901234567890123", "12345678901234567890123.0"),
            ("1e400", "10E399"),
            ("1e99999999999999999999", "1E99999999999999999999"),
        ] {
            assert_eq!(found(known, other), [""; 0], "{known} {other}");
            assert_eq!(found(other, known), [""; 0], "{other} {known}");
        }
    }

    #[test]
    fn odd_documents_differ_only_where_they_do() {
        let deep = |level: usize, end: &str| "[".repeat(level) + end + &"]".repeat(level);
        assert_eq!(found(&deep(1_000, "1"), &deep(1_000, "1")), [""; 0]);
        let place = format!("${} (value)", "[]".repeat(MOST_LEVELS));
        assert_eq!(found(&deep(1_000, "1"), &deep(1_000, "2")), [place]);
        assert_eq!(found(r#"{"a":"\ud800"}"#, r#"{ "a":"\ud800"}"#), [""; 0]);
        assert_eq!(found(r#"{"a":"\ud800"}"#, r#"{"a":"\ud801"}"#), ["$.a (value)"]);
        assert_eq!(found(r#""\u0041""#, r#""A""#), [""; 0]);
        assert_eq!(found("true", "false"), ["$ (value)"]);
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
