//! WebSockets over HTTP/2 (RFC 8441): towards the endpoint the same is asked for as HTTP/1.1 would have it.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
};
use hyper::{body::Incoming, ext::Protocol, upgrade::OnUpgrade};

/// What an endpoint has to say in `sec-websocket-accept`.
pub(in crate::proxy) type Accept = [u8; 28];

/// Makes an extended CONNECT for a WebSocket into the request that opens one in HTTP/1.1, and says how that must be accepted;
/// `None` for all others.
pub(super) fn translate(
    request: &mut Request<Incoming>,
    random: impl Fn() -> u64,
) -> Option<(OnUpgrade, Accept)> {
    if *request.method() != Method::CONNECT {
        return None;
    }
    let asked = request.extensions().get::<Protocol>()?;
    if !asked.as_str().eq_ignore_ascii_case("websocket") {
        return None;
    }
    let opened = hyper::upgrade::on(&mut *request);
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    let host = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let headers = request.headers_mut();
    if let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok())
        && !headers.contains_key(HOST)
    {
        headers.insert(HOST, host);
    }
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let key = STANDARD.encode([random().to_be_bytes(), random().to_be_bytes()].concat());
    let accept = accept(&key);
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    Some((opened, accept))
}

/// The answer to `key` (RFC 6455 §4.2.2): it proves that whoever answers has read it as a WebSocket's, and keeps no secret, so
/// that SHA-1 is good enough.
fn accept(key: &str) -> Accept {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut accept = [0; 28];
    // Twenty bytes make just as many.
    let _ = STANDARD.encode_slice(hash.finish(), &mut accept);
    accept
}

/// The answer to a client whose WebSocket is open.
pub(super) fn opened<B>(answer: &mut Response<B>) {
    *answer.status_mut() = StatusCode::OK;
    let only_here: [HeaderName; 3] = [UPGRADE, CONNECTION, SEC_WEBSOCKET_ACCEPT];
    for name in only_here {
        answer.headers_mut().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    #[test]
    fn a_key_has_one_answer() {
        assert_eq!(&accept("dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
