//! `[route.fallback]` and what it is told by: methods, causes, and the headers of caches.

use std::collections::HashMap;

use http::{HeaderName, Method};
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::{
    fault::{Refusal, quote},
    leaf::{Leaf, text},
    model, raw,
    reader::{At, Reader},
    source::Span,
    validate::refuse_repeated,
};
use crate::domain::RouteName;

/// A header's name; `None` is the empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeaderOrNone(pub(super) Option<HeaderName>);

impl Leaf for HeaderOrNone {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match text(value, "a header's name such as \"x-cache\"")? {
            "" => Ok(Self(None)),
            name => name
                .parse()
                .map(|name| Self(Some(name)))
                .map_err(|_| Refusal::new(format!("{} is no header's name", quote(name)))),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": 256 })
    }

    fn json(&self) -> Json {
        self.0.as_ref().map_or("", HeaderName::as_str).into()
    }
}

impl Leaf for Method {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let name = text(value, "a method such as \"GET\"")?;
        let method = Self::from_bytes(name.as_bytes()).ok().filter(|method| {
            // Methods are case-sensitive (RFC 9110 §9.1): "get" would never come.
            *method != Self::CONNECT && !name.bytes().any(|byte| byte.is_ascii_lowercase())
        });
        method.ok_or_else(|| {
            Refusal::new(format!("{} is no method that a request here can have", quote(name)))
                .hint("write it in capitals, such as \"GET\"")
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Z0-9!#$%&'*+.^_`|~-]+$" })
    }

    fn json(&self) -> Json {
        self.as_str().into()
    }
}

/// What `section` asks for; `None` where it asks for nothing.
pub(super) fn fallback(
    section: raw::Fallback,
    key: impl Fn(&str) -> String,
    reader: &mut Reader<'_>,
) -> Option<model::Fallback> {
    let (on, methods) = (section.on.value, section.methods.value);
    refuse_repeated(&on.0, |at| key(&format!("fallback.on[{at}]")), reader);
    refuse_repeated(&methods.0, |at| key(&format!("fallback.methods[{at}]")), reader);
    (section.enabled.value && !on.0.is_empty()).then(|| model::Fallback {
        on: on.into_values(),
        max_body: section.max_body.value.0,
        methods: methods.into_values(),
        budget: section.budget.value,
    })
}

/// Where the file asks for fallbacks, by route: only a rollout says which backend is the baseline.
#[derive(Default)]
pub(super) struct Wanted(HashMap<RouteName, (Span, String)>);

impl Wanted {
    /// The wishes of `routes`, as they stand in the file.
    pub(super) fn of(routes: &[At<raw::Route>]) -> Self {
        let wish = |(index, route): (usize, &At<raw::Route>)| {
            let route = &route.value;
            let (on, name) = (&route.fallback.on, route.name.as_ref()?);
            let enabled = route.fallback.enabled.value;
            let place = (on.span, format!("route[{index}].fallback.on"));
            (enabled && !on.value.0.is_empty()).then(|| (name.value.clone(), place))
        };
        Self(routes.iter().enumerate().filter_map(wish).collect())
    }

    /// A fault for each wish of a route that no rollout names.
    pub(super) fn check<'n>(
        mut self,
        named: impl Iterator<Item = &'n RouteName>,
        reader: &mut Reader<'_>,
    ) {
        named.for_each(|route| drop(self.0.remove(route)));
        for (route, (span, key)) in self.0 {
            let message = format!("no rollout names route {route}: which backend is the baseline?");
            let hint = "add a section [rollout.NAME] with route, baseline and canary";
            reader.fault(span, key, Refusal::new(message).hint(hint));
        }
    }
}
