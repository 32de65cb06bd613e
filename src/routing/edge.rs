//! What a route does to heads and bodies on their way, ready for use.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use regex::Regex;

use super::{Limiter, Table};
use crate::config::model::{self, Compress, PathPattern, Redirect, Rewrite, Template, Variable};

/// [`model::Edge`], ready for use.
#[derive(Debug)]
pub struct Edge {
    /// What happens to headers.
    pub headers: Option<HeaderRules>,
    /// Another path for the backend.
    pub rewrite: Option<Rewrite>,
    /// Another address for the client.
    pub redirect: Option<Redirect>,
    /// How many requests there may be.
    pub limiter: Option<Arc<Limiter>>,
    /// Answers made smaller.
    pub compress: Option<Compress>,
    /// The path that the route matches by, where a redirect uses its groups.
    pub pattern: Option<Regex>,
}

impl Edge {
    /// What `route` asks for; `None` where it asks for nothing. What is remembered of clients stays with the route's name.
    pub(super) fn build(route: &model::Route, previous: Option<&Table>) -> Option<Arc<Self>> {
        let model::Edge { headers, rewrite, redirect, rate_limit, compress } = &route.edge;
        if route.edge == model::Edge::default() {
            return None;
        }
        let routes = previous.map_or(&[][..], Table::routes);
        let before = routes.iter().find(|known| known.name == route.name);
        let before = before.and_then(|known| known.edge.as_ref()?.limiter.as_deref());
        Some(Arc::new(Self {
            headers: headers.as_ref().map(HeaderRules::new),
            rewrite: rewrite.clone(),
            redirect: redirect.clone(),
            limiter: rate_limit.as_ref().map(|limit| Arc::new(Limiter::new(limit, before))),
            compress: compress.clone(),
            pattern: pattern(route),
        }))
    }
}

fn pattern(route: &model::Route) -> Option<Regex> {
    let redirect = route.edge.redirect.as_ref()?;
    let uses_groups = redirect.to.variables().any(|v| matches!(v, Variable::Group(_)));
    match &route.path {
        PathPattern::Regex(regex) if uses_groups => Some(regex.clone()),
        PathPattern::Regex(_) | PathPattern::Prefix(_) | PathPattern::Exact(_) => None,
    }
}

/// [`model::HeaderRules`], ready for use.
#[derive(Debug)]
pub struct HeaderRules {
    /// Headers of the request that get a value.
    pub request_set: Vec<Setting>,
    /// Headers of the request that are removed.
    pub request_remove: Vec<HeaderName>,
    /// Headers of the answer that get a value.
    pub response_set: Vec<Setting>,
    /// Headers of the answer that are removed.
    pub response_remove: Vec<HeaderName>,
    /// Headers of the request that values need.
    pub noted: Vec<HeaderName>,
}

/// A header and its value.
#[derive(Debug)]
pub struct Setting {
    /// The header.
    pub name: HeaderName,
    /// What it becomes.
    pub value: SettingValue,
}

/// What a header becomes.
#[derive(Debug)]
pub enum SettingValue {
    /// Always the same.
    Fixed(HeaderValue),
    /// Filled in for each request; removed where that gives nothing.
    Filled(Template),
}

impl HeaderRules {
    fn new(rules: &model::HeaderRules) -> Self {
        let settings = |rules: &[(HeaderName, Template)]| rules.iter().map(Setting::new).collect();
        Self {
            request_set: settings(&rules.request_set),
            request_remove: rules.request_remove.clone(),
            response_set: settings(&rules.response_set),
            response_remove: rules.response_remove.clone(),
            noted: rules.noted.clone(),
        }
    }

    /// Whether a head is filled in with what the request said.
    pub fn notes_request(&self) -> bool {
        let mut settings = self.request_set.iter().chain(&self.response_set);
        settings.any(|setting| matches!(setting.value, SettingValue::Filled(_)))
    }
}

impl Setting {
    fn new((name, template): &(HeaderName, Template)) -> Self {
        let fixed = template.constant().filter(|text| !text.is_empty());
        let fixed = fixed.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok());
        let value =
            fixed.map_or_else(|| SettingValue::Filled(template.clone()), SettingValue::Fixed);
        Self { name: name.clone(), value }
    }
}
