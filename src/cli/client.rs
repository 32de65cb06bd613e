//! A client of the admin socket: one connection for each request.

use std::{io, path::PathBuf, pin::pin, time::Duration};

use bytes::Bytes;
use futures_util::future::{self, Either};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::exit::{Failure, NO_PROXY, REFUSED};
use crate::admin::wire::ErrorBody;

/// Longest answer read; the status of 20 000 routes fits.
const MAX_ANSWER: usize = 64 << 20;
/// Longest line of a stream.
const MAX_LINE: usize = 1 << 20;

/// Time to be connected, and to be answered.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for the answer to a wish: more than the proxy allows itself.
const WISH_PATIENCE: Duration = Duration::from_secs(15);
/// The same where the proxy has to ask others.
const PREFLIGHT_PATIENCE: Duration = Duration::from_secs(65);

/// The proxy behind a socket.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The answer to a question.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// The answer to a question, as it is.
    pub(super) async fn text(&self, path: &str) -> Result<String, Failure> {
        self.converse(Method::GET, path, Bytes::new(), async |response: Response<Incoming>| {
            let body = self.body(patience(&Method::GET, path), response).await?;
            Ok(String::from_utf8_lossy(&body).into_owned())
        })
        .await
    }

    /// The answer to a wish.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        wish: &impl Serialize,
    ) -> Result<T, Failure> {
        self.exchange(method, path, serde_json::to_vec(wish)?.into()).await
    }

    /// Shows each event of a stream to `seen`, until the stream or `seen` ends it.
    pub(super) async fn follow(
        &self,
        path: &str,
        mut seen: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.converse(Method::GET, path, Bytes::new(), async |response: Response<Incoming>| {
            let mut body = response.into_body();
            let mut lines = Lines::default();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.lost(&error))?;
                lines.add(frame.data_ref().map_or(&[], |data| data.as_ref()), &mut seen)?;
            }
            Ok(())
        })
        .await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
        let patience = patience(&method, path);
        self.converse(method, path, body, async |response: Response<Incoming>| {
            let body = self.body(patience, response).await?;
            Ok(serde_json::from_slice(&body)?)
        })
        .await
    }

    async fn body(
        &self,
        patience: Duration,
        response: Response<Incoming>,
    ) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = self.within(patience, body).await?;
        Ok(body.map_err(|error| self.lost(error.as_ref()))?.to_bytes())
    }

    /// Sends a request and reads its answer with `read`, while the connection is driven beside it.
    async fn converse<T>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let patience = patience(&method, path);
        let stream = self.within(PATIENCE, UnixStream::connect(&self.socket)).await?;
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.lost(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "tidegate")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Failure::new(REFUSED, error.to_string()))?;
        let talk = async move {
            let response = self.within(patience, sender.send_request(request)).await?;
            let response = response.map_err(|error| self.lost(&error))?;
            if response.status().is_success() {
                read(response).await
            } else {
                Err(self.within(patience, refusal(response)).await?)
            }
        };
        // What went wrong with the connection is what the talk says went wrong; a connection without an answer never ends.
        match future::select(pin!(talk), pin!(connection)).await {
            Either::Left((said, _)) => said,
            Either::Right((_, talk)) => talk.await,
        }
    }

    /// What `answer` gives, if it comes in time.
    async fn within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let socket = self.socket.display();
        let late = || {
            let message = format!(
                "the proxy at {socket} has not answered within {} s; it goes on with its traffic. Look at its log, \
                 and restart it if this stays so",
                patience.as_secs()
            );
            Failure::new(NO_PROXY, message)
        };
        tokio::time::timeout(patience, answer).await.map_err(|_| late())
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        let why = match error.kind() == io::ErrorKind::PermissionDenied {
            true => format!("you may not open {socket}; ask for its group, or use sudo"),
            false => format!(
                "no proxy answers at {socket} ({error}); is it running? \
                 Name another socket with --socket or TIDEGATE_SOCKET"
            ),
        };
        Failure::new(NO_PROXY, why)
    }

    fn lost(&self, error: &dyn std::error::Error) -> Failure {
        let socket = self.socket.display();
        Failure::new(NO_PROXY, format!("the proxy at {socket} went away: {error}"))
    }
}

fn patience(method: &Method, path: &str) -> Duration {
    match *method {
        Method::GET => PATIENCE,
        _ if path.ends_with("/preflight") => PREFLIGHT_PATIENCE,
        _ => WISH_PATIENCE,
    }
}

/// What an answer that is none says.
async fn refusal(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let code = if status.is_server_error() { NO_PROXY } else { REFUSED };
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let Ok(ErrorBody { error }) = serde_json::from_slice(&body) else {
        return Failure::new(code, format!("the proxy answered {status}"));
    };
    match error.details.len() {
        0 | 1 => Failure::new(code, error.message),
        _ => Failure::new(code, error.details.join("\n")),
    }
}

/// Finds the events in a stream of server-sent ones.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn add(
        &mut self,
        bytes: &[u8],
        seen: &mut impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for &byte in bytes {
            if byte != b'\n' {
                self.rest.push(byte);
                if self.rest.len() > MAX_LINE {
                    return Err(Failure::new(NO_PROXY, "the proxy sends lines without end"));
                }
                continue;
            }
            let line = std::mem::take(&mut self.rest);
            if let Some(data) = String::from_utf8_lossy(&line).strip_prefix("data: ") {
                seen(data)?;
            }
        }
        Ok(())
    }
}

/// A text as one part of a path.
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let stream = b"id: 1\ndata: {\"a\":1}\n\n: keep-alive\n\nid: 2\ndata: {\"b\":2}\n\n";
        for cut in 1..stream.len() {
            let mut found = Vec::new();
            let mut lines = Lines::default();
            for part in stream.chunks(cut) {
                let mut seen = |data: &str| {
                    found.push(data.to_owned());
                    Ok(())
                };
                lines.add(part, &mut seen).unwrap();
            }
            assert_eq!(found, ["{\"a\":1}", "{\"b\":2}"], "in pieces of {cut}");
        }
    }

    #[test]
    fn a_path_holds_any_text() {
        assert_eq!(segment("127.0.0.1:9001"), "127.0.0.1:9001");
        assert_eq!(segment("[::1]:80/ä"), "%5B::1%5D:80%2F%C3%A4");
        assert_eq!(segment("unix:/run/app.sock"), "unix:%2Frun%2Fapp.sock");
    }
}
