//! The health checking protocol of gRPC: `grpc.health.v1.Health/Check`, asked over HTTP/2, and what its answer means.
//!
//! Its two messages are one field each, so that they are written and read here (protobuf's encoding, length-prefixed as gRPC
//! has it); whatever is not exactly one well-formed message is a failure that says what was seen.

mod message;

use std::{borrow::Cow, time::Duration};

use reqwest::{
    Method,
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE},
};

use self::message::{ServingStatus, framed, request, unframed};
use crate::{
    control::outbound::{Answer, Outgoing},
    domain::is_steering,
};

/// What is asked for.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Most of an endpoint's own words that is shown.
const MAX_WORDS: usize = 200;

/// Codes of `grpc-status` by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The question after `service`; empty: after the whole server.
pub(super) fn question(service: &str, host: HeaderValue, timeout: Duration) -> Outgoing<'static> {
    /// `grpc-timeout` has eight digits.
    const LONGEST: u128 = 99_999_999;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, host);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let timeout_ms = u64::try_from(timeout.as_millis().min(LONGEST)).unwrap_or(u64::MAX);
    if let Ok(value) = HeaderValue::from_str(&format!("{timeout_ms}m")) {
        headers.insert(TIMEOUT, value);
    }
    Outgoing { method: Method::POST, url: "", headers, body: framed(&request(service)), timeout }
}

/// Whether `answer` says that `service` is well; either way in words.
pub(super) fn weigh(answer: &Answer, service: &str) -> Result<String, String> {
    let subject = match service {
        "" => Cow::Borrowed("the server"),
        name => Cow::Owned(format!("service {name}")),
    };
    if answer.status != 200 {
        return Err(format!("the gRPC health check gives HTTP status {}, not 200", answer.status));
    }
    let kind = answer.headers.get(CONTENT_TYPE);
    if !kind.is_some_and(|kind| is_grpc(kind.as_bytes())) {
        let kind = kind.map_or_else(|| "none".to_owned(), |kind| words(kind.as_bytes()));
        return Err(format!("the answer is no gRPC: its content-type is {kind}"));
    }
    // Without a message, a status comes with the head.
    let said = |name| answer.trailers.get(&name).or_else(|| answer.headers.get(&name));
    let Some(code) = said(STATUS) else {
        return Err("the gRPC answer ended without a grpc-status".to_owned());
    };
    if code != "0" {
        let message = said(MESSAGE).map(HeaderValue::as_bytes).filter(|text| !text.is_empty());
        let message = message.map(|text| format!(": {}", words(&unescape(text))));
        let message = message.unwrap_or_default();
        return Err(format!("grpc-status {} for {subject}{message}", named(code)));
    }
    let status = ServingStatus::read(unframed(&answer.body)?)?;
    match status {
        ServingStatus::Serving => Ok(format!("{subject} is SERVING")),
        ServingStatus::Unknown => Err(format!("{subject} is UNKNOWN, not SERVING")),
        ServingStatus::NotServing => Err(format!("{subject} is NOT_SERVING")),
        ServingStatus::ServiceUnknown => Err(format!("{subject} is SERVICE_UNKNOWN, not SERVING")),
        ServingStatus::Other(number) => {
            Err(format!("{subject} has status {number}, which is unknown"))
        }
    }
}

/// Whether a content type is that of gRPC with protobuf.
fn is_grpc(kind: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"application/grpc")
        || kind.eq_ignore_ascii_case(b"application/grpc+proto")
}

/// A code with its name, where it has one.
fn named(code: &HeaderValue) -> String {
    let number = code.to_str().ok().and_then(|text| text.parse::<usize>().ok());
    match number.and_then(|number| CODES.get(number).map(|name| (number, name))) {
        Some((number, name)) => format!("{number} ({name})"),
        None => words(code.as_bytes()),
    }
}

/// What `%XX` stands for in a `grpc-message`; whatever is none stays as it is.
fn unescape(text: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%'
            && let [high, low, behind @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push((high * 16 + low) as u8);
            rest = behind;
        } else {
            out.push(byte);
        }
    }
    out
}

/// An endpoint's own words, cut, and without what steers a terminal.
fn words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let plain = text.chars().take(MAX_WORDS).map(|c| if is_steering(c) { ' ' } else { c });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(body: &[u8], trailers: &[(&'static str, &'static str)]) -> Answer {
        let mut told = HeaderMap::new();
        for (name, value) in trailers {
            told.insert(*name, HeaderValue::from_static(value));
        }
        Answer {
            status: 200,
            headers: HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            )]),
            body: body.to_vec(),
            trailers: told,
            took: Duration::ZERO,
        }
    }

    const OK: &[(&str, &str)] = &[("grpc-status", "0")];

    #[test]
    fn the_question_is_what_the_protocol_says() {
        let host = HeaderValue::from_static("localhost");
        let asked = question("shop.Cart", host.clone(), Duration::from_secs(1));
        assert_eq!(asked.body, b"\0\0\0\0\x0b\x0a\x09shop.Cart");
        assert_eq!(asked.headers["grpc-timeout"], "1000m");
        assert_eq!(asked.headers["te"], "trailers");
        assert_eq!(question("", host, Duration::MAX).body, [0; 5]);
    }

    #[test]
    fn serving_is_well_and_nothing_else() {
        for (number, said) in [
            (0_u8, Err("the server is UNKNOWN, not SERVING")),
            (1, Ok("the server is SERVING")),
            (2, Err("the server is NOT_SERVING")),
            (3, Err("the server is SERVICE_UNKNOWN, not SERVING")),
            (9, Err("the server has status 9, which is unknown")),
        ] {
            let got = weigh(&answer(&framed(&[8, number]), OK), "");
            assert_eq!(got.as_deref().map_err(String::as_str), said, "{number}");
        }
        // Protobuf leaves out what is zero.
        assert!(weigh(&answer(&framed(&[]), OK), "").unwrap_err().contains("UNKNOWN"));
        let got = weigh(&answer(&framed(&[8, 1]), OK), "shop.Cart");
        assert_eq!(got.unwrap(), "service shop.Cart is SERVING");
    }

    #[test]
    fn a_failure_says_what_was_seen() {
        let good = framed(&[8, 1]);
        let (mut missing, mut html) = (answer(&good, OK), answer(&good, OK));
        missing.status = 404;
        html.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        let mut bare = answer(&good, OK);
        bare.headers.clear();
        let failed = [("grpc-status", "5"), ("grpc-message", "no%20such%0athing%")];
        let large = [&[0, 0, 1, 0, 0][..], &[0; 65_536]].concat();
        for (name, answer, said) in [
            ("status", missing, "HTTP status 404, not 200"),
            ("content-type", html, "its content-type is text/html"),
            ("no content-type", bare, "its content-type is none"),
            ("no grpc-status", answer(&good, &[]), "without a grpc-status"),
            (
                "grpc-status",
                answer(b"", &failed),
                "grpc-status 5 (NOT_FOUND) for the server: no such thing%",
            ),
            ("odd grpc-status", answer(b"", &[("grpc-status", "99")]), "grpc-status 99 for"),
            ("no message", answer(b"", OK), "has no message"),
            ("half a prefix", answer(&good[..3], OK), "breaks off within its prefix"),
            ("half a message", answer(&good[..6], OK), "breaks off: 1 of 2 bytes"),
            ("compressed", answer(&[1, 0, 0, 0, 0], OK), "compressed"),
            ("two", answer(&[&good[..], &good].concat(), OK), "more than one message"),
            ("too large", answer(&large, OK), "has 65536 bytes, more than 4096"),
            ("a field cut off", answer(&framed(&[8]), OK), "malformed"),
            ("a field of another kind", answer(&framed(&[0x0a, 1, 1]), OK), "malformed"),
            ("a field without number", answer(&framed(&[0, 1]), OK), "malformed"),
            ("a group", answer(&framed(&[0x13, 0x14]), OK), "malformed"),
            ("a number without end", answer(&framed(&[0xff; 20]), OK), "malformed"),
            ("a length beyond the end", answer(&framed(&[0x12, 9, 1]), OK), "malformed"),
        ] {
            let told = weigh(&answer, "").unwrap_err();
            assert!(told.contains(said), "{name}: {told}");
        }
    }

    #[test]
    fn a_status_may_come_with_the_head() {
        let mut alone = answer(b"", &[]);
        alone.headers.insert(STATUS, HeaderValue::from_static("12"));
        alone.headers.insert(MESSAGE, HeaderValue::from_static(""));
        let told = weigh(&alone, "").unwrap_err();
        assert_eq!(told, "grpc-status 12 (UNIMPLEMENTED) for the server");
    }

    proptest! {
        #[test]
        fn no_bytes_are_well_but_those_that_say_so(
            body in prop::collection::vec(prop_oneof![0_u8..32, any::<u8>()], 0..24),
        ) {
            // Whatever comes, it neither panics nor is well without the one field that says so.
            let _ = weigh(&answer(&body, OK), "");
            if weigh(&answer(&framed(&body), OK), "").is_ok() {
                prop_assert!(body.windows(2).any(|pair| pair[0] & 0x7f == 8 && pair[1] & 0x7f <= 1));
            }
        }
    }
}
