//! Duties at the edge: their keys, and what these mean.

mod leaf;
pub(super) mod raw;
mod redirect;
pub(super) mod template;
#[cfg(test)]
mod tests;
pub(super) mod variable;

use http::{HeaderName, header};

use self::{leaf::RateText, variable::Stage};
use super::{
    collection::{List, Named},
    fault::{Refusal, quote},
    model::{
        AccessLog, Compress, Edge, ErrorPage, HeaderRules, PathPattern, RateLimit, Rewrite,
        StatusPattern, Template, Variable,
    },
    reader::{At, Reader},
    validate::refuse_repeated,
};

/// What `[log.access]` asks for.
pub(super) fn access(section: raw::Access) -> AccessLog {
    AccessLog {
        path: section.path.value,
        format: section.format.value,
        sample: section.sample.value,
    }
}

/// What `[error_page]` asks for, the most exact first.
pub(super) fn error_pages(
    entries: Vec<(At<StatusPattern>, At<std::path::PathBuf>)>,
    reader: &mut Reader<'_>,
) -> Vec<ErrorPage> {
    let mut pages = Vec::with_capacity(entries.len());
    for (status, file) in entries {
        let key = format!("error_page.{}", status.value);
        if file.value.as_os_str().is_empty() {
            reader.fault(file.span, key, Refusal::new("the path is empty"));
        }
        pages.push(ErrorPage { status: status.value, file: file.value });
    }
    pages.sort_by_key(|page| page.status);
    pages
}

/// The parts of a route that speak of the edge.
pub(super) struct Wishes {
    pub(super) headers: raw::Headers,
    pub(super) rewrite: Option<At<raw::Rewrite>>,
    pub(super) redirect: Option<At<raw::Redirect>>,
    pub(super) rate_limit: Option<At<raw::RateLimit>>,
    pub(super) compress: Option<At<raw::Compress>>,
}

/// What they ask for.
pub(super) fn rules(
    wishes: Wishes,
    path: &PathPattern,
    key: impl Fn(&str) -> String,
    reader: &mut Reader<'_>,
) -> Edge {
    let compress = wishes.compress.map(|section| {
        let algorithms = section.value.algorithms.value;
        refuse_repeated(&algorithms.0, |at| key(&format!("compress.algorithms[{at}]")), reader);
        let min_size = section.value.min_size.value.0;
        Compress { algorithms: algorithms.into_values(), min_size }
    });
    Edge {
        headers: headers(wishes.headers, &key, reader),
        rewrite: wishes.rewrite.and_then(|section| rewrite(section, &key, reader)),
        redirect: wishes
            .redirect
            .and_then(|section| redirect::redirect(section, path, &key, reader)),
        rate_limit: wishes.rate_limit.and_then(|section| rate_limit(section.value)),
        compress,
    }
}

/// Headers that belong to one connection or frame a message: the library writes them.
const UNTOUCHABLE: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// More of them, which only a request has.
const UNTOUCHABLE_IN_REQUESTS: [HeaderName; 2] =
    [header::EXPECT, HeaderName::from_static("http2-settings")];

fn headers(
    section: raw::Headers,
    key: impl Fn(&str) -> String,
    reader: &mut Reader<'_>,
) -> Option<HeaderRules> {
    let mut list = Headers { reader, key: &key };
    let request_set = list.set("request_set", section.request_set);
    let response_set = list.set("response_set", section.response_set);
    let request_remove = list.remove("request_remove", section.request_remove.value);
    let response_remove = list.remove("response_remove", section.response_remove.value);
    let set = request_set.iter().chain(&response_set);
    let asked = set.flat_map(|(_, template)| template.request_headers());
    let mut noted: Vec<HeaderName> = asked.collect();
    noted.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    noted.dedup();
    let sets = !(request_set.is_empty() && response_set.is_empty());
    let asks = sets || !(request_remove.is_empty() && response_remove.is_empty());
    asks.then_some(HeaderRules {
        request_set,
        request_remove,
        response_set,
        response_remove,
        noted,
    })
}

/// Reads lists of headers.
struct Headers<'a, 's, K> {
    reader: &'a mut Reader<'s>,
    key: &'a K,
}

impl<K: Fn(&str) -> String> Headers<'_, '_, K> {
    fn set<const STAGE: u8, const MAX: usize>(
        &mut self,
        list: &str,
        named: Option<At<Named<HeaderName, leaf::Filled<STAGE>, MAX>>>,
    ) -> Vec<(HeaderName, Template)> {
        let entries = named.map(|named| named.value.entries).unwrap_or_default();
        let mut rules: Vec<(HeaderName, Template)> = Vec::with_capacity(entries.len());
        for (name, template) in entries {
            let key = format!("headers.{list}.{}", name.value);
            if rules.iter().any(|(known, _)| *known == name.value) {
                let refusal = Refusal::new("the same header is set twice");
                self.reader.fault(name.span, (self.key)(&key), refusal);
            }
            self.check(&name, list, &key);
            rules.push((name.value, template.value.0));
        }
        rules
    }

    fn remove<const MAX: usize>(
        &mut self,
        list: &str,
        names: List<leaf::WrittenHeader, 0, MAX>,
    ) -> Vec<HeaderName> {
        let mut removed = Vec::with_capacity(names.0.len());
        for (at, item) in names.0.into_iter().enumerate() {
            let key = format!("headers.{list}[{at}]");
            let name = At { value: item.value.0, span: item.span, written: item.written };
            self.check(&name, list, &key);
            if list == "request_remove" && name.value == header::HOST {
                let refusal = Refusal::new("a request without a host is none");
                self.reader.fault(name.span, (self.key)(&key), refusal);
            }
            removed.push(name.value);
        }
        removed
    }

    fn check(&mut self, name: &At<HeaderName>, list: &str, key: &str) {
        let of_requests =
            list.starts_with("request") && UNTOUCHABLE_IN_REQUESTS.contains(&name.value);
        if UNTOUCHABLE.contains(&name.value) || of_requests {
            let message = format!("{} belongs to one connection alone", quote(name.value.as_str()));
            let refusal = Refusal::new(message).hint("leave it out: Tidegate writes it anew");
            self.reader.fault(name.span, (self.key)(key), refusal);
        }
    }
}

fn rewrite(
    section: At<raw::Rewrite>,
    key: impl Fn(&str) -> String,
    reader: &mut Reader<'_>,
) -> Option<Rewrite> {
    let At { value: section, span, .. } = section;
    if reader.has_fault_at(&key("rewrite")) {
        return None;
    }
    let mut refuse = |refusal| {
        reader.fault(span, key("rewrite"), refusal);
        None
    };
    let raw::Rewrite { strip_prefix, add_prefix, regex, to } = section;
    match (regex, to, strip_prefix, add_prefix) {
        (None, None, None, None) => refuse(
            Refusal::new("asks for nothing").hint("add strip_prefix, add_prefix, or regex and to"),
        ),
        (None, None, strip, add) => {
            let plain = |prefix: Option<At<leaf::PlainPath>>| {
                prefix.map_or_else(|| "".into(), |prefix| prefix.value.0)
            };
            Some(Rewrite::Prefix { strip: plain(strip), add: plain(add) })
        }
        (Some(regex), Some(to), None, None) => {
            let template = to.value.0;
            let groups = regex.value.0.captures_len();
            check_groups(&template, groups, to.span, key("rewrite.to"), reader);
            check_path(&template, to.span, key("rewrite.to"), reader);
            Some(Rewrite::Regex { regex: super::model::Expression(regex.value.0), to: template })
        }
        (Some(_), Some(_), _, _) => refuse(
            Refusal::new("a regular expression replaces the whole path")
                .hint("leave out strip_prefix and add_prefix"),
        ),
        (Some(_), None, _, _) | (None, Some(_), _, _) => {
            refuse(Refusal::new("regex and to stand together").hint("add the other one"))
        }
    }
}

/// A fault for a group that the expression does not have.
fn check_groups(
    template: &Template,
    groups: usize,
    span: super::source::Span,
    key: String,
    reader: &mut Reader<'_>,
) {
    if let Some(most) = template.most_group().filter(|most| usize::from(*most) >= groups) {
        let message = format!("${most} is no group of the regular expression");
        let hint = match groups {
            0 => "route.path is none: begin it with \"~\"".to_owned(),
            1 => "put what is to be kept into brackets".to_owned(),
            _ => format!("it has $1 to ${}", groups - 1),
        };
        reader.fault(span, key, Refusal::new(message).hint(hint));
    }
}

/// A path that is written anew is made of text and groups: these alone cannot break it.
fn check_path(
    template: &Template,
    span: super::source::Span,
    key: String,
    reader: &mut Reader<'_>,
) {
    let text = template.to_string();
    let refusal = if !text.starts_with('/') {
        Refusal::new("a path begins with \"/\"")
    } else if text.contains(['?', '#']) {
        Refusal::new("the query stays as it is: leave out \"?\" and \"#\"")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Refusal::new("write spaces and characters beyond ASCII as clients send them: \"%20\"")
    } else if !template.variables().all(|variable| matches!(variable, Variable::Group(_))) {
        Refusal::new("names something else than groups").hint("write $1 to $9")
    } else {
        return;
    };
    reader.fault(span, key, refusal);
}

fn rate_limit(section: raw::RateLimit) -> Option<RateLimit> {
    let RateText { count, period } = section.rate?.value;
    let burst = section.burst.map_or(count, |burst| burst.value.0 as u32);
    Some(RateLimit { per: section.per.value, count, period, burst })
}

/// The stage of a template by its number, as types carry it.
const fn stage(number: u8) -> Stage {
    match number {
        0 => Stage::Routed,
        1 => Stage::Chosen,
        2 => Stage::Answered,
        _ => Stage::Ended,
    }
}
