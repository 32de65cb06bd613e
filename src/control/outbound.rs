//! Requests that Tidegate makes of its own accord: to Prometheus, to sinks of notifications, to hooks, and as checks.
//!
//! Every request has a deadline and every answer a limit. Each opens a connection of its own: they are few, and an idle
//! connection that has died must not look like a fault of whoever is asked. Redirects are answers like any other, and
//! no proxy of the environment stands between: what the configuration names is what is asked.

mod direct;

pub(super) use direct::connect;

use std::{error::Error as _, io, path::Path, sync::Arc, time::Duration};

use reqwest::{Client, ClientBuilder, Method, header::HeaderMap, redirect};
use tokio::{net::lookup_host, sync::OnceCell};

use crate::{
    config::model::BackendProtocol,
    domain::{EndpointAddress, Location},
    lifecycle::{clock, read_regular},
    routing::Peer,
    telemetry::SELF_ACTOR,
    tls::ClientTls,
};

/// Most of an answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Longest file with a token, password or address.
const MAX_SECRET: u64 = 4 << 10;

/// Makes requests; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    /// Made when first used: reading the system's certificates costs time and memory.
    client: Arc<OnceCell<Result<Client, String>>>,
}

/// One request.
#[derive(Debug)]
pub(super) struct Outgoing<'r> {
    pub(super) method: Method,
    pub(super) url: &'r str,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The whole answer must be there by then.
    pub(super) timeout: Duration,
}

/// An endpoint, and what the data plane would connect to it with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    pub(super) address: &'p EndpointAddress,
    pub(super) tls: Option<&'p ClientTls>,
    pub(super) protocol: BackendProtocol,
}

impl Place<'_> {
    /// Neither certificates, nor HTTP/2, nor a unix socket.
    pub(super) fn is_plain(self) -> bool {
        let has_host = matches!(self.address.location(), Location::Network { .. });
        has_host && self.tls.is_none() && !self.may_speak_http2()
    }

    /// Everywhere it listens, looked up now.
    ///
    /// # Errors
    /// The system's own.
    pub(super) async fn peers(self) -> io::Result<Vec<Peer>> {
        match self.address.location() {
            Location::Network { host, port } => {
                Ok(lookup_host((host, port)).await?.map(Peer::Tcp).collect())
            }
            Location::Unix(path) => Ok(vec![Peer::Unix(path.into())]),
        }
    }

    /// Without a handshake there is nothing that an endpoint could agree to.
    const fn may_speak_http2(self) -> bool {
        match self.protocol {
            BackendProtocol::Http1 => false,
            BackendProtocol::Http2 => true,
            BackendProtocol::Auto => self.tls.is_some(),
        }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// What followed the body, of an endpoint that is not plain.
    pub(super) trailers: HeaderMap,
    /// From the begin of the request to the last byte of the answer.
    pub(super) took: Duration,
}

/// Why nothing came back. None of them holds the address, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutboundError {
    /// There is no client to ask with.
    #[error("cannot make requests: {0}")]
    Client(String),
    /// It was not answered in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Whoever answered has no certificate that this system trusts; asking again does not help.
    #[error("{0}")]
    Untrusted(String),
    /// Connection or answer broke.
    #[error("{0}")]
    Broken(String),
    /// The answer goes on and on.
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
}

impl Outbound {
    /// Sends `outgoing` and waits for the whole answer.
    ///
    /// # Errors
    /// [`OutboundError`]; an answer with an error's status is an answer.
    pub(super) async fn ask(&self, outgoing: Outgoing<'_>) -> Result<Answer, OutboundError> {
        let timeout = outgoing.timeout;
        let asked = tokio::time::timeout(timeout, async {
            let client = self.client.get_or_init(make_client).await.as_ref();
            let client = client.map_err(|why| OutboundError::Client(why.clone()))?;
            exchange(client, outgoing).await
        });
        asked.await.unwrap_or(Err(OutboundError::Timeout(timeout)))
    }

    /// The same for `path` at an endpoint, as the data plane would connect to it; the address in `outgoing` is not looked at.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub(super) async fn ask_at(
        &self,
        place: Place<'_>,
        path: &str,
        outgoing: Outgoing<'_>,
    ) -> Result<Answer, OutboundError> {
        let address = place.address;
        if place.is_plain() {
            return self
                .ask(Outgoing { url: &format!("http://{address}{path}"), ..outgoing })
                .await;
        }
        let timeout = outgoing.timeout;
        let asked = tokio::time::timeout(timeout, async {
            let found = place.peers().await;
            let found = found.map_err(|why| OutboundError::Broken(why.to_string()))?;
            ask_among(place, &found, path, outgoing).await
        });
        asked.await.unwrap_or(Err(OutboundError::Timeout(timeout)))
    }
}

/// Asks an endpoint that is not plain, at the addresses that its name is known to have.
///
/// # Errors
/// [`OutboundError`].
pub(super) async fn ask_among(
    place: Place<'_>,
    found: &[Peer],
    path: &str,
    outgoing: Outgoing<'_>,
) -> Result<Answer, OutboundError> {
    // Rare, and large.
    Box::pin(direct::ask(place, found, path, outgoing)).await
}

async fn exchange(client: &Client, outgoing: Outgoing<'_>) -> Result<Answer, OutboundError> {
    let Outgoing { method, url, headers, body, timeout } = outgoing;
    let began = clock::now();
    let request = client.request(method, url).headers(headers).timeout(timeout).body(body);
    let mut answer = request.send().await.map_err(|error| broken(error, timeout))?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| broken(error, timeout))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(OutboundError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    let headers = std::mem::take(answer.headers_mut());
    let took = clock::now().since(began);
    Ok(Answer { status: answer.status().as_u16(), headers, body, trailers: HeaderMap::new(), took })
}

/// Makes the client beside the runtime, since it reads from a disk, which may hang.
async fn make_client() -> Result<Client, String> {
    tokio::task::spawn_blocking(client).await.unwrap_or_else(|error| Err(error.to_string()))
}

fn plain_builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .http1_only()
        .no_proxy()
        .pool_max_idle_per_host(0)
}

fn client() -> Result<Client, String> {
    // Fails when there is one already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let checked = plain_builder().build().or_else(|error| {
        // A bare container has no certificates: what is not encrypted works all the same.
        tracing::warn!(actor = SELF_ACTOR, %error, "no address with https can be checked");
        plain_builder().tls_certs_only([]).build()
    });
    checked.map_err(|error| told(&error))
}

fn broken(error: reqwest::Error, timeout: Duration) -> OutboundError {
    if error.is_timeout() {
        return OutboundError::Timeout(timeout);
    }
    let untrusted = is_untrusted(&error);
    let why = told(&error.without_url());
    if untrusted { OutboundError::Untrusted(why) } else { OutboundError::Broken(why) }
}

/// Whether a certificate that was refused is at the bottom of `error`.
pub(super) fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // An error of the system's hides the one inside from its sources.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// An error with its causes in one line.
fn told(error: &reqwest::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        cause = error.source();
    }
    texts.join(": ")
}

/// The text of a small file, without the white space around it. Reads beside the runtime, since a disk may hang.
///
/// # Errors
/// Why there is none, with the file's name.
pub(super) async fn read_secret(path: &Path) -> Result<String, String> {
    let file = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_regular(&file, MAX_SECRET)).await;
    let shown = path.display();
    let bytes = read.map_err(|error| format!("{shown}: {error}"))?;
    let bytes = bytes.map_err(|error| format!("{shown}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown}: it is no text"))?;
    match text.trim() {
        "" => Err(format!("{shown}: it is empty")),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests;
