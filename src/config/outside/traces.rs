//! `[traces]`: where spans go, and of which requests there are some.

use http::{
    HeaderName, HeaderValue, Uri,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING},
};

use super::{
    leaf::{AttributeKey, HeaderKey, Text},
    raw,
};
use crate::config::{
    fault::{Refusal, quote},
    leaf::Line,
    model::Traces,
    reader::{At, Reader},
};

/// Where a collector takes traces, if its address does not say otherwise (OTLP/HTTP).
const USUAL_PATH: &str = "/v1/traces";

/// Headers that belong to the message, whoever sends it.
const OWN: [HeaderName; 6] =
    [CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];

/// The section as the rest of Tidegate sees it; `None` after a fault.
pub(in crate::config) fn traces(
    section: At<raw::Traces>,
    reader: &mut Reader<'_>,
) -> Option<Traces> {
    let section = section.value;
    let span = section.headers.span;
    let mut headers = Vec::with_capacity(section.headers.value.0.len());
    for (HeaderKey(name), Text(value)) in section.headers.value.0 {
        let refusal = match HeaderValue::from_str(&value) {
            _ if OWN.contains(&name) => {
                Refusal::new("this header is Tidegate's to write").hint("leave it out")
            }
            Ok(_) => {
                headers.push((name, value));
                continue;
            }
            // Not shown: it may be a secret.
            Err(_) => Refusal::new("the value cannot stand in a header")
                .hint("one line of printable characters"),
        };
        reader.fault(span, format!("traces.headers.{name}"), refusal);
    }
    let span = section.resource.span;
    let mut resource = Vec::with_capacity(section.resource.value.0.len());
    for (AttributeKey(name), Line(value)) in section.resource.value.0 {
        if matches!(&*name, "service.name" | "service.version") {
            let refusal = Refusal::new(format!("{} is Tidegate's to write", quote(&name)))
                .hint("the name goes into service_name");
            reader.fault(span, format!("traces.resource.{name}"), refusal);
        }
        resource.push((name, value));
    }
    Some(Traces {
        endpoint: full(&section.endpoint?.value.0),
        sample: section.sample.value,
        service_name: section.service_name.value.0,
        headers,
        resource,
        timeout: section.timeout.value,
        max_delay: section.max_delay.value,
    })
}

/// `endpoint` with the usual path where it has none of its own.
fn full(endpoint: &str) -> Box<str> {
    let Ok(uri) = endpoint.parse::<Uri>() else { return endpoint.into() };
    match (uri.scheme_str(), uri.authority(), uri.path()) {
        (Some(scheme), Some(authority), "" | "/") => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            format!("{scheme}://{authority}{USUAL_PATH}{query}").into()
        }
        (..) => endpoint.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_gets_the_usual_one() {
        for (given, meant) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://[::1]:4318?a=b", "https://[::1]:4318/v1/traces?a=b"),
            ("https://c.example/v1/traces", "https://c.example/v1/traces"),
            ("https://c.example/otlp/in", "https://c.example/otlp/in"),
        ] {
            assert_eq!(&*full(given), meant);
        }
    }
}
