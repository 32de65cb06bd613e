//! `[[rollout.NAME.check]]`: a request with what must come back, or a program.

use std::collections::HashSet;

use super::{Place, command, leaf::HeaderKey, raw, unique};
use crate::config::{
    fault::{Refusal, quote},
    leaf::Line,
    model::{Check, CheckAction, CheckRequest, CheckTarget, Expectations, StatusSet},
    reader::{At, Reader},
};

/// The checks of the rollout at `key`, as `rollout.api`; those with faults are left out.
pub(in crate::config) fn checks(
    list: Vec<At<raw::Check>>,
    key: &str,
    reader: &mut Reader<'_>,
) -> Vec<Check> {
    let mut names = HashSet::new();
    let check = |(index, item): (usize, At<raw::Check>)| {
        let key = format!("{key}.check[{index}]");
        let mut place = Place { key, span: item.span, reader };
        let section = item.value;
        let name = unique(section.name, &mut names, &mut place);
        let action = match (section.exec, section.request) {
            (Some(exec), None) => {
                let expect = section.expect.as_ref().map(|at| ("expect", at.span));
                let target = section.target.written.then_some(("target", section.target.span));
                for (key, span) in expect.into_iter().chain(target) {
                    let refusal = Refusal::new("has no effect beside exec").hint("leave it out");
                    place.fault(span, key, refusal);
                }
                Some(CheckAction::Exec(command(exec, &mut place)?))
            }
            (None, Some(request)) => {
                http_check(request.value, section.expect, section.target.value, &mut place)
            }
            (Some(exec), Some(_)) => {
                let refusal = Refusal::new("stands beside request").hint("write one of the two");
                place.fault(exec.span, "exec", refusal);
                None
            }
            (None, None) => {
                let hint = "write request = { path = \"/health\" }, or exec = [\"./check.sh\"]";
                place.missing(&["request", "exec"], "there is nothing to do", hint);
                None
            }
        };
        Some(Check {
            name: name?,
            category: section.category.value,
            stages: section.stage.value.into_values(),
            interval: section.interval.value,
            timeout: section.timeout.value,
            required: section.required.value,
            action: action?,
        })
    };
    list.into_iter().enumerate().filter_map(check).collect()
}

fn http_check(
    request: raw::Request,
    expect: Option<At<raw::Expect>>,
    target: CheckTarget,
    place: &mut Place<'_, '_>,
) -> Option<CheckAction> {
    let path = &request.path;
    // What a request line cannot hold is refused here, not when the check runs.
    if !path.value.0.starts_with('/') || path.value.0.parse::<http::uri::PathAndQuery>().is_err() {
        let message = format!("{} is no path", quote(&path.value.0));
        let refusal = Refusal::new(message).hint("write it as \"/health?full=1\"");
        place.fault(path.span, "request.path", refusal);
        return None;
    }
    let expect = match expect {
        Some(expect) => Expectations {
            status: expect.value.status.value,
            max_latency: expect.value.max_latency.value.0,
            headers: headers(expect.value.header.value.0),
            body_contains: expect.value.body_contains.value.0,
            json: {
                let pairs = expect.value.json.value.0.into_iter();
                pairs.map(|(path, value)| (path.0, value.0)).collect()
            },
        },
        None => Expectations {
            status: StatusSet::ok(),
            max_latency: None,
            headers: Vec::new(),
            body_contains: "".into(),
            json: Vec::new(),
        },
    };
    let request = CheckRequest {
        method: request.method.value.0,
        path: request.path.value.0,
        headers: headers(request.headers.value.0),
        body: request.body.value.0,
    };
    Some(CheckAction::Http { target, request, expect })
}

fn headers(pairs: Vec<(HeaderKey, Line)>) -> Vec<(http::HeaderName, Box<str>)> {
    pairs.into_iter().map(|(name, value)| (name.0, value.0)).collect()
}
