//! One attempt at bringing something to a sink.

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use sha2::Sha256;

use super::{alert_book::Alert, mail, message};
use crate::{
    config::model::{Address, Sink, SinkKind},
    control::{
        Outbound,
        outbound::{OutboundError, Outgoing, read_secret},
    },
    domain::Notification,
};

/// What signs the body of a webhook.
const SIGNATURE: HeaderName = HeaderName::from_static("x-tidegate-signature");

/// The same at every attempt at the same delivery, so that a receiver can tell a repetition.
const DELIVERY: HeaderName = HeaderName::from_static("x-tidegate-delivery");

/// Most of an answer that is repeated.
const MAX_SAID: usize = 200;

/// What is brought.
#[derive(Debug)]
pub(super) enum Parcel {
    /// A notification.
    Notification(Box<Notification>),
    /// Alerts that are open, or over.
    Alerts(Vec<Alert>),
}

/// Why it was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeliveryError {
    /// It may be taken the next time.
    Passing(String),
    /// It will never be.
    Final(String),
}

impl DeliveryError {
    /// Why, in one line.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Passing(why) | Self::Final(why) => why,
        }
    }
}

/// Brings `parcel` to `sink`; `id` is the delivery's.
///
/// # Errors
/// [`DeliveryError`]: whether trying again may help.
pub(super) async fn deliver(
    parcel: &Parcel,
    sink: &Sink,
    id: &str,
    outbound: &Outbound,
) -> Result<(), DeliveryError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (url, body) = match (&sink.kind, parcel) {
        (SinkKind::Email(email), Parcel::Notification(notification)) => {
            return mail::send(email, notification, sink.timeout).await;
        }
        (SinkKind::Slack(url), Parcel::Notification(notification)) => {
            (address(url).await?, message::slack(notification).to_string().into_bytes())
        }
        (SinkKind::Webhook { url, secret_file }, Parcel::Notification(notification)) => {
            let body = message::webhook(notification);
            if let Ok(id) = HeaderValue::from_str(id) {
                headers.insert(DELIVERY, id);
            }
            if let Some(file) = secret_file {
                let key = read_secret(file).await.map_err(DeliveryError::Passing)?;
                headers.insert(SIGNATURE, signature(key.as_bytes(), &body)?);
            }
            (address(url).await?, body)
        }
        (SinkKind::Alertmanager(url), Parcel::Alerts(alerts)) => {
            let url = format!("{}/api/v2/alerts", address(url).await?.trim_end_matches('/'));
            (url, serde_json::to_vec(alerts).unwrap_or_default())
        }
        // The sink's kind changed by a reload while the parcel waited.
        (SinkKind::Alertmanager(_), Parcel::Notification(_))
        | (SinkKind::Email(_) | SinkKind::Slack(_) | SinkKind::Webhook { .. }, Parcel::Alerts(_)) =>
        {
            return Err(DeliveryError::Final("the sink is of another kind now".to_owned()));
        }
    };
    let timeout = sink.timeout;
    let outgoing = Outgoing { method: Method::POST, url: &url, headers, body, timeout };
    let answer = outbound.ask(outgoing).await;
    let answer = answer.map_err(|error| match error {
        OutboundError::Untrusted(why) => DeliveryError::Final(why),
        OutboundError::Client(_)
        | OutboundError::Timeout(_)
        | OutboundError::Broken(_)
        | OutboundError::TooLong => DeliveryError::Passing(error.to_string()),
    })?;
    let said = String::from_utf8_lossy(&answer.body);
    let said: String = said.trim().chars().take(MAX_SAID).collect();
    let why = || match said.is_empty() {
        true => format!("status {}", answer.status),
        false => format!("status {}: {}", answer.status, message::line(&said)),
    };
    match answer.status {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500.. => Err(DeliveryError::Passing(why())),
        _ => Err(DeliveryError::Final(why())),
    }
}

async fn address(address: &Address) -> Result<String, DeliveryError> {
    match address {
        Address::Url(url) => Ok(url.to_string()),
        Address::File(file) => read_secret(file).await.map_err(DeliveryError::Passing),
    }
}

/// `sha256=` and the HMAC-SHA256 of `body` in hexadecimal.
fn signature(key: &[u8], body: &[u8]) -> Result<HeaderValue, DeliveryError> {
    let refused = |why: &dyn ToString| DeliveryError::Final(why.to_string());
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| refused(&error))?;
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("sha256={hex}")).map_err(|error| refused(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example of Wikipedia's article on HMAC, made with another implementation.
    #[test]
    fn the_signature_is_hmac_sha256() {
        let signed = signature(b"key", b"The quick brown fox jumps over the lazy dog").unwrap();
        assert_eq!(
            signed,
            "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"
        );
    }
}
