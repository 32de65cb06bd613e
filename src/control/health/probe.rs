//! One look at an endpoint.

use std::slice::from_ref;

use futures_util::{FutureExt as _, future::select_ok};
use reqwest::{
    Method,
    header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING},
};

use super::grpc;
use crate::{
    config::model::{BackendProtocol, HealthCheck, Probe, StatusSet},
    control::{
        Outbound,
        outbound::{Answer, Outgoing, Place, ask_among, connect},
    },
    routing::{Endpoint, Peer},
    tls::ClientTls,
};

/// Addresses of one name that are asked at once.
const AT_ONCE: usize = 8;

/// Whether the endpoint is well, by one of its addresses; either way with the reason in words.
///
/// A name with several addresses is one endpoint, and connections go on to the next address where one fails: so does this.
pub(super) async fn probe(
    check: &HealthCheck,
    endpoint: &Endpoint,
    (protocol, tls): (BackendProtocol, Option<&ClientTls>),
    outbound: &Outbound,
) -> Result<String, String> {
    let place = Place { address: endpoint.address(), tls, protocol };
    let within = check.timeout;
    let asked = async {
        let addresses = endpoint.addresses().resolved().await;
        let addresses = addresses.ok_or("its name has no address")?;
        let looks = addresses.iter().take(AT_ONCE);
        let looks = looks.map(|peer| look(check, place, peer, outbound).boxed());
        select_ok(looks).await.map(|(good, _)| good)
    };
    let late = || Err(format!("no answer within {} ms", within.as_millis()));
    tokio::time::timeout(within, asked).await.unwrap_or_else(|_| late())
}

async fn look(
    check: &HealthCheck,
    place: Place<'_>,
    peer: &Peer,
    outbound: &Outbound,
) -> Result<String, String> {
    match &check.probe {
        Probe::Tcp => match connect(from_ref(peer)).await {
            Ok(_) => Ok("it takes connections".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        Probe::Http { path, host, expect_status } => {
            let host = host_of(host.as_deref(), place)?;
            let outgoing = |url| Outgoing {
                method: Method::GET,
                url,
                headers: HeaderMap::from_iter([(HOST, host)]),
                body: Vec::new(),
                timeout: check.timeout,
            };
            let answer = match peer {
                Peer::Tcp(address) if place.is_plain() => {
                    outbound.ask(outgoing(&format!("http://{address}{path}"))).await
                }
                Peer::Tcp(_) | Peer::Unix(_) => {
                    ask_among(place, from_ref(peer), path, outgoing("")).await
                }
            };
            let answer = answer.map_err(|error| error.to_string())?;
            weigh(&answer, path, expect_status)
        }
        Probe::Grpc { service, host } => {
            let host = host_of(host.as_deref(), place)?;
            // Nothing else carries it, whatever a handshake might agree on.
            let place = Place { protocol: BackendProtocol::Http2, ..place };
            let question = grpc::question(service, host, check.timeout);
            let answer = ask_among(place, from_ref(peer), grpc::PATH, question).await;
            grpc::weigh(&answer.map_err(|error| error.to_string())?, service)
        }
    }
}

/// The host that a request names.
fn host_of(wanted: Option<&str>, place: Place<'_>) -> Result<HeaderValue, String> {
    let host = wanted.unwrap_or_else(|| place.address.authority());
    HeaderValue::from_str(host).map_err(|error| error.to_string())
}

fn weigh(answer: &Answer, path: &str, expected: &StatusSet) -> Result<String, String> {
    let said = format!("GET {path} gives {}", answer.status);
    if !expected.contains(answer.status) {
        return Err(format!("{said}, not {expected}"));
    }
    match unfit(answer) {
        Some(why) => Err(format!("{said} with {why}: clients would get 502")),
        None => Ok(said),
    }
}

/// Why the data plane would not pass the answer on, as far as the library tells: it reads more than can be read in one way.
fn unfit(answer: &Answer) -> Option<&'static str> {
    const LONGEST: usize = 18;
    if answer.status < 200 {
        return Some("a change of protocols that nobody asked for");
    }
    let lengths = answer.headers.get_all(CONTENT_LENGTH);
    let codings = answer.headers.get_all(TRANSFER_ENCODING);
    let is_plain = |length: &HeaderValue| {
        let digits = length.as_bytes();
        (1..=LONGEST).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
    };
    if lengths.iter().chain(&codings).nth(1).is_some() {
        Some("more than one of content-length and transfer-encoding")
    } else if !lengths.iter().all(is_plain) {
        Some("a content-length that is no number")
    } else if !codings.iter().all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        Some("a transfer-encoding other than chunked")
    } else {
        None
    }
}
