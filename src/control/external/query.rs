//! An instant query to Prometheus, and the one number in its answer.

use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde::Deserialize;

use super::latest::Response;
use crate::{
    config::model::Metric,
    control::{
        Outbound,
        outbound::{Answer, Outgoing, read_secret},
    },
};

/// Most of a server's words that are repeated.
const MAX_SAID: usize = 200;

/// Asks `metric`'s server once.
pub(super) async fn ask(metric: &Metric, outbound: &Outbound) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(file) = &metric.token_file {
        let token = match read_secret(file).await {
            Ok(token) => token,
            Err(why) => return Response::Silence(why),
        };
        let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}")) else {
            return Response::Silence(format!("{}: it is no token", file.display()));
        };
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let base = format!("{}/api/v1/query", metric.prometheus);
    let url = match reqwest::Url::parse_with_params(&base, [("query", &*metric.query)]) {
        Ok(url) => url,
        Err(error) => return Response::Silence(format!("this is no address: {error}")),
    };
    let outgoing = Outgoing {
        method: Method::GET,
        url: url.as_str(),
        headers,
        body: Vec::new(),
        timeout: metric.timeout,
    };
    match outbound.ask(outgoing).await {
        Ok(answer) => read(&answer),
        Err(error) => Response::Silence(error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Body {
    Success { data: Data },
    Error { error: String },
}

/// By type; each sample is its time and its value as text.
#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar((f64, String)),
    Vector(Vec<Series>),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Series {
    value: Option<(f64, String)>,
}

/// The number in `answer`. A server in trouble says nothing about the metric; a query that it refuses does.
fn read(answer: &Answer) -> Response {
    if answer.status >= 500 || matches!(answer.status, 401 | 403 | 404 | 429) {
        return Response::Silence(format!("the server answers with status {}", answer.status));
    }
    match serde_json::from_slice(&answer.body) {
        Ok(Body::Success { data }) => number(data),
        Ok(Body::Error { error }) => {
            let said: String = error.chars().take(MAX_SAID).collect();
            Response::None(format!("Prometheus refuses the query: {}", said.escape_debug()))
        }
        Err(_) => Response::Silence(format!(
            "the answer with status {} is none of Prometheus'",
            answer.status
        )),
    }
}

fn number(data: Data) -> Response {
    let value = match data {
        Data::Scalar((_, value)) => value,
        Data::Vector(mut series) => match (series.pop(), series.len()) {
            (None, _) => return Response::None("no series fits the query".to_owned()),
            (Some(Series { value: Some((_, value)) }), 0) => value,
            (Some(Series { value: None }), 0) => {
                return Response::None("the answer is a histogram, not a number".to_owned());
            }
            (Some(_), others) => {
                let count = others + 1;
                let why = format!("{count} series fit the query: aggregate them to one");
                return Response::None(why);
            }
        },
        Data::Matrix(_) => {
            return Response::None("the query gives a range, not one number".to_owned());
        }
        Data::String(_) => return Response::None("the query gives a text".to_owned()),
    };
    match value.parse::<f64>() {
        Ok(number) if number.is_nan() => Response::None("the answer is NaN".to_owned()),
        Ok(number) => Response::Number(number),
        Err(_) => Response::None("the answer is no number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(status: u16, body: &str) -> Response {
        let body = body.as_bytes().to_vec();
        read(&Answer {
            status,
            headers: HeaderMap::new(),
            body,
            trailers: HeaderMap::new(),
            took: Duration::ZERO,
        })
    }

    fn vector(values: &[&str]) -> Response {
        let series: Vec<_> = values
            .iter()
            .map(|value| format!(r#"{{"metric":{{}},"value":[1.5,"{value}"]}}"#))
            .collect();
        said(
            200,
            &format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#,
                series.join(",")
            ),
        )
    }

    #[test]
    fn one_number_is_an_answer() {
        assert_eq!(vector(&["0.25"]), Response::Number(0.25));
        assert_eq!(vector(&["+Inf"]), Response::Number(f64::INFINITY));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}"#;
        assert_eq!(said(200, scalar), Response::Number(3.0));
        let warned = r#"{"status":"success","warnings":["w"],"data":{"resultType":"scalar","result":[1,"3"]}}"#;
        assert_eq!(said(200, warned), Response::Number(3.0));
    }

    #[test]
    fn anything_else_is_none_with_its_reason() {
        for (response, why) in [
            (vector(&[]), "no series"),
            (vector(&["1", "2"]), "2 series"),
            (vector(&["NaN"]), "NaN"),
            (vector(&["x"]), "no number"),
            (
                said(200, r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#),
                "a range",
            ),
            (
                said(
                    200,
                    r#"{"status":"success","data":{"resultType":"string","result":[1,"a"]}}"#,
                ),
                "a text",
            ),
            (
                said(
                    200,
                    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#,
                ),
                "a histogram",
            ),
            (
                said(400, r#"{"status":"error","errorType":"bad_data","error":"parse \n error"}"#),
                "refuses the query: parse \\n error",
            ),
        ] {
            let Response::None(reason) = &response else { panic!("{response:?}") };
            assert!(reason.contains(why), "{reason}");
        }
    }

    #[test]
    fn a_server_in_trouble_says_nothing_about_the_metric() {
        for (status, body) in
            [(503, "{}"), (200, "<html>"), (401, r#"{"status":"error","error":"no"}"#), (200, "")]
        {
            assert!(matches!(said(status, body), Response::Silence(_)), "{status} {body}");
        }
    }
}
