//! The steps of a rollout: their names, their weights and what they require.

use std::collections::HashSet;

use super::{Place, Purpose, all, leaf::GateWord, raw};
use crate::{
    config::{
        collection::List,
        fault::{Refusal, quote},
        reader::At,
    },
    domain::{StepName, Weight, plan::Step},
};

/// Names of the steps, where they could be read.
pub(super) fn names(list: Option<&At<List<raw::Step, 1, 64>>>) -> HashSet<StepName> {
    let steps = list.into_iter().flat_map(|list| &list.value.0);
    steps.filter_map(|step| step.value.name.as_ref().map(|name| name.value.clone())).collect()
}

impl Place<'_, '_> {
    pub(super) fn steps(&mut self, list: At<List<raw::Step, 1, 64>>) -> Option<Vec<Step>> {
        let mut seen = HashSet::new();
        let mut before: Option<Weight> = None;
        let mut steps = Vec::with_capacity(list.value.0.len());
        for (index, At { value: step, .. }) in list.value.0.into_iter().enumerate() {
            if let Some(name) = step.name.as_ref().filter(|name| !seen.insert(name.value.clone())) {
                let message = format!("{} is taken already", quote(name.value.as_str()));
                let refusal = Refusal::new(message).hint("a name is used once");
                self.fault(name.span, &format!("step[{index}].name"), refusal);
            }
            if let (Some(before), Some(weight)) = (before, &step.weight)
                && weight.value < before
            {
                let message = format!("falls from {before} to {}", weight.value);
                let hint = "a rollout only goes forward by itself; put the steps in order";
                let refusal = Refusal::new(message).hint(hint);
                self.fault(weight.span, &format!("step[{index}].weight"), refusal);
            }
            before = step.weight.as_ref().map(|weight| weight.value).or(before);
            steps.push(self.step(index, step));
        }
        all(steps)
    }

    fn step(&mut self, index: usize, step: raw::Step) -> Option<Step> {
        let weight = step.weight.map(|weight| weight.value);
        let mut require = Vec::with_capacity(step.require.value.0.len());
        for (at, text) in step.require.value.0.into_iter().enumerate() {
            let (key, span) = (format!("step[{index}].require[{at}]"), text.span);
            let condition = self.condition(&key, &text, Purpose::Criterion);
            let compares = condition.as_ref().is_some_and(|c| c.needs_baseline_traffic());
            if compares && weight == Some(Weight::FULL) {
                let refusal = Refusal::new(
                    "can never be met: at 100 % the baseline gets no requests to compare with",
                );
                let hint = "compare with the baseline in a step before, and with a number here";
                self.fault(span, &key, refusal.hint(hint));
            }
            require.push(condition);
        }
        Some(Step {
            name: step.name?.value,
            weight: weight?,
            hold: step.hold?.value.0,
            gate: step.gate.value == GateWord::Manual,
            require: all(require)?,
        })
    }
}
