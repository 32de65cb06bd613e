//! What travels between the API and its clients, this program's own command line among them.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};

pub use crate::{
    control::{
        EndpointVerb, Reloaded,
        preflight::{Preflight, PreflightItem, PreflightResult, Recommendation},
        report::ReportFormat,
        rollouts::{ConditionStatus, Exposure, RolloutStatus, StepStatus, Verb, VerdictStatus},
        status::{
            BackendStatus, ConfigStatus, EndpointState, EndpointStatus, LastReload, Rate,
            ReloadOutcome, RouteStatus, SetBy, SplitSource, Status,
        },
    },
    telemetry::{Event, EventKind},
};

/// Every answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs, as in `not_found`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Every fault, where there are several.
    #[serde(default)]
    pub details: Vec<String>,
}

/// The answer of `GET /v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// In the order of their numbers.
    pub events: Vec<Event>,
}

/// The answer of `PUT /v1/routes/{route}/split`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitSet {
    /// The route as it is now.
    #[serde(flatten)]
    pub route: RouteStatus,
    /// Whether the state file holds it already; otherwise the end of the process may still take it away.
    pub durable: bool,
}

/// Body of a write that needs none: who and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Who, beyond what the connection says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Body of `PATCH /v1/rollouts/{name}`: thresholds by their key, as in `"rollback.0.for": "5s"`. The keys `actor` and
/// `reason` sign the change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ThresholdWish {
    /// Who and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is to change: texts, or numbers where a threshold is one.
    #[serde(flatten)]
    pub changes: BTreeMap<String, serde_json::Value>,
}

/// Body of `PUT /v1/routes/{route}/split`: percents by backend. Of the keys `actor` and `reason` the *texts* sign the
/// change; with a number they are backends like any other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SplitWish {
    /// Backends and percents, in the order in which they came; a name may come twice. `None` is a value that is no number:
    /// whoever knows the backends says so together with all else that is wrong.
    pub shares: Vec<(String, Option<f64>)>,
    /// Who and why.
    pub signature: Signature,
}

impl Serialize for SplitWish {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shares = self.shares.iter().map(|(name, share)| (name.as_str(), (*share).into()));
        let signature = [("actor", &self.signature.actor), ("reason", &self.signature.reason)];
        let signed = signature.into_iter().filter_map(|(key, text)| {
            text.as_ref().map(|text| (key, serde_json::Value::from(text.as_str())))
        });
        serializer.collect_map(shares.chain(signed).collect::<BTreeMap<_, serde_json::Value>>())
    }
}

impl<'de> Deserialize<'de> for SplitWish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WishVisitor)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ShareOrText {
    Share(f64),
    Text(String),
    Other(IgnoredAny),
}

struct WishVisitor;

impl<'de> Visitor<'de> for WishVisitor {
    type Value = SplitWish;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("percents by backend, as in {\"blue\": 50, \"green\": 50}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SplitWish, A::Error> {
        let mut wish = SplitWish::default();
        while let Some(key) = map.next_key::<String>()? {
            match (key.as_str(), map.next_value()?) {
                (_, ShareOrText::Share(share)) => wish.shares.push((key, Some(share))),
                ("actor", ShareOrText::Text(text)) => wish.signature.actor = Some(text),
                ("reason", ShareOrText::Text(text)) => wish.signature.reason = Some(text),
                (_, ShareOrText::Text(_) | ShareOrText::Other(_)) => wish.shares.push((key, None)),
            }
        }
        Ok(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_survives_its_json() {
        let wish = SplitWish {
            shares: vec![("blue".to_owned(), Some(99.5)), ("green".to_owned(), Some(0.5))],
            signature: Signature { actor: Some("alice".to_owned()), reason: None },
        };
        let text = serde_json::to_string(&wish).unwrap();
        assert_eq!(text, r#"{"actor":"alice","blue":99.5,"green":0.5}"#);
        assert_eq!(serde_json::from_str::<SplitWish>(&text).unwrap(), wish);
    }

    #[test]
    fn a_backend_named_twice_is_not_lost() {
        let wish: SplitWish = serde_json::from_str(r#"{"blue": 50, "blue": 50}"#).unwrap();
        assert_eq!(wish.shares.len(), 2);
    }

    #[test]
    fn a_share_that_is_no_number_is_kept_as_that() {
        for other in ["\"50\"", "null", "true", "[1]", "{\"a\": 1}"] {
            let wish = serde_json::from_str::<SplitWish>(&format!("{{\"blue\": {other}}}"));
            assert_eq!(wish.unwrap().shares, [("blue".to_owned(), None)], "{other}");
        }
        assert!(serde_json::from_str::<SplitWish>("[1]").is_err());
    }
}
