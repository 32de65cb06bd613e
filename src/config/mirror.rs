//! `[route.mirror]`: what it asks for, and what is odd about it.

use std::fmt;

use http::{HeaderName, Method};

use super::{
    Config, Warning,
    facts::list,
    fault::{Refusal, quote},
    leaf::Line,
    model, raw,
    reader::{At, Reader},
    units::{format_duration, format_size},
    validate::{KnownBackends, refuse_repeated},
};
use crate::domain::{MirrorDepth, Weight};

/// The mirror that a route's section asks for.
pub(super) fn mirror(
    section: At<raw::Mirror>,
    key: impl Fn(&str) -> String,
    backends: &KnownBackends,
    reader: &mut Reader<'_>,
) -> Option<model::Mirror> {
    let section = section.value;
    let key = |rest: &str| key(&format!("mirror.{rest}"));
    let to = section.to?;
    backends.check(&to.value, to.span, || key("to"), reader);
    refuse_repeated(&section.methods.value.0, |at| key(&format!("methods[{at}]")), reader);
    let (methods_at, compare) = (section.methods.span, section.compare.value);
    let methods: Vec<Method> = section.methods.value.into_values();
    let learns = section.noise.value != Weight::ZERO && compare >= MirrorDepth::Headers;
    if learns && !methods.iter().any(Method::is_safe) {
        let message = "none of them may be sent twice to learn what is noise";
        let hint = "add \"GET\", or set noise = \"0%\": then every difference counts";
        reader.fault(methods_at, key("methods"), Refusal::new(message).hint(hint));
    }
    let mut ignore = Vec::new();
    for (at, place) in section.ignore.value.0.into_iter().enumerate() {
        ignore.extend(ignored(&place, || key(&format!("ignore[{at}]")), reader));
    }
    Some(model::Mirror {
        to: to.value,
        share: section.share.value,
        max_body: section.max_body.value.0,
        compare,
        methods,
        noise: section.noise.value,
        ignore,
        timeout: section.timeout.value,
        max_in_flight: section.max_in_flight.value.0 as u32,
    })
}

/// A place as differences name it: a header, or a path into JSON.
fn ignored(
    place: &At<Line>,
    key: impl Fn() -> String,
    reader: &mut Reader<'_>,
) -> Option<Box<str>> {
    let text = &*place.value.0;
    let header = |name: &str| name.trim().parse::<HeaderName>().ok();
    let known = match text.strip_prefix("header ") {
        Some(name) => header(name).map(|name| format!("header {name}").into()),
        None => text.starts_with('$').then(|| text.into()),
    };
    if known.is_none() {
        let refusal = Refusal::new(format!("{} is no place in an answer", quote(text)));
        let hint = "write \"header x-version\", or a path as events name it: \"$.items[].id\"";
        reader.fault(place.span, key(), refusal.hint(hint));
    }
    known
}

/// What is odd about mirrors.
pub(super) fn warnings(config: &Config) -> impl Iterator<Item = Warning> {
    config.routes.iter().flat_map(|route| {
        let told = route.mirror.iter().flat_map(|mirror| of_mirror(route, mirror));
        told.map(|message| Warning { subject: format!("route {}", route.name), message })
    })
}

fn of_mirror(route: &model::Route, mirror: &model::Mirror) -> Vec<String> {
    let (to, mut told) = (&mirror.to, Vec::new());
    let writes: Vec<_> = mirror.methods.iter().filter(|method| !method.is_safe()).collect();
    if !writes.is_empty() {
        told.push(format!(
            "its mirror has side effects: {to} also carries out a copy of {}, unless it heeds x-tidegate-mirror",
            list(writes.into_iter())
        ));
    }
    if route.split.weight(to) == Some(Weight::FULL) {
        told.push(format!("nothing is mirrored while {to} gets every request already"));
    }
    told
}

/// The word for `depth` in the file.
const fn depth_name(depth: MirrorDepth) -> &'static str {
    match depth {
        MirrorDepth::Off => "off",
        MirrorDepth::Status => "status",
        MirrorDepth::Headers => "headers",
        MirrorDepth::Body => "body",
    }
}

impl fmt::Display for model::Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, share, max_body, compare, methods, noise, ignore, timeout, max_in_flight } =
            self;
        let (methods, max_body) = (list(methods.iter()), format_size(*max_body));
        write!(f, "{share} % of {methods} with bodies up to {max_body} to {to}")?;
        write!(f, ", {max_in_flight} at once, for {}", format_duration(*timeout))?;
        write!(f, "; compare {}", depth_name(*compare))?;
        if *compare >= MirrorDepth::Headers {
            write!(f, ", noise from {noise} %")?;
        }
        if !ignore.is_empty() {
            write!(f, " but {}", list(ignore.iter()))?;
        }
        Ok(())
    }
}
