//! A client of the admin socket, for commands and for the demo: one connection for each request.

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{self, Either};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::wire::ErrorBody;

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

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is another group's.
    #[error("you may not open {}; ask for its group, or use sudo", .0.display())]
    Forbidden(PathBuf),
    /// Nobody listens.
    #[error(
        "no proxy answers at {} ({source}); is it running? Name another socket with --socket or TIDEGATE_SOCKET",
        socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Time is up.
    #[error(
        "the proxy at {} has not answered within {} s; it goes on with its traffic. Look at its log, \
         and restart it if this stays so",
        socket.display(), patience.as_secs()
    )]
    Late {
        /// The socket.
        socket: PathBuf,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The connection broke, or what came over it is no HTTP.
    #[error("the proxy at {} went away: {source}", socket.display())]
    Lost {
        /// The socket.
        socket: PathBuf,
        /// What broke.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stream is none.
    #[error("the proxy sends lines without end")]
    Endless,
    /// The proxy has said no.
    #[error("{said}")]
    Refused {
        /// With this status.
        status: StatusCode,
        /// In these words, a line for each thing that is wrong.
        said: String,
    },
    /// What was asked for has no place in a request.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// An answer is not what it should be, or a wish cannot be written down.
    #[error("unexpected JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The proxy behind a socket.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Asks whoever listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The answer to a question.
    ///
    /// # Errors
    /// [`ClientError`]: there is none, or it is another than it should be.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        Ok(serde_json::from_slice(&self.ask(Method::GET, path, Bytes::new()).await?)?)
    }

    /// The answer to a question, as it is.
    ///
    /// # Errors
    /// [`ClientError`]: there is none.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let answer = self.ask(Method::GET, path, Bytes::new()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The answer to a wish.
    ///
    /// # Errors
    /// [`ClientError`]: there is none, or it is another than it should be.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        wish: &impl Serialize,
    ) -> Result<T, ClientError> {
        let wish = serde_json::to_vec(wish)?.into();
        Ok(serde_json::from_slice(&self.ask(method, path, wish).await?)?)
    }

    /// Shows each event of a stream to `seen`, until the stream or `seen` ends it.
    ///
    /// # Errors
    /// What `seen` says, or [`ClientError`].
    pub async fn follow<E: From<ClientError>>(
        &self,
        path: &str,
        mut seen: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        self.converse(Method::GET, path, Bytes::new(), async |response: Response<Incoming>| {
            let mut body = response.into_body();
            let mut lines = Lines::default();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.lost(error))?;
                lines.add(frame.data_ref().map_or(&[], |data| data.as_ref()), &mut seen)?;
            }
            Ok(())
        })
        .await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let patience = patience(&method, path);
        self.converse(method, path, body, async |response: Response<Incoming>| {
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
            let body = self.within(patience, body).await?;
            let lost = |source| ClientError::Lost { socket: self.socket.clone(), source };
            Ok(body.map_err(lost)?.to_bytes())
        })
        .await
    }

    /// Sends a request and reads its answer with `read`, while the connection is driven beside it.
    async fn converse<T, E: From<ClientError>>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, E>,
    ) -> Result<T, E> {
        let patience = patience(&method, path);
        let stream = self.within(PATIENCE, UnixStream::connect(&self.socket)).await?;
        let stream = stream.map_err(|error| unreachable(&self.socket, error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.lost(error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "tidegate")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(ClientError::from)?;
        let talk = async move {
            let response = self.within(patience, sender.send_request(request)).await?;
            let response = response.map_err(|error| self.lost(error))?;
            if response.status().is_success() {
                read(response).await
            } else {
                Err(self.within(patience, refusal(response)).await?.into())
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
    ) -> Result<T, ClientError> {
        let late = |_| ClientError::Late { socket: self.socket.clone(), patience };
        tokio::time::timeout(patience, answer).await.map_err(late)
    }

    fn lost(&self, error: hyper::Error) -> ClientError {
        ClientError::Lost { socket: self.socket.clone(), source: error.into() }
    }
}

fn unreachable(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_owned();
    match source.kind() == io::ErrorKind::PermissionDenied {
        true => ClientError::Forbidden(socket),
        false => ClientError::Unreachable { socket, source },
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
async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let said = match serde_json::from_slice(&body) {
        Err(_) => format!("the proxy answered {status}"),
        Ok(ErrorBody { error }) if error.details.len() < 2 => error.message,
        Ok(ErrorBody { error }) => error.details.join("\n"),
    };
    ClientError::Refused { status, said }
}

/// Finds the events in a stream of server-sent ones.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn add<E: From<ClientError>>(
        &mut self,
        bytes: &[u8],
        seen: &mut impl FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        for &byte in bytes {
            if byte != b'\n' {
                self.rest.push(byte);
                if self.rest.len() > MAX_LINE {
                    return Err(ClientError::Endless.into());
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
pub fn segment(text: &str) -> String {
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
                    Ok::<(), ClientError>(())
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
