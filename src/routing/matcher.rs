//! From host and path to a route, at a cost that does not grow with the number of routes.
//!
//! The most specific wins, whatever the order in the file: an exact host before `*.example.com` (the longest suffix first)
//! before `*`; within a host an exact path, then regular expressions in the order of the file, then the longest prefix by
//! segment. Where a host has rules but none for the path, less specific hosts are asked.

use std::collections::HashMap;

use super::hash::BuildXxh3;
use crate::config::model::{HostPattern, PathPattern};

/// Finds the route of a request.
#[derive(Debug, Default)]
pub struct Matcher {
    exact: Map<Paths>,
    /// Keys with their leading dot.
    suffixes: Map<Paths>,
    any: Paths,
}

type Map<T> = HashMap<Box<str>, T, BuildXxh3>;

impl Matcher {
    /// A matcher over `rules`; the number of a rule is its place.
    pub fn new<'a>(rules: impl Iterator<Item = (&'a [HostPattern], &'a PathPattern)>) -> Self {
        let mut matcher = Self::default();
        for (route, (hosts, path)) in rules.enumerate() {
            for host in hosts {
                matcher.paths_of(host).insert(path, route);
            }
        }
        matcher
    }

    fn paths_of(&mut self, host: &HostPattern) -> &mut Paths {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Suffix(name) => self.suffixes.entry(name.clone()).or_default(),
        }
    }

    /// The rule for `host` (lower case, no port) and `path` (as sent, without the query).
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        self.exact_host(host, path)
            .or_else(|| self.suffix_host(host, path))
            .or_else(|| self.any.find(path))
    }

    fn exact_host(&self, host: &str, path: &str) -> Option<usize> {
        if self.exact.is_empty() {
            return None;
        }
        self.exact.get(host)?.find(path)
    }

    fn suffix_host(&self, host: &str, path: &str) -> Option<usize> {
        if self.suffixes.is_empty() {
            return None;
        }
        // The label before the first dot must not be empty; each further dot begins a shorter suffix.
        let dots = memchr::memchr_iter(b'.', host.as_bytes()).filter(|at| *at > 0);
        dots.filter_map(|at| self.suffixes.get(&host[at..])?.find(path)).next()
    }
}

/// The paths of one host pattern.
#[derive(Debug, Default)]
struct Paths {
    exact: Map<usize>,
    regexes: Vec<(regex::Regex, usize)>,
    /// Without a trailing slash; the root is `root`.
    prefixes: Map<usize>,
    /// Segments of the deepest prefix: a longer path is cut there first, so that a client's ten thousand slashes cost nothing.
    deepest: usize,
    root: Option<usize>,
}

impl Paths {
    fn insert(&mut self, path: &PathPattern, route: usize) {
        match path {
            PathPattern::Exact(path) => {
                self.exact.entry(path.clone()).or_insert(route);
            }
            PathPattern::Regex(regex) => self.regexes.push((regex.clone(), route)),
            PathPattern::Prefix(path) if path.is_empty() => {
                self.root.get_or_insert(route);
            }
            PathPattern::Prefix(path) => {
                self.deepest = self.deepest.max(path.bytes().filter(|c| *c == b'/').count());
                self.prefixes.entry(path.clone()).or_insert(route);
            }
        }
    }

    fn find(&self, path: &str) -> Option<usize> {
        if let Some(route) = self.exact.get(path).filter(|_| !self.exact.is_empty()) {
            return Some(*route);
        }
        if let Some((_, route)) = self.regexes.iter().find(|(regex, _)| regex.is_match(path)) {
            return Some(*route);
        }
        self.longest_prefix(path).or(self.root)
    }

    fn longest_prefix(&self, path: &str) -> Option<usize> {
        if self.prefixes.is_empty() {
            return None;
        }
        // The end of segment `deepest`, then of each shorter prefix.
        let slashes = memchr::memchr_iter(b'/', path.as_bytes()).skip(1);
        let mut end = slashes.take(self.deepest).nth(self.deepest - 1).unwrap_or(path.len());
        loop {
            if let Some(route) = self.prefixes.get(&path[..end]) {
                return Some(*route);
            }
            end = memchr::memrchr(b'/', &path.as_bytes()[..end]).filter(|at| *at > 0)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        match text.strip_prefix('*') {
            Some("") => HostPattern::Any,
            Some(suffix) => HostPattern::Suffix(suffix.into()),
            None => HostPattern::Exact(text.into()),
        }
    }

    fn path(text: &str) -> PathPattern {
        if let Some(exact) = text.strip_prefix("= ") {
            PathPattern::Exact(exact.into())
        } else if let Some(regex) = text.strip_prefix("~ ") {
            PathPattern::Regex(regex::Regex::new(regex).unwrap())
        } else {
            PathPattern::Prefix(text.trim_end_matches('/').into())
        }
    }

    fn matcher(rules: &[(&str, &str)]) -> Matcher {
        let rules: Vec<_> = rules.iter().map(|(h, p)| ([host(h)], path(p))).collect();
        Matcher::new(rules.iter().map(|(hosts, path)| (hosts.as_slice(), path)))
    }

    #[test]
    fn prefixes_match_whole_segments_and_the_longest_wins() {
        let m = matcher(&[("*", "/"), ("*", "/api"), ("*", "/api/v2/")]);
        for (path, route) in [
            ("/", 0),
            ("/apix", 0),
            ("/api", 1),
            ("/api/", 1),
            ("/api/v1/x", 1),
            ("/api/v2", 2),
            ("/api/v2/", 2),
            ("/api/v2/x/y/z", 2),
            ("/api/v22", 1),
            ("*", 0),
        ] {
            assert_eq!(m.find("h", path), Some(route), "{path}");
        }
    }

    #[test]
    fn the_more_specific_host_wins_and_falls_back() {
        let m = matcher(&[
            ("*", "/"),
            ("*.example.com", "/"),
            ("*.a.example.com", "/only"),
            ("www.example.com", "/only"),
        ]);
        for (host, path, route) in [
            ("elsewhere", "/", 0),
            ("example.com", "/", 0),
            (".example.com", "/", 0),
            ("b.example.com", "/", 1),
            ("x.a.example.com", "/only/this", 2),
            ("x.a.example.com", "/", 1),
            ("www.example.com", "/only", 3),
            ("www.example.com", "/other", 1),
        ] {
            assert_eq!(m.find(host, path), Some(route), "{host}{path}");
        }
    }

    #[test]
    fn exact_before_regex_before_prefix() {
        let m = matcher(&[("*", "/a"), ("*", "~ ^/a/[0-9]+$"), ("*", "= /a/1")]);
        assert_eq!(m.find("h", "/a/1"), Some(2));
        assert_eq!(m.find("h", "/a/2"), Some(1));
        assert_eq!(m.find("h", "/a/x"), Some(0));
        assert_eq!(m.find("h", "/b"), None);
    }

    #[test]
    fn ten_thousand_slashes_are_cut_at_the_deepest_prefix() {
        let m = matcher(&[("*", "/a/b")]);
        assert_eq!(m.find("h", &format!("/a/b{}", "/".repeat(10_000))), Some(0));
        assert_eq!(m.find("h", &"/".repeat(10_000)), None);
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_the_plain_definition(
            prefixes in proptest::collection::vec("(/[ab]{1,2}){0,3}", 1..6),
            path in "(/[ab]{0,2}){1,5}",
        ) {
            let rules: Vec<_> = prefixes.iter().map(|p| ("*", p.as_str())).collect();
            let covers = |prefix: &str| {
                path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
            };
            let longest = prefixes.iter().filter(|p| covers(p)).max_by_key(|p| p.len());
            let expected = longest.and_then(|best| prefixes.iter().position(|p| p == best));
            proptest::prop_assert_eq!(matcher(&rules).find("h", &path), expected);
        }
    }
}
