//! WebSockets over HTTP/2 (RFC 8441): towards the endpoint the same is asked for as HTTP/1.1 would have it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
};
use hyper::{body::Incoming, ext::Protocol, upgrade::OnUpgrade};

/// Makes an extended CONNECT for a WebSocket into the request that opens one in HTTP/1.1; `None` for all others.
pub(super) fn translate(
    request: &mut Request<Incoming>,
    random: impl Fn() -> u64,
) -> Option<OnUpgrade> {
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
    let key = [random().to_be_bytes(), random().to_be_bytes()].concat();
    if let Ok(key) = HeaderValue::try_from(STANDARD.encode(key)) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    Some(opened)
}

/// The answer to a client whose WebSocket is open.
pub(super) fn opened<B>(answer: &mut Response<B>) {
    *answer.status_mut() = StatusCode::OK;
    let only_here: [HeaderName; 3] = [UPGRADE, CONNECTION, SEC_WEBSOCKET_ACCEPT];
    for name in only_here {
        answer.headers_mut().remove(name);
    }
}
