//! Paths into a JSON value: `$.items[0].name`, `$["with space"]`. They name one place; there are no wildcards, filters or
//! slices, so a path is walked in as many steps as it has.

use std::fmt;

use serde_json::Value;

/// Most steps of a path.
const MAX_STEPS: usize = 32;

/// One place in a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath {
    text: Box<str>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(Box<str>),
    Index(usize),
}

impl JsonPath {
    /// The path that `text` writes; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = match rest.strip_prefix('.') {
                Some(named) => split_name(named)?,
                None => split_bracket(rest.strip_prefix('[')?)?,
            };
            steps.push(step);
            rest = after;
        }
        (steps.len() <= MAX_STEPS).then(|| Self { text: text.into(), steps })
    }

    /// What stands there.
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(value, |value, step| match step {
            Step::Key(key) => value.as_object()?.get(key.as_ref()),
            Step::Index(index) => value.as_array()?.get(*index),
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn split_name(text: &str) -> Option<(Step, &str)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let plain = !name.is_empty() && !name.contains([']', '*', '"', '\'', ' ']);
    plain.then(|| (Step::Key(name.into()), rest))
}

fn split_bracket(text: &str) -> Option<(Step, &str)> {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            let (key, rest) = quoted.split_once(quote)?;
            return Some((Step::Key(key.into()), rest.strip_prefix(']')?));
        }
    }
    let (index, rest) = text.split_once(']')?;
    let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
    let index = index.parse().ok().filter(|_| digits)?;
    Some((Step::Index(index), rest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_names_one_place() {
        let value = json!({ "a": { "b": [{ "c d": 1 }, null, "x"] }, "status": "ok" });
        for (path, found) in [
            ("$", Some(value.clone())),
            ("$.status", Some(json!("ok"))),
            ("$.a.b[0]['c d']", Some(json!(1))),
            ("$.a.b[0][\"c d\"]", Some(json!(1))),
            ("$.a.b[1]", Some(json!(null))),
            ("$['a'].b[2]", Some(json!("x"))),
            ("$.a.b[3]", None),
            ("$.a.b.c", None),
            ("$.status[0]", None),
        ] {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(parsed.find(&value), found.as_ref(), "{path}");
            assert_eq!(parsed.to_string(), path);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "status",
            "$status",
            "$.",
            "$..a",
            "$.a.",
            "$[",
            "$[]",
            "$[-1]",
            "$[+1]",
            "$.*",
            "$[*]",
            "$['a]",
            "$['a'",
            "$.a]",
            "$[1:2]",
            "$[99999999999999999999999]",
        ] {
            assert_eq!(JsonPath::parse(text), None, "{text}");
        }
        assert!(JsonPath::parse(&format!("${}", ".a".repeat(MAX_STEPS))).is_some());
        assert_eq!(JsonPath::parse(&format!("${}", ".a".repeat(MAX_STEPS + 1))), None);
    }
}
