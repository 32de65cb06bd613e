//! `[route.headers]` and `[route.rewrite]`, applied.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::HOST, request, uri::PathAndQuery};

use super::view;
use crate::{
    config::model::{Rewrite, Segment, Template, Variable},
    domain::ErrorReason,
    proxy::{
        context::{Choice, RequestContext},
        error::ProxyError,
        headers::Host,
        variables::View,
    },
    routing::{HeaderRules, Setting, SettingValue},
};

/// Applies a route's rules to the head that an endpoint gets; `added` holds the lines that Tidegate adds, and keeps none
/// whose name is in the map.
pub(in crate::proxy) fn forward(
    parts: &mut request::Parts,
    context: &RequestContext,
    choice: &Choice,
    added: &mut Vec<u8>,
) -> Result<(), ProxyError> {
    let route = context.route(choice);
    let Some(edge) = &route.edge else { return Ok(()) };
    if let Some(rules) = &edge.headers {
        for name in &rules.request_remove {
            parts.headers.remove(name);
            strip(added, name);
        }
        let backend = Some(context.target(choice).header.as_bytes());
        // What the client sent, and not what has become of it: by now much of that is taken out.
        let noted = context.noted.as_deref();
        let view = noted.map(|noted| View { backend, ..view(context, noted, route.name.as_str()) });
        for setting in &rules.request_set {
            let value = value(setting, view.as_ref());
            if setting.name == HOST && !value.as_ref().is_some_and(Host::is_valid) {
                continue;
            }
            strip(added, &setting.name);
            set(&mut parts.headers, setting, value);
        }
    }
    if let Some(rewrite) = &edge.rewrite {
        parts.uri = rewritten(&parts.uri, rewrite)?;
    }
    Ok(())
}

/// Applies a route's rules to the head that a client gets.
pub(in crate::proxy) fn answer_headers(
    headers: &mut HeaderMap,
    rules: &HeaderRules,
    context: &RequestContext,
    route: &str,
    backend: Option<&[u8]>,
    status: u16,
) {
    rules.response_remove.iter().for_each(|name| drop(headers.remove(name)));
    let noted = context.noted.as_deref();
    let view =
        noted.map(|noted| View { backend, status: Some(status), ..view(context, noted, route) });
    for setting in &rules.response_set {
        set(headers, setting, value(setting, view.as_ref()));
    }
}

/// `None` where nothing comes of it, or nothing that a header may hold.
fn value(setting: &Setting, view: Option<&View<'_>>) -> Option<HeaderValue> {
    match &setting.value {
        SettingValue::Fixed(value) => Some(value.clone()),
        SettingValue::Filled(template) => {
            let filled = view?.fill(template);
            HeaderValue::from_maybe_shared(bytes::Bytes::from(filled))
                .ok()
                .filter(|value| !value.is_empty())
        }
    }
}

fn set(headers: &mut HeaderMap, setting: &Setting, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(&setting.name, value),
        None => headers.remove(&setting.name),
    };
}

/// Takes the lines called `name` out of `added`.
fn strip(added: &mut Vec<u8>, name: &HeaderName) {
    let mut at = 0;
    while at < added.len() {
        let end = memchr::memchr(b'\n', &added[at..]).map_or(added.len(), |end| at + end + 1);
        let rest = added[at..end].strip_prefix(name.as_str().as_bytes());
        if rest.is_some_and(|rest| rest.starts_with(b":")) {
            added.drain(at..end);
        } else {
            at = end;
        }
    }
}

/// Bytes of the longest target, by the library that keeps it.
const LONGEST: usize = u16::MAX as usize - 1;

/// The target with another path; its query stays byte for byte, and so does a path that does not match.
fn rewritten(uri: &Uri, rewrite: &Rewrite) -> Result<Uri, ProxyError> {
    let Some(path) = path(uri.path(), rewrite) else { return Ok(uri.clone()) };
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if target.len() > LONGEST {
        let why = "the path is too long when it is written anew";
        return Err(ProxyError::new(ErrorReason::TargetTooLong, why));
    }
    PathAndQuery::try_from(target).map(Uri::from).map_err(|_| {
        ProxyError::new(ErrorReason::Internal, "the path that was written anew is none")
    })
}

fn path(path: &str, rewrite: &Rewrite) -> Option<String> {
    // `*` is no path.
    if !path.starts_with('/') {
        return None;
    }
    match rewrite {
        Rewrite::Prefix { strip, add } => {
            let rest = path
                .strip_prefix(&**strip)
                .filter(|rest| matches!(rest.as_bytes(), [] | [b'/', ..]));
            let rest = rest.unwrap_or(path);
            let slash = if rest.is_empty() && add.is_empty() { "/" } else { "" };
            Some(format!("{add}{rest}{slash}"))
        }
        Rewrite::Regex { regex, to } => {
            let groups = regex.0.captures(path)?;
            Some(expand(to, |group| groups.get(group).map_or("", |found| found.as_str())))
        }
    }
}

fn expand<'p>(to: &Template, group: impl Fn(usize) -> &'p str) -> String {
    let segments = to.segments().iter();
    let parts = segments.map(|segment| match segment {
        Segment::Text(text) => text,
        // `config` takes nothing else.
        Segment::Variable(Variable::Group(number)) => group(usize::from(*number)),
        Segment::Variable(_) => "",
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn rewrite(tables: &str) -> Rewrite {
        let text = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[backend.a]\nendpoints = [\"127.0.0.1:1\"]\n\
             [[route]]\nname = \"a\"\nsplit = {{ a = 100 }}\n[route.rewrite]\n{tables}"
        );
        let config = config::parse(&text, "test.toml", &|_| None).unwrap();
        config.routes[0].edge.rewrite.clone().unwrap()
    }

    #[test]
    fn a_path_is_rewritten_and_the_rest_is_kept() {
        let strip = rewrite("strip_prefix = \"/api\"");
        let swap = rewrite("strip_prefix = \"/api\"\nadd_prefix = \"/v2/\"");
        let add = rewrite("add_prefix = \"/v2\"");
        let regex = rewrite("regex = \"^/u/([^/]+)/(.*)$\"\nto = \"/$2/by/$1x\"");
        for (rewrite, before, after) in [
            (&strip, "/api/a", "/a"),
            (&strip, "/api", "/"),
            (&strip, "/api?x=1", "/?x=1"),
            (&strip, "/api/", "/"),
            (&strip, "/apix", "/apix"),
            (&strip, "/api//a/../%2e", "//a/../%2e"),
            (&swap, "/api/a?b", "/v2/a?b"),
            (&swap, "/api", "/v2"),
            (&add, "/a%20b?c=%2F", "/v2/a%20b?c=%2F"),
            (&regex, "/u/me/list?q=$1", "/list/by/mex?q=$1"),
            (&regex, "/other", "/other"),
            (&add, "*", "*"),
        ] {
            let uri: Uri = before.parse().unwrap();
            assert_eq!(rewritten(&uri, rewrite).unwrap().to_string(), after, "{before}");
        }
    }

    #[test]
    fn a_target_may_be_as_long_as_the_library_has_them() {
        let add = rewrite("add_prefix = \"/v2\"");
        let of = |length: usize| format!("/{}?q", "a".repeat(length - "/v2/?q".len()));
        let fits: Uri = of(LONGEST).parse().unwrap();
        assert_eq!(rewritten(&fits, &add).unwrap().to_string().len(), LONGEST);
        let beyond: Uri = of(LONGEST + 1).parse().unwrap();
        let fault = rewritten(&beyond, &add).unwrap_err();
        assert_eq!(fault.reason(), ErrorReason::TargetTooLong);
    }

    #[test]
    fn a_line_is_taken_out_by_its_whole_name() {
        let mut added = b"x-a: 1\r\nx-ab: 2\r\nx-a: 3\r\n".to_vec();
        strip(&mut added, &HeaderName::from_static("x-a"));
        assert_eq!(added, b"x-ab: 2\r\n");
        strip(&mut added, &HeaderName::from_static("x"));
        assert_eq!(added, b"x-ab: 2\r\n");
    }

    proptest::proptest! {
        #[test]
        fn any_path_stays_a_path(path in "/[!-~]{0,30}") {
            for rewrite in [
                rewrite("strip_prefix = \"/a\""),
                rewrite("regex = \"^/(.?)(.*)\"\nto = \"/$2/$1\""),
            ] {
                if let Ok(uri) = path.parse::<Uri>() && uri.path() == path {
                    let after = rewritten(&uri, &rewrite).unwrap();
                    proptest::prop_assert!(after.path().starts_with('/'));
                    proptest::prop_assert_eq!(after.query(), None);
                }
            }
        }
    }
}
