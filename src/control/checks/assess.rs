//! Whether answers are what a check expects, and whether two of them agree. Pure.

use serde_json::Value;

use crate::{config::model::Expectations, control::outbound::Answer, domain::is_steering};

/// Longest piece of an answer that is repeated.
const MAX_SHOWN: usize = 120;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) good: bool,
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn good(detail: impl Into<String>) -> Self {
        Self { good: true, detail: detail.into() }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self { good: false, detail: detail.into() }
    }
}

/// Each answer by itself; with `agree`, they must also be the same.
pub(super) fn judge_all(
    answers: &[(String, Result<Answer, String>)],
    expect: &Expectations,
    agree: bool,
) -> Finding {
    let findings: Vec<_> =
        answers.iter().map(|(who, answer)| judge(who, answer.as_ref(), expect)).collect();
    if let Some(bad) = findings.iter().find(|finding| !finding.good) {
        return bad.clone();
    }
    let mut good = answers.iter().filter_map(|(who, answer)| Some((who, answer.as_ref().ok()?)));
    if agree
        && let Some((first, one)) = good.next()
        && let Some((other, why)) = good.find_map(|(who, two)| Some((who, difference(one, two)?)))
    {
        return Finding::bad(format!("{first} and {other} disagree: {why}"));
    }
    let details: Vec<_> = findings.into_iter().map(|finding| finding.detail).collect();
    Finding::good(cut(&details.join("; ")))
}

/// One answer of `who`.
pub(super) fn judge(who: &str, answer: Result<&Answer, &String>, expect: &Expectations) -> Finding {
    match answer {
        Err(why) => Finding::bad(format!("{who}: {why}")),
        Ok(answer) => match unexpected(answer, expect) {
            Some(why) => Finding::bad(format!("{who}: {why}")),
            None => {
                let millis = answer.took.as_millis();
                Finding::good(format!("{who}: {} in {millis} ms", answer.status))
            }
        },
    }
}

/// The first thing about `answer` that is not as it should be.
fn unexpected(answer: &Answer, expect: &Expectations) -> Option<String> {
    if !expect.status.contains(answer.status) {
        return Some(format!("status {}, expected {}", answer.status, expect.status));
    }
    if let Some(most) = expect.max_latency.filter(|most| answer.took > *most) {
        let (took, most) = (answer.took.as_millis(), most.as_millis());
        return Some(format!("took {took} ms, at most {most} ms are expected"));
    }
    for (name, wanted) in &expect.headers {
        let found = answer.headers.get(name).map(|value| value.as_bytes());
        if found != Some(wanted.as_bytes()) {
            let found = found.map_or_else(|| "none".into(), String::from_utf8_lossy);
            return Some(format!("header {name} is {}, expected {wanted}", cut(&found)));
        }
    }
    let body = String::from_utf8_lossy(&answer.body);
    if !body.contains(&*expect.body_contains) {
        return Some(format!("the body lacks {:?}", cut(&expect.body_contains)));
    }
    if expect.json.is_empty() {
        return None;
    }
    let Ok(json) = serde_json::from_slice::<Value>(&answer.body) else {
        return Some("the body is no JSON".to_owned());
    };
    expect.json.iter().find_map(|(path, wanted)| match path.find(&json) {
        Some(found) if is_same(found, wanted) => None,
        Some(found) => Some(format!("{path} is {}, expected {wanted}", cut(&found.to_string()))),
        None => Some(format!("{path} is not there, expected {wanted}")),
    })
}

/// Numbers are the same by value, however they are written: `1` and `1.0`.
fn is_same(found: &Value, wanted: &Value) -> bool {
    found == wanted
        || found
            .as_f64()
            .zip(wanted.as_f64())
            .is_some_and(|(found, wanted)| found.total_cmp(&wanted).is_eq())
}

/// How `two` differs from `one` in status or body; JSON is compared by structure.
fn difference(one: &Answer, two: &Answer) -> Option<String> {
    if one.status != two.status {
        return Some(format!("status {} and {}", one.status, two.status));
    }
    if one.body == two.body {
        return None;
    }
    let json = |answer: &Answer| serde_json::from_slice::<Value>(&answer.body).ok();
    match (json(one), json(two)) {
        (Some(one), Some(two)) => json_difference(&one, &two, "$"),
        (None, _) | (_, None) => {
            let (one, two) = (text(&one.body), text(&two.body));
            Some(format!("body {one:?} and {two:?}"))
        }
    }
}

/// The first place where two JSON values differ, within what the parser takes of depth.
fn json_difference(one: &Value, two: &Value, path: &str) -> Option<String> {
    match (one, two) {
        (Value::Object(first), Value::Object(second)) => {
            let missing = second.keys().find(|key| !first.contains_key(*key));
            let missing = missing.map(|key| format!("{path}.{} is in one of them", cut(key)));
            missing.or_else(|| {
                first.iter().find_map(|(key, value)| {
                    let path = format!("{path}.{}", cut(key));
                    match second.get(key) {
                        Some(other) => json_difference(value, other, &path),
                        None => Some(format!("{path} is in one of them")),
                    }
                })
            })
        }
        (Value::Array(first), Value::Array(second)) if first.len() == second.len() => {
            let mut pairs = first.iter().zip(second).enumerate();
            pairs.find_map(|(at, (one, two))| json_difference(one, two, &format!("{path}[{at}]")))
        }
        _ if is_same(one, two) => None,
        _ => {
            let (one, two) = (cut(&one.to_string()), cut(&two.to_string()));
            Some(format!("{} is {one} and {two}", cut(path)))
        }
    }
}

fn text(body: &[u8]) -> String {
    cut(&String::from_utf8_lossy(&body[..body.len().min(4 * MAX_SHOWN)]))
}

/// The beginning of `text` in one line, without what steers.
pub(super) fn cut(text: &str) -> String {
    let mut shown: String =
        text.chars().take(MAX_SHOWN).map(|c| if is_steering(c) { ' ' } else { c }).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::HeaderMap;
    use serde_json::json;

    use super::*;
    use crate::{config::JsonPath, control::checks::tests::expectations};

    fn answer(status: u16, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("x-version", "2".parse().unwrap());
        let body = body.as_bytes().to_vec();
        Answer {
            status,
            headers,
            body,
            trailers: HeaderMap::new(),
            took: Duration::from_millis(20),
        }
    }

    fn path(text: &str) -> JsonPath {
        JsonPath::parse(text).unwrap()
    }

    #[test]
    fn each_expectation_can_fail() {
        let any = expectations("200");
        let ok = answer(200, r#"{"status":"ok","n":1}"#);
        let judged = |expect: &Expectations| judge("green", Ok(&ok), expect);
        assert_eq!(judged(&any), Finding::good("green: 200 in 20 ms"));
        assert!(
            judged(&Expectations {
                max_latency: Some(Duration::from_millis(20)),
                headers: vec![("x-version".parse().unwrap(), "2".into())],
                body_contains: "status".into(),
                json: vec![(path("$.status"), json!("ok")), (path("$.n"), json!(1.0))],
                ..any.clone()
            })
            .good
        );
        for (expect, says) in [
            (expectations("201-399"), "status 200, expected 201-399"),
            (
                Expectations { max_latency: Some(Duration::from_millis(19)), ..any.clone() },
                "took 20 ms, at most 19 ms",
            ),
            (
                Expectations {
                    headers: vec![("x-version".parse().unwrap(), "3".into())],
                    ..any.clone()
                },
                "header x-version is 2, expected 3",
            ),
            (
                Expectations { headers: vec![("x-b".parse().unwrap(), "3".into())], ..any.clone() },
                "header x-b is none",
            ),
            (Expectations { body_contains: "nok".into(), ..any.clone() }, "the body lacks \"nok\""),
            (
                Expectations { json: vec![(path("$.status"), json!("up"))], ..any.clone() },
                "$.status is \"ok\", expected \"up\"",
            ),
            (
                Expectations { json: vec![(path("$.a[0]"), json!("up"))], ..any.clone() },
                "$.a[0] is not there",
            ),
        ] {
            let finding = judged(&expect);
            assert!(!finding.good && finding.detail.contains(says), "{finding:?}");
        }
        let expect = Expectations { json: vec![(path("$"), json!(1))], ..any };
        let finding = judge("green", Ok(&answer(200, "<html>")), &expect);
        assert_eq!(finding, Finding::bad("green: the body is no JSON"));
    }

    #[test]
    fn both_must_agree_by_structure() {
        let both = |one: &str, two: &str| {
            let answers =
                [("blue".into(), Ok(answer(200, one))), ("green".into(), Ok(answer(200, two)))];
            judge_all(&answers, &expectations("200"), true)
        };
        assert!(
            both(r#"{"a":[1,{"b":null}],"c":2}"#, "{ \"c\": 2.0, \"a\": [1, {\"b\": null}] }").good
        );
        assert!(both("plain", "plain").good);
        for (one, two, says) in [
            (r#"{"a":[1,2]}"#, r#"{"a":[1,3]}"#, "$.a[1] is 2 and 3"),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, "$.b is in one of them"),
            (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, "$.b is in one of them"),
            ("[1]", "[1,2]", "$ is [1] and [1,2]"),
            ("\"1\"", "1", "$ is \"1\" and 1"),
            ("plain", "plain\u{1b}", "body \"plain\" and \"plain \""),
        ] {
            let finding = both(one, two);
            let detail = format!("blue and green disagree: {says}");
            assert_eq!(finding, Finding::bad(detail), "{one} {two}");
        }
    }

    #[test]
    fn one_that_does_not_answer_is_enough() {
        let answers =
            [("blue".into(), Ok(answer(200, ""))), ("green".into(), Err("refused".into()))];
        let finding = judge_all(&answers, &expectations("200"), false);
        assert_eq!(finding, Finding::bad("green: refused"));
    }
}
