//! Routes: what their keys mean together, and with one another.

use std::collections::HashMap;

use super::{
    edge,
    fault::{Refusal, quote},
    leaf::Line,
    model::{self, Affinity, HostPattern, OverrideSource},
    raw,
    reader::{At, Reader},
    source::Span,
    validate::{KnownBackends, refuse_repeated},
    words::AffinityBy,
};
use crate::domain::{Split, SplitError};

/// The routes of `list`; those with faults are left out.
pub(super) fn routes(
    list: Vec<At<raw::Route>>,
    backends: &KnownBackends,
    reader: &mut Reader<'_>,
) -> Vec<model::Route> {
    let mut taken = Taken::default();
    let mut routes = Vec::with_capacity(list.len());
    for (index, section) in list.into_iter().enumerate() {
        taken.claim(index, &section.value, reader);
        routes.extend(route(index, section, backends, reader));
    }
    routes
}

/// Names and places that earlier routes have.
#[derive(Default)]
struct Taken {
    names: HashMap<String, usize>,
    /// By host, then by path as written.
    places: HashMap<HostPattern, HashMap<String, usize>>,
}

impl Taken {
    fn claim(&mut self, index: usize, section: &raw::Route, reader: &mut Reader<'_>) {
        if let Some(name) = &section.name
            && let Some(other) = self.names.insert(name.value.as_str().to_owned(), index)
        {
            let message =
                format!("route[{other}] is already called {}", quote(name.value.as_str()));
            let key = format!("route[{index}].name");
            reader.fault(name.span, key, Refusal::new(message).hint("a name is used once"));
        }
        let path = section.path.value.to_string();
        for host in &section.host.value.0 {
            let paths = self.places.entry(host.value.clone()).or_default();
            let other = *paths.entry(path.clone()).or_insert(index);
            if other != index {
                let message = format!(
                    "route[{other}] already has host \"{}\" and path \"{path}\"",
                    host.value
                );
                let (span, key) = self::place_of(section);
                let hint = "no request would reach this route: change its host or path";
                let key = format!("route[{index}]{key}");
                reader.fault(span, key, Refusal::new(message).hint(hint));
            }
        }
    }
}

/// Where to point at when host and path are at fault: whichever was written, else the section.
fn place_of(section: &raw::Route) -> (Span, &'static str) {
    if section.path.written {
        (section.path.span, ".path")
    } else if section.host.written {
        (section.host.span, ".host")
    } else {
        (section.path.span, "")
    }
}

fn route(
    index: usize,
    At { value: section, span, .. }: At<raw::Route>,
    backends: &KnownBackends,
    reader: &mut Reader<'_>,
) -> Option<model::Route> {
    let key = |rest: &str| format!("route[{index}].{rest}");
    refuse_repeated(&section.host.value.0, |at| key(&format!("host[{at}]")), reader);
    let has_fault =
        |reader: &Reader<'_>| ["split", "redirect"].iter().any(|at| reader.has_fault_at(&key(at)));
    without_effect(&section, key, reader);
    let split = match (section.split, &section.redirect) {
        (Some(shares), None) => split(shares, key, backends, reader),
        (None, Some(_)) => Some(Split::none()),
        (Some(shares), Some(_)) => {
            let refusal = Refusal::new("a route that redirects has no backends");
            reader.fault(shares.span, key("split"), refusal.hint("leave out split, or redirect"));
            None
        }
        (None, None) if has_fault(reader) => None,
        (None, None) => {
            let hint = "add split = { blue = 100 }, or redirect = { to = \"https://…\" }";
            let refusal = Refusal::new("is missing: where do its requests go?");
            reader.fault(span, key("split"), refusal.hint(hint));
            None
        }
    };
    let affinity = affinity(section.affinity, key, reader);
    let mut overrides = Vec::with_capacity(section.r#override.value.0.len());
    for (at, item) in section.r#override.value.0.into_iter().enumerate() {
        let key = |rest: &str| key(&format!("override[{at}]{rest}"));
        overrides.extend(exception(item, key, backends, reader));
    }
    let retry = super::resilience::retry(section.retry, key, reader);
    let fallback = super::fallback::fallback(section.fallback, key, reader);
    let wishes = edge::Wishes {
        headers: section.headers,
        rewrite: section.rewrite,
        redirect: section.redirect,
        rate_limit: section.rate_limit,
        compress: section.compress,
    };
    let edge = edge::rules(wishes, &section.path.value, key, reader);
    let mirror =
        section.mirror.and_then(|mirror| super::mirror::mirror(mirror, key, backends, reader));
    Some(model::Route {
        name: section.name?.value,
        hosts: section.host.value.into_values(),
        path: section.path.value,
        split: split?,
        affinity: affinity?,
        overrides,
        timeouts: model::Timeouts {
            connect: section.timeouts.connect.value,
            first_byte: section.timeouts.first_byte.value,
            idle: section.timeouts.idle.value,
            total: section.timeouts.total.value.0,
        },
        max_body: section.max_body.value.0,
        expose_backend: section.expose_backend.value,
        retry,
        fallback,
        edge,
        mirror,
    })
}

/// A fault for each part of a redirect that only requests to a backend have a use for.
fn without_effect(section: &raw::Route, key: impl Fn(&str) -> String, reader: &mut Reader<'_>) {
    if section.redirect.is_none() {
        return;
    }
    let parts = [
        ("rewrite", section.rewrite.as_ref().map(|part| part.span)),
        ("compress", section.compress.as_ref().map(|part| part.span)),
        ("mirror", section.mirror.as_ref().map(|part| part.span)),
    ];
    for (name, span) in parts {
        let Some(span) = span else { continue };
        let refusal = Refusal::new("has no effect: the route redirects, and no backend is asked");
        reader.fault(span, key(name), refusal.hint(format!("leave out {name}, or redirect")));
    }
}

fn split(
    shares: At<raw::Shares>,
    key: impl Fn(&str) -> String,
    backends: &KnownBackends,
    reader: &mut Reader<'_>,
) -> Option<Split> {
    let At { value, span, .. } = shares;
    let complete = value.complete;
    for (name, _) in &value.entries {
        let key = || key(&format!("split.{}", name.value));
        backends.check(&name.value, name.span, key, reader);
    }
    let pairs = value.entries.into_iter().map(|(name, weight)| (name.value, weight.value));
    match Split::new(pairs.collect()) {
        Ok(split) => Some(split),
        // A share that could not be read is missing from the sum, and has a fault of its own.
        Err(SplitError::Sum(_) | SplitError::Empty) if !complete => None,
        Err(error) => {
            let refusal = Refusal::new(error.to_string());
            let refusal = match error {
                SplitError::Sum(sum) => refusal.hint(mend_sum(sum)),
                SplitError::Twice(_) | SplitError::Empty => refusal,
            };
            reader.fault(span, key("split"), refusal);
            None
        }
    }
}

fn mend_sum(sum: u32) -> String {
    let (verb, points) = match 10_000_u32.checked_sub(sum) {
        Some(missing) => ("add", missing),
        None => ("take away", sum - 10_000),
    };
    format!("{verb} {}; weights are percentages", f64::from(points) / 100.0)
}

fn affinity(
    section: raw::Affinity,
    key: impl Fn(&str) -> String,
    reader: &mut Reader<'_>,
) -> Option<Affinity> {
    let by = section.by.value;
    let no_effect = |span, rest: &str, reader: &mut Reader<'_>| {
        let refusal = Refusal::new("has no effect with this \"by\"").hint("leave it out");
        reader.fault(span, key(&format!("affinity.{rest}")), refusal);
    };
    let has_secret = !section.secret_file.value.as_os_str().is_empty();
    if by != AffinityBy::Cookie {
        if section.ttl.written {
            no_effect(section.ttl.span, "ttl", reader);
        }
        if has_secret {
            no_effect(section.secret_file.span, "secret_file", reader);
        }
    }
    let name_key = || key("affinity.name");
    match by {
        AffinityBy::Cookie => Some(Affinity::Cookie {
            name: match section.name {
                Some(name) => cookie_name(name, name_key(), reader)?,
                None => super::defaults::COOKIE_NAME.into(),
            },
            ttl: section.ttl.value,
            secret_file: has_secret.then_some(section.secret_file.value),
        }),
        AffinityBy::AppCookie => {
            let name = required_name(section.name, section.by.span, name_key(), reader)?;
            Some(Affinity::AppCookie { name: cookie_name(name, name_key(), reader)? })
        }
        AffinityBy::Header => {
            let name = required_name(section.name, section.by.span, name_key(), reader)?;
            Some(Affinity::Header { name: header_name(&name, name_key(), reader)? })
        }
        AffinityBy::ClientIp | AffinityBy::None => {
            section.name.iter().for_each(|name| no_effect(name.span, "name", reader));
            Some(if by == AffinityBy::None { Affinity::None } else { Affinity::ClientIp })
        }
    }
}

fn required_name(
    name: Option<At<Line>>,
    by: Span,
    key: String,
    reader: &mut Reader<'_>,
) -> Option<At<Line>> {
    if name.is_none() {
        let refusal = Refusal::new("is missing: which cookie or header is it?");
        reader.fault(by, key, refusal.hint("add name = \"…\" beside by"));
    }
    name
}

fn exception(
    item: At<raw::Override>,
    key: impl Fn(&str) -> String,
    backends: &KnownBackends,
    reader: &mut Reader<'_>,
) -> Option<model::Override> {
    let At { value: section, span, .. } = item;
    if let Some(backend) = &section.backend {
        backends.check(&backend.value, backend.span, || key(".backend"), reader);
    }
    let source = match (section.header, section.cookie, section.query) {
        (Some(name), None, None) => {
            header_name(&name, key(".header"), reader).map(OverrideSource::Header)
        }
        (None, Some(name), None) => {
            cookie_name(name, key(".cookie"), reader).map(OverrideSource::Cookie)
        }
        (None, None, Some(name)) => {
            query_name(name, key(".query"), reader).map(OverrideSource::Query)
        }
        (None, None, None)
        | (Some(_), Some(_), _)
        | (Some(_), _, Some(_))
        | (_, Some(_), Some(_)) => {
            let refusal = Refusal::new("needs exactly one of header, cookie, query");
            reader.fault(
                span,
                key(""),
                refusal.hint("for several conditions write several overrides"),
            );
            None
        }
    };
    Some(model::Override {
        source: source?,
        equals: section.equals?.value.0,
        backend: section.backend?.value,
    })
}

fn header_name(name: &At<Line>, key: String, reader: &mut Reader<'_>) -> Option<http::HeaderName> {
    let parsed = name.value.0.parse();
    if parsed.is_err() {
        let message = format!("{} is no header's name", quote(&name.value.0));
        reader.fault(name.span, key, Refusal::new(message));
    }
    parsed.ok()
}

/// RFC 6265: a cookie's name is a token.
fn cookie_name(name: At<Line>, key: String, reader: &mut Reader<'_>) -> Option<Box<str>> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.value.0.bytes().all(token) {
        return Some(name.value.0);
    }
    let message = format!("{} is no cookie's name", quote(&name.value.0));
    reader.fault(name.span, key, Refusal::new(message).hint("use letters, digits, '-', '_'"));
    None
}

/// A name is compared as it stands between `&` and `=`.
fn query_name(name: At<Line>, key: String, reader: &mut Reader<'_>) -> Option<Box<str>> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"&=#".contains(&byte);
    if name.value.0.bytes().all(plain) {
        return Some(name.value.0);
    }
    let message = format!("{} is no query parameter's name", quote(&name.value.0));
    reader.fault(
        name.span,
        key,
        Refusal::new(message).hint("write it as it stands in the address"),
    );
    None
}
