//! What a route matches: hosts and paths as the file writes them.

use regex::{Regex, RegexBuilder};
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::{
    fault::{Refusal, quote},
    leaf::{Leaf, text},
    model::{HostPattern, PathPattern},
};

/// Compiled size of one regular expression, in bytes; its states are the only ones a client can
/// make us walk.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// Longest path or expression.
const MAX_PATH: usize = 2048;

impl Leaf for HostPattern {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let given = text(value, "a host such as \"www.example.com\", \"*.example.com\", or \"*\"")?;
        let host = given.to_ascii_lowercase();
        match host.strip_prefix('*') {
            Some("") => Ok(Self::Any),
            Some(suffix) if suffix.starts_with('.') => {
                check_host(&suffix[1..], given)?;
                Ok(Self::Suffix(suffix.into()))
            }
            Some(_) => Err(no_host(given, "an asterisk stands alone or before a dot")),
            None => check_host(&host, given).map(|()| Self::Exact(host.into())),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 253 })
    }

    fn json(&self) -> Json {
        self.to_string().into()
    }
}

/// One host, not a pattern of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostName(pub(super) Box<str>);

impl Leaf for HostName {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match HostPattern::parse(value)? {
            HostPattern::Exact(name) => Ok(Self(name)),
            pattern @ (HostPattern::Any | HostPattern::Suffix(_)) => {
                Err(no_host(&pattern.to_string(), "write each name by itself"))
            }
        }
    }

    fn schema() -> Json {
        <HostPattern as Leaf>::schema()
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Exact(host) => f.write_str(host),
        }
    }
}

fn check_host(host: &str, given: &str) -> Result<(), Refusal> {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()) {
        return Ok(());
    }
    if !host.is_ascii() {
        return Err(no_host(given, "write an international name in its \"xn--\" form"));
    }
    if host.contains(':') {
        return Err(no_host(given, "leave the port out: a host is matched without it"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(plain);
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(no_host(given, "labels of letters, digits, and '-', with single dots between"));
    }
    Ok(())
}

fn no_host(given: &str, hint: &str) -> Refusal {
    Refusal::new(format!("{} is no host", quote(given))).hint(hint)
}

impl Leaf for PathPattern {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let given = text(value, "a path such as \"/api\", \"= /exact\", or \"~ regex\"")?;
        if given.len() > MAX_PATH {
            return Err(Refusal::new(format!("must have at most {MAX_PATH} bytes")));
        }
        if let Some(exact) = given.strip_prefix('=') {
            return check_path(exact.trim_start(), given).map(|path| Self::Exact(path.into()));
        }
        if let Some(regex) = given.strip_prefix('~') {
            return parse_regex(regex.trim_start()).map(Self::Regex);
        }
        let path = check_path(given, given)?;
        Ok(Self::Prefix(path.trim_end_matches('/').into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(/|= ?/|~)", "maxLength": MAX_PATH })
    }

    fn json(&self) -> Json {
        self.to_string().into()
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prefix(path) if path.is_empty() => f.write_str("/"),
            Self::Prefix(path) => f.write_str(path),
            Self::Exact(path) => write!(f, "= {path}"),
            Self::Regex(regex) => write!(f, "~ {regex}"),
        }
    }
}

pub(super) fn check_path<'p>(path: &'p str, given: &str) -> Result<&'p str, Refusal> {
    let refuse = |hint| Err(Refusal::new(format!("{} is no path", quote(given))).hint(hint));
    if !path.starts_with('/') {
        return refuse("a path begins with \"/\"; an exact one with \"= /\", a regex with \"~ \"");
    }
    if path.contains(['?', '#']) {
        return refuse("a path is matched without its query: leave out \"?\" and \"#\"");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse(
            "write spaces and characters beyond ASCII as the client sends them: \"%20\"",
        );
    }
    Ok(path)
}

pub(super) fn parse_regex(regex: &str) -> Result<Regex, Refusal> {
    if regex.is_empty() {
        return Err(
            Refusal::new("the regular expression is empty").hint("for all paths write \"/\"")
        );
    }
    RegexBuilder::new(regex).size_limit(MAX_REGEX_BYTES).build().map_err(|error| {
        // The error's own text draws the expression over several lines; its last line is the
        // reason.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Refusal::new(format!("{} is no regular expression: {reason}", quote(regex)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<HostPattern, Refusal> {
        HostPattern::parse(&DeValue::String(text.into()))
    }

    fn path(text: &str) -> Result<PathPattern, Refusal> {
        PathPattern::parse(&DeValue::String(text.into()))
    }

    #[test]
    fn hosts_are_lowered_and_told_apart() {
        assert_eq!(host("*"), Ok(HostPattern::Any));
        assert_eq!(host("*.Example.com"), Ok(HostPattern::Suffix(".example.com".into())));
        assert_eq!(host("WWW.example.com"), Ok(HostPattern::Exact("www.example.com".into())));
        assert_eq!(host("[::1]"), Ok(HostPattern::Exact("[::1]".into())));
        for bad in
            ["", "*x", "a..b", "a.b:80", "é.fr", "a b", "a/b", ".a", "a.*.b", "*.", "[::1]:80"]
        {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_told_apart_and_shown_as_written() {
        for (written, shown) in [
            ("/", "/"),
            ("/api/", "/api"),
            ("= /exact/", "= /exact/"),
            ("=/exact", "= /exact"),
            ("~ ^/v[0-9]+/", "~ ^/v[0-9]+/"),
        ] {
            assert_eq!(path(written).unwrap().to_string(), shown);
        }
        for bad in ["", "api", "/a?b", "/a b", "/é", "= x", "~", "~ [", "~ (a{1000}){1000}"] {
            let refusal = path(bad).unwrap_err();
            assert!(!refusal.message.contains('\n'), "{}", refusal.message);
        }
    }
}
