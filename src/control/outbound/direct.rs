//! Requests to endpoints over a connection that is made as the data plane makes it: to a unix socket, under TLS, or in HTTP/2,
//! which has the host in the target.

use std::{error::Error, io};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Uri, Version,
    header::{HOST, USER_AGENT},
    response,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{Answer, MAX_ANSWER, OutboundError, Outgoing, Place, is_untrusted};
use crate::{
    config::model::BackendProtocol,
    lifecycle::clock,
    routing::{Peer, Transport},
};

/// Head, body and trailers.
type Received = (response::Parts, Vec<u8>, HeaderMap);

/// Asks whoever is at `place` at the first of its addresses that takes a connection. The caller sees to the time.
///
/// # Errors
/// [`OutboundError`].
pub(super) async fn ask(
    place: Place<'_>,
    found: &[Peer],
    path: &str,
    outgoing: Outgoing<'_>,
) -> Result<Answer, OutboundError> {
    let began = clock::now();
    let transport = connect(found).await.map_err(|error| broken(&error))?;
    let (parts, body, trailers) = match place.tls {
        None => {
            let mut request = request(place, "http", path, outgoing)?;
            if !place.may_speak_http2() {
                as_http1(&mut request)?;
            }
            converse(transport, request).await?
        }
        Some(tls) => {
            let name = tls.name_for(place.address).map_err(|error| broken(&error))?;
            let connector = TlsConnector::from(tls.config().clone());
            let stream =
                connector.connect(name, transport).await.map_err(|error| broken(&error))?;
            let mut request = request(place, "https", path, outgoing)?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                if place.protocol == BackendProtocol::Http2 {
                    let why = "it does not speak HTTP/2 over TLS".to_owned();
                    return Err(OutboundError::Broken(why));
                }
                as_http1(&mut request)?;
            }
            converse(stream, request).await?
        }
    };
    let took = clock::now().since(began);
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, trailers, took })
}

/// Connects to the first of `found` that takes it.
///
/// # Errors
/// Why the last one did not.
pub(in crate::control) async fn connect(found: &[Peer]) -> io::Result<Transport> {
    let mut why = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for peer in found {
        match Transport::connect(peer).await {
            Ok(transport) => return Ok(transport),
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// The request as HTTP/2 has it.
fn request(
    place: Place<'_>,
    scheme: &str,
    path: &str,
    outgoing: Outgoing<'_>,
) -> Result<Request<Full<Bytes>>, OutboundError> {
    let Outgoing { method, mut headers, body, .. } = outgoing;
    let host = headers.remove(HOST);
    let authority = match &host {
        Some(host) => host.as_bytes(),
        None => place.address.authority().as_bytes(),
    };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
    let mut request = Request::new(Full::new(body.into()));
    *request.method_mut() = method;
    *request.uri_mut() = uri.map_err(|error| broken(&error))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The same as HTTP/1.1 has it.
fn as_http1(request: &mut Request<Full<Bytes>>) -> Result<(), OutboundError> {
    let parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(authority) = parts.authority {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|error| broken(&error))?;
        request.headers_mut().insert(HOST, host);
    }
    *request.uri_mut() = parts.path_and_query.map_or_else(Uri::default, Uri::from);
    *request.version_mut() = Version::HTTP_11;
    Ok(())
}

async fn converse<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Received, OutboundError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = TokioIo::new(stream);
    if request.version() == Version::HTTP_2 {
        let opened = http2::handshake(TokioExecutor::new(), io).await;
        let (mut sender, connection) = opened.map_err(|error| broken(&error))?;
        beside(connection, async move { take(sender.send_request(request).await).await }).await
    } else {
        let (mut sender, connection) =
            http1::handshake(io).await.map_err(|error| broken(&error))?;
        beside(connection, async move { take(sender.send_request(request).await).await }).await
    }
}

/// Drives `connection` while `answer` is waited for, which learns of its end by itself.
async fn beside<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = T>,
) -> T {
    let driven = async {
        let _ = connection.await;
        std::future::pending::<T>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driven => never,
    }
}

async fn take(answer: hyper::Result<http::Response<Incoming>>) -> Result<Received, OutboundError> {
    let (parts, mut rest) = answer.map_err(|error| broken(&error))?.into_parts();
    let (mut body, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = rest.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        match frame.into_data() {
            Ok(data) if body.len() + data.len() > MAX_ANSWER => return Err(OutboundError::TooLong),
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((parts, body, trailers))
}

fn broken(error: &(dyn Error + 'static)) -> OutboundError {
    let mut why = error.to_string();
    if let Some(cause) = error.source().map(ToString::to_string)
        && !why.contains(&cause)
    {
        why = format!("{why}: {cause}");
    }
    if is_untrusted(error) { OutboundError::Untrusted(why) } else { OutboundError::Broken(why) }
}
