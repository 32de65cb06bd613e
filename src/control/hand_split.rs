//! Splits that an operator set by hand, and when the file takes its word back.
//!
//! The rule: a split set by hand stays in force over reloads and restarts until the *file's* value for its route changes.
//! What the file said when the hand spoke is therefore kept beside the split.

use std::collections::BTreeMap;

use crate::{
    config::Config,
    domain::{BackendName, RouteName, Split},
};

/// Every split set by hand, by its route.
pub type HandSplits = BTreeMap<RouteName, HandSplit>;

/// A split that an operator set, in force instead of the file's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandSplit {
    /// The shares in force.
    pub split: Split,
    /// What the file said when the split was set.
    pub file_split: Split,
    /// Who set it.
    pub actor: String,
    /// Why, if they said so.
    pub reason: Option<String>,
    /// When, in Unix milliseconds.
    pub at: u64,
}

/// Why a split set by hand gives way to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Superseded {
    /// The file has no such route any more.
    RouteGone,
    /// The file's value is another than when the hand spoke.
    FileChanged,
    /// The split names a backend that the file no longer defines.
    BackendGone,
}

impl Superseded {
    /// The reason in words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::RouteGone => "the file no longer has the route",
            Self::FileChanged => "the file's split for the route has changed",
            Self::BackendGone => "the file no longer has a backend that it names",
        }
    }
}

impl HandSplit {
    /// Whether, and why, `config` overrules this split of `route`.
    pub fn superseded_by(&self, route: &RouteName, config: &Config) -> Option<Superseded> {
        let Some(written) = config.routes.iter().find(|known| known.name == *route) else {
            return Some(Superseded::RouteGone);
        };
        let defined =
            |name: &BackendName| config.backends.iter().any(|backend| backend.name == *name);
        if !self.split.shares().iter().all(|(name, _)| defined(name)) {
            Some(Superseded::BackendGone)
        } else if written.split != self.file_split {
            Some(Superseded::FileChanged)
        } else {
            None
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::Weight;

    /// A split from names and percents.
    pub(in crate::control) fn split(shares: &[(&str, f64)]) -> Split {
        let share = |(name, percent): &(&str, f64)| {
            (BackendName::new(name).unwrap(), Weight::from_percent(*percent).unwrap())
        };
        Split::new(shares.iter().map(share).collect()).unwrap()
    }

    /// A configuration with one route `api` over `blue` and `green`.
    pub(in crate::control) fn config(split: &str) -> Config {
        let text = format!(
            "[[listener]]\nbind = \"127.0.0.1:8080\"\n\
             [backend.blue]\nendpoints = [\"127.0.0.1:9001\"]\n\
             [backend.green]\nendpoints = [\"127.0.0.1:9002\"]\n\
             [[route]]\nname = \"api\"\nsplit = {split}\n"
        );
        crate::config::parse(&text, "test.toml", &|_| None).unwrap()
    }

    fn hand(split: Split, file_split: Split) -> HandSplit {
        HandSplit { split, file_split, actor: "uid:1".to_owned(), reason: None, at: 1 }
    }

    #[test]
    fn the_hand_holds_until_the_files_value_changes() {
        let api = RouteName::new("api").unwrap();
        let nine_to_one = split(&[("blue", 90.0), ("green", 10.0)]);
        let even = hand(split(&[("blue", 50.0), ("green", 50.0)]), nine_to_one);
        assert_eq!(even.superseded_by(&api, &config("{ blue = 90, green = 10 }")), None);
        let changed = config("{ blue = 80, green = 20 }");
        assert_eq!(even.superseded_by(&api, &changed), Some(Superseded::FileChanged));
        let gone = RouteName::new("gone").unwrap();
        assert_eq!(even.superseded_by(&gone, &changed), Some(Superseded::RouteGone));
    }

    #[test]
    fn a_backend_that_is_gone_takes_the_split_with_it() {
        let api = RouteName::new("api").unwrap();
        let file = split(&[("blue", 90.0), ("green", 10.0)]);
        let purple = hand(split(&[("purple", 100.0)]), file);
        let reason = purple.superseded_by(&api, &config("{ blue = 90, green = 10 }"));
        assert_eq!(reason, Some(Superseded::BackendGone));
    }
}
