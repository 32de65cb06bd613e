//! `[[rollout.NAME.hook]]`: where it is called, and what.

use std::collections::HashSet;

use super::{Place, command, raw, unique};
use crate::{
    config::{
        fault::Refusal,
        leaf::Whole,
        model::{Hook, HookAction},
        reader::{At, Reader},
    },
    domain::HookPoint,
};

/// The rung of a rollback hook that names none: the application's.
const APPLICATION_LEVEL: u8 = 3;

/// The rung of the traffic, which Tidegate climbs itself.
const TRAFFIC_LEVEL: u64 = 2;

/// The hooks of the rollout at `key`, as `rollout.api`; those with faults are left out.
pub(in crate::config) fn hooks(
    list: Vec<At<raw::Hook>>,
    key: &str,
    reader: &mut Reader<'_>,
) -> Vec<Hook> {
    let mut names = HashSet::new();
    let hook = |(index, item): (usize, At<raw::Hook>)| {
        let key = format!("{key}.hook[{index}]");
        let mut place = Place { key, span: item.span, reader };
        let section = item.value;
        let name = unique(section.name, &mut names, &mut place);
        let point = section.on.as_ref().map(|on| on.value);
        let level = point.and_then(|point| level(point, section.level, &mut place));
        if let Some(point) = point.filter(|point| section.required.value && !point.can_hold()) {
            let message = format!("has no effect on \"{}\": nothing waits for it", point.label());
            let refusal = Refusal::new(message).hint("leave it out");
            place.fault(section.required.span, "required", refusal);
        }
        let action = match (section.exec, section.url) {
            (Some(exec), None) => Some(HookAction::Exec(command(exec, &mut place)?)),
            (None, Some(url)) => Some(HookAction::Post(url.value.0)),
            (Some(_), Some(url)) => {
                let refusal = Refusal::new("stands beside exec").hint("write one of the two");
                place.fault(url.span, "url", refusal);
                None
            }
            (None, None) => {
                let hint = "write exec = [\"program\", \"argument\"], or url = \"https://…\"";
                place.missing(&["exec", "url"], "there is nothing to call", hint);
                None
            }
        };
        Some(Hook {
            name: name?,
            point: point?,
            level,
            action: action?,
            timeout: section.timeout.value,
            required: section.required.value,
        })
    };
    list.into_iter().enumerate().filter_map(hook).collect()
}

fn level(
    point: HookPoint,
    level: Option<At<Whole<1, 4>>>,
    place: &mut Place<'_, '_>,
) -> Option<u8> {
    let Some(level) = level else {
        return (point == HookPoint::Rollback).then_some(APPLICATION_LEVEL);
    };
    let refusal = if point != HookPoint::Rollback {
        Refusal::new("has no effect but on \"rollback\"").hint("leave it out")
    } else if level.value.0 == TRAFFIC_LEVEL {
        Refusal::new("2 is the traffic, which Tidegate moves itself, and first")
            .hint("write 1 (feature flags), 3 (application) or 4 (database)")
    } else {
        return u8::try_from(level.value.0).ok();
    };
    place.fault(level.span, "level", refusal);
    None
}
