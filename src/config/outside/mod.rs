//! Metrics, sinks of notifications, checks and hooks: what their keys mean together.

mod facts;
mod leaf;
pub(super) mod raw;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

pub(super) use raw::SinkWord;

use super::{
    fault::{Refusal, quote},
    leaf::Line,
    model::{
        Address, Check, CheckAction, CheckRequest, CheckTarget, Email, Expectations, Hook,
        HookAction, Metric, Sink, SinkKind, StatusSet,
    },
    reader::{At, Reader},
    source::Span,
};
use crate::domain::{HookPoint, MetricName, SinkName};

/// The rung of a rollback hook that names none: the application's.
const APPLICATION_LEVEL: u8 = 3;

/// The rung of the traffic, which Tidegate climbs itself.
const TRAFFIC_LEVEL: u64 = 2;

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

/// The sinks of `named`; those with faults are left out.
pub(super) fn sinks(
    named: Vec<(At<SinkName>, At<raw::Notify>)>,
    reader: &mut Reader<'_>,
) -> Vec<Sink> {
    let sink = |(name, section): (At<SinkName>, At<raw::Notify>)| {
        let mut place = Place { key: format!("notify.{}", name.value), span: section.span, reader };
        let mut section = section.value;
        refuse_keys_of_others(&section, &mut place);
        let kind = match section.kind.as_ref()?.value {
            SinkWord::Slack => SinkKind::Slack(address(&mut section, &mut place)?),
            SinkWord::Alertmanager => SinkKind::Alertmanager(address(&mut section, &mut place)?),
            SinkWord::Webhook => SinkKind::Webhook {
                url: address(&mut section, &mut place)?,
                secret_file: section.secret_file.map(|path| path.value),
            },
            SinkWord::Email => SinkKind::Email(email(&mut section, &mut place)?),
        };
        Some(Sink {
            name: name.value,
            kind,
            events: section.events.value.into_values(),
            min_severity: section.min_severity.value,
            timeout: section.timeout.value,
        })
    };
    named.into_iter().filter_map(sink).collect()
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

fn refuse_keys_of_others(section: &raw::Notify, place: &mut Place<'_, '_>) {
    let Some(kind) = section.kind.as_ref().map(|kind| kind.value) else { return };
    let span = |present: bool, span: Span| present.then_some(span);
    let (mail, webhook) = (kind == SinkWord::Email, kind == SinkWord::Webhook);
    let keys = [
        (!mail, "url", section.url.as_ref().map(|at| at.span)),
        (!mail, "url_file", section.url_file.as_ref().map(|at| at.span)),
        (webhook, "secret_file", section.secret_file.as_ref().map(|at| at.span)),
        (mail, "smtp", section.smtp.as_ref().map(|at| at.span)),
        (mail, "from", section.from.as_ref().map(|at| at.span)),
        (mail, "to", span(section.to.written, section.to.span)),
        (mail, "user", section.user.as_ref().map(|at| at.span)),
        (mail, "password_file", section.password_file.as_ref().map(|at| at.span)),
    ];
    for (belongs, key, span) in keys {
        if let Some(span) = span.filter(|_| !belongs) {
            let refusal = Refusal::new("has no effect with this \"kind\"").hint("leave it out");
            place.fault(span, key, refusal);
        }
    }
}

fn address(section: &mut raw::Notify, place: &mut Place<'_, '_>) -> Option<Address> {
    match (section.url.take(), section.url_file.take()) {
        (Some(url), None) => Some(Address::Url(url.value.0)),
        (None, Some(file)) => Some(Address::File(file.value)),
        (Some(_), Some(file)) => {
            let refusal = Refusal::new("stands beside url").hint("write one of the two");
            place.fault(file.span, "url_file", refusal);
            None
        }
        (None, None) => {
            place.missing(
                &["url", "url_file"],
                "the address is missing",
                "write url = \"https://…\", or url_file",
            );
            None
        }
    }
}

fn email(section: &mut raw::Notify, place: &mut Place<'_, '_>) -> Option<Email> {
    let to: Vec<_> = section.to.value.0.iter().map(|to| to.value.0.clone()).collect();
    if section.smtp.is_none() {
        place.missing(
            &["smtp"],
            "the key \"smtp\" is missing",
            "write smtp = \"smtp://127.0.0.1:25\"",
        );
    }
    if section.from.is_none() {
        place.missing(
            &["from"],
            "the key \"from\" is missing",
            "write from = \"tidegate@example.com\"",
        );
    }
    if to.is_empty() && !section.to.written {
        place.missing(&["to"], "the key \"to\" is missing", "write to = [\"oncall@example.com\"]");
    } else if to.is_empty() {
        place.fault(section.to.span, "to", Refusal::new("nobody would get it"));
    }
    let login = match (section.user.take(), section.password_file.take()) {
        (Some(user), Some(file)) => Some((user.value.0, file.value)),
        (None, None) => None,
        (Some(user), None) => {
            let refusal = Refusal::new("has no effect without password_file");
            place.fault(user.span, "user", refusal);
            None
        }
        (None, Some(file)) => {
            let refusal = Refusal::new("has no effect without user");
            place.fault(file.span, "password_file", refusal);
            None
        }
    };
    let (smtp, from) = (section.smtp.take()?.value, section.from.take()?.value.0);
    Some(Email { host: smtp.host, port: smtp.port, security: smtp.security, from, to, login })
}

/// The checks of the rollout at `key`, as `rollout.api`; those with faults are left out.
pub(super) fn checks(list: Vec<At<raw::Check>>, key: &str, reader: &mut Reader<'_>) -> Vec<Check> {
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

fn headers(pairs: Vec<(leaf::HeaderKey, Line)>) -> Vec<(http::HeaderName, Box<str>)> {
    pairs.into_iter().map(|(name, value)| (name.0, value.0)).collect()
}

/// The hooks of the rollout at `key`, as `rollout.api`; those with faults are left out.
pub(super) fn hooks(list: Vec<At<raw::Hook>>, key: &str, reader: &mut Reader<'_>) -> Vec<Hook> {
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
    level: Option<At<super::leaf::Whole<1, 4>>>,
    place: &mut Place<'_, '_>,
) -> Option<u8> {
    match (point, level) {
        (HookPoint::Rollback, None) => Some(APPLICATION_LEVEL),
        (HookPoint::Rollback, Some(level)) if level.value.0 == TRAFFIC_LEVEL => {
            let refusal = Refusal::new("2 is the traffic, which Tidegate moves itself, and first");
            let hint = "write 1 (feature flags), 3 (application) or 4 (database)";
            place.fault(level.span, "level", refusal.hint(hint));
            None
        }
        (HookPoint::Rollback, Some(level)) => u8::try_from(level.value.0).ok(),
        (_, None) => None,
        (_, Some(level)) => {
            let refusal = Refusal::new("has no effect but on \"rollback\"").hint("leave it out");
            place.fault(level.span, "level", refusal);
            None
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
