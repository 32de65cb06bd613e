//! Metrics, sinks of notifications, checks and hooks: what their keys mean together.

mod check;
mod facts;
mod hook;
mod leaf;
pub(super) mod raw;
mod sink;
mod traces;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

pub(super) use check::checks;
pub(super) use facts::discreet;
pub(super) use hook::hooks;
pub(super) use raw::SinkWord;
pub(super) use sink::sinks;
pub(super) use traces::traces;

use super::{
    fault::{Refusal, quote},
    leaf::Line,
    model::Metric,
    reader::{At, Reader},
    source::Span,
};
use crate::domain::MetricName;

/// The metrics of `named`; those with faults are left out.
pub(super) fn metrics(
    named: Vec<(At<MetricName>, At<raw::Metric>)>,
    reader: &mut Reader<'_>,
) -> Vec<Metric> {
    let metric = |(name, section): (At<MetricName>, At<raw::Metric>)| {
        let section = section.value;
        let (interval, timeout) = (section.interval, section.timeout);
        if timeout.value > interval.value {
            let refusal = Refusal::new("is longer than the interval: queries would pile up");
            let (span, key) = if timeout.written {
                (timeout.span, "timeout")
            } else {
                (interval.span, "interval")
            };
            let hint = "a timeout is at most as long as the interval";
            reader.fault(span, format!("metric.{}.{key}", name.value), refusal.hint(hint));
        }
        Some(Metric {
            name: name.value,
            prometheus: section.prometheus?.value.0.trim_end_matches('/').into(),
            query: section.query?.value.0,
            unit: section.unit.value,
            interval: interval.value,
            timeout: timeout.value,
            token_file: section.token_file.map(|path| path.value),
        })
    };
    named.into_iter().filter_map(metric).collect()
}

/// A section and where its faults go.
struct Place<'p, 's> {
    key: String,
    span: Span,
    reader: &'p mut Reader<'s>,
}

impl Place<'_, '_> {
    fn fault(&mut self, span: Span, key: &str, refusal: Refusal) {
        self.reader.fault(span, format!("{}.{key}", self.key), refusal);
    }

    /// A fault for `what`, unless one of `keys` is there and could not be read.
    fn missing(&mut self, keys: &[&str], what: &str, hint: &str) {
        let faulty = |key: &&str| self.reader.has_fault_at(&format!("{}.{key}", self.key));
        if !keys.iter().any(faulty) {
            self.reader.fault(self.span, self.key.clone(), Refusal::new(what).hint(hint));
        }
    }
}

fn command(exec: At<raw::Command>, place: &mut Place<'_, '_>) -> Option<Vec<Box<str>>> {
    let words: Vec<Box<str>> = exec.value.0.into_iter().map(|word| word.value.0).collect();
    if words.first().is_none_or(|program| program.is_empty()) {
        place.fault(exec.span, "exec", Refusal::new("the program's name is empty"));
        return None;
    }
    Some(words)
}

fn unique(
    name: Option<At<Line>>,
    names: &mut HashSet<Box<str>>,
    place: &mut Place<'_, '_>,
) -> Option<Box<str>> {
    let name = name?;
    if !names.insert(name.value.0.clone()) {
        let message = format!("{} is taken already", quote(&name.value.0));
        place.fault(name.span, "name", Refusal::new(message).hint("a name is used once"));
    }
    Some(name.value.0)
}
