//! Thresholds changed by hand while a rollout runs.
//!
//! Only what a rollout is judged by can be changed, not its shape: no step comes, goes or gets another weight.

use std::{fmt, time::Duration};

use super::{Limit, Plan, Rule, Span};
use crate::domain::{
    Condition,
    condition::{Externals, Oddity, Purpose},
    duration::{format_duration, parse_duration},
    nearest,
};

/// What a change by hand did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdChange {
    /// The key, as it was given.
    pub key: String,
    /// What stood there.
    pub before: String,
    /// What stands there now.
    pub after: String,
}

impl fmt::Display for ThresholdChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} → {}", self.key, self.before, self.after)
    }
}

/// Why a threshold is not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanFault {
    /// No such key.
    UnknownKey {
        /// As it was given.
        key: String,
        /// The nearest key, when one is near enough.
        meant: Option<String>,
        /// Every key of this plan.
        known: Vec<String>,
    },
    /// The value does not fit the key.
    BadValue {
        /// The key.
        key: String,
        /// What is wrong with the value, over several lines where it shows a place.
        why: String,
    },
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key, meant, known } => {
                write!(f, "there is no key {key:?}")?;
                match meant {
                    Some(meant) => write!(f, "; did you mean {meant}?"),
                    None => write!(f, "; known: {}", known.join(", ")),
                }
            }
            Self::BadValue { key, why } => write!(f, "{key}: {why}"),
        }
    }
}

impl std::error::Error for PlanFault {}

/// Longest duration that can be set.
const LONGEST: Duration = Duration::from_hours(400 * 24);

impl Plan {
    /// Changes the threshold at `key` to `value`.
    ///
    /// # Errors
    /// [`PlanFault`], and the plan stays as it was.
    pub fn set(
        &mut self,
        key: &str,
        value: &str,
        externals: Externals<'_>,
    ) -> Result<ThresholdChange, PlanFault> {
        let Some(slot) = self.slot(key) else {
            let known = self.keys();
            let meant = nearest(key, known.iter().map(String::as_str)).map(str::to_owned);
            return Err(PlanFault::UnknownKey {
                key: key.chars().take(100).collect(),
                meant,
                known,
            });
        };
        let before = slot.show();
        let after = slot
            .write(value.trim(), externals)
            .map_err(|why| PlanFault::BadValue { key: key.to_owned(), why })?;
        Ok(ThresholdChange { key: key.to_owned(), before, after })
    }

    /// Every key that [`Self::set`] knows, with its present value.
    pub fn thresholds(&self) -> Vec<(String, String)> {
        let mut copy = self.clone();
        let shown = |key: String| {
            let value = copy.slot(&key)?.show();
            Some((key, value))
        };
        self.keys().into_iter().filter_map(shown).collect()
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = PLAIN_KEYS.iter().map(|key| (*key).to_owned()).collect();
        for step in &self.steps {
            keys.push(format!("step.{}.hold", step.name));
            let criteria = 0..step.require.len();
            keys.extend(criteria.map(|at| format!("step.{}.require.{at}", step.name)));
        }
        for (list, count) in [("rollback", self.rollback.len()), ("alert", self.alerts.len())] {
            let parts = (0..count).flat_map(|at| ["when", "for"].map(|part| (at, part)));
            keys.extend(parts.map(|(at, part)| format!("{list}.{at}.{part}")));
        }
        keys
    }

    fn slot(&mut self, key: &str) -> Option<Slot<'_>> {
        Some(match key {
            "window" => Slot::Duration { value: &mut self.window, least: SHORTEST_WINDOW },
            "min_requests" => Slot::Count(&mut self.min_requests),
            "settle" => Slot::Duration { value: &mut self.settle, least: Duration::ZERO },
            "on_thin_traffic" => Slot::OnThinTraffic(&mut self.on_thin_traffic),
            "on_failure" => Slot::OnFailure(&mut self.on_failure),
            "external" => Slot::External(&mut self.external),
            "deadline" => Slot::Deadline(&mut self.deadline),
            "breaker.consecutive_failures" => Slot::Limit(&mut self.breaker.consecutive_failures),
            "breaker.failure_share" => Slot::Share(&mut self.breaker.failure_share),
            "breaker.of_at_least" => Slot::Count(&mut self.breaker.of_at_least),
            "budget.max_bad_responses" => Slot::Limit(&mut self.budget.max_bad_responses),
            "budget.max_exposed_keys" => Slot::Limit(&mut self.budget.max_exposed_keys),
            other => return self.listed_slot(other),
        })
    }

    /// `step.NAME.hold`, `step.NAME.require.N`, `rollback.N.when`, `alert.N.for`. Names may hold dots, so they are
    /// looked for from both ends.
    fn listed_slot(&mut self, key: &str) -> Option<Slot<'_>> {
        let (list, rest) = key.split_once('.')?;
        if list == "step" {
            let name = |suffix: &str| rest.strip_suffix(suffix).map(str::to_owned);
            if let Some(name) = name(".hold") {
                let step = self.steps.iter_mut().find(|step| step.name.as_str() == name)?;
                return Some(Slot::Duration { value: &mut step.hold, least: Duration::ZERO });
            }
            let (rest, index) = rest.rsplit_once('.')?;
            let name = rest.strip_suffix(".require")?;
            let step = self.steps.iter_mut().find(|step| step.name.as_str() == name)?;
            let criterion = step.require.get_mut(index.parse::<usize>().ok()?);
            return criterion.map(|condition| Slot::Condition(condition, Purpose::Criterion));
        }
        let (index, part) = rest.split_once('.')?;
        let index = index.parse::<usize>().ok()?;
        let rule = match list {
            "rollback" => self.rollback.get_mut(index)?,
            "alert" => &mut self.alerts.get_mut(index)?.rule,
            _ => return None,
        };
        let Rule { when, lasting, steps: _ } = rule;
        match part {
            "when" => Some(Slot::Condition(when, Purpose::Rule)),
            "for" => Some(Slot::Duration { value: lasting, least: Duration::ZERO }),
            _ => None,
        }
    }
}

/// Keys that every plan has.
const PLAIN_KEYS: &[&str] = &[
    "window",
    "min_requests",
    "settle",
    "on_thin_traffic",
    "on_failure",
    "external",
    "deadline",
    "breaker.consecutive_failures",
    "breaker.failure_share",
    "breaker.of_at_least",
    "budget.max_bad_responses",
    "budget.max_exposed_keys",
];

const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

/// The place that a key stands for.
enum Slot<'p> {
    Duration { value: &'p mut Duration, least: Duration },
    Deadline(&'p mut Limit<Span>),
    Count(&'p mut u64),
    Limit(&'p mut Limit<u64>),
    Share(&'p mut f64),
    Condition(&'p mut Condition, Purpose),
    OnThinTraffic(&'p mut super::OnThinTraffic),
    OnFailure(&'p mut super::OnFailure),
    External(&'p mut super::ExternalSources),
}

impl Slot<'_> {
    fn show(&self) -> String {
        match self {
            Self::Duration { value, .. } => format_duration(**value),
            Self::Deadline(value) => value.to_string(),
            Self::Count(value) => value.to_string(),
            Self::Limit(value) => value.to_string(),
            Self::Share(value) => format!("{}%", **value * 100.0),
            Self::Condition(value, _) => value.to_string(),
            Self::OnThinTraffic(value) => value.to_string(),
            Self::OnFailure(value) => value.to_string(),
            Self::External(value) => value.to_string(),
        }
    }

    /// Writes `text` and says how it now reads, or what is wrong with it.
    fn write(mut self, text: &str, externals: Externals<'_>) -> Result<String, String> {
        match &mut self {
            Self::Duration { value, least } => **value = duration(text, *least)?,
            Self::Deadline(value) => {
                **value = limit(text, |text| duration(text, SHORTEST_WINDOW).map(Span))?;
            }
            Self::Count(value) => **value = count(text)?,
            Self::Limit(value) => **value = limit(text, count)?,
            Self::Share(value) => **value = share(text)?,
            Self::Condition(value, purpose) => {
                let parsed =
                    Condition::parse(text, externals).map_err(|fault| fault.to_string())?;
                if let Some(Oddity::Fault(fault)) = parsed.oddity(text, *purpose) {
                    return Err(fault.to_string());
                }
                **value = parsed;
            }
            Self::OnThinTraffic(value) => {
                let words = super::OnThinTraffic::WORDS;
                **value = word(super::OnThinTraffic::of_word(text), text, words)?;
            }
            Self::OnFailure(value) => {
                **value = word(super::OnFailure::of_word(text), text, super::OnFailure::WORDS)?;
            }
            Self::External(value) => {
                let words = super::ExternalSources::WORDS;
                **value = word(super::ExternalSources::of_word(text), text, words)?;
            }
        }
        Ok(self.show())
    }
}

fn duration(text: &str, least: Duration) -> Result<Duration, String> {
    let parsed = parse_duration(text).filter(|value| (least..=LONGEST).contains(value));
    parsed.ok_or_else(|| {
        let (least, most) = (format_duration(least), format_duration(LONGEST));
        format!("expected a duration from \"{least}\" to \"{most}\", found {text:?}")
    })
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a whole number, found {text:?}"))
}

fn limit<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Limit<T>, String> {
    if text == "off" {
        return Ok(Limit::Off);
    }
    read(text).map(Limit::At).map_err(|why| format!("{why}; \"off\" for none"))
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
        Some(percent) => Ok(percent / 100.0),
        None => Err(format!("expected a share such as \"50%\", found {text:?}")),
    }
}

fn word<T>(found: Option<T>, text: &str, words: &[&str]) -> Result<T, String> {
    found.ok_or_else(|| format!("expected one of {}, found {text:?}", words.join(", ")))
}
