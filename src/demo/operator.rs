//! The operator's side of the demo: looks and changes through the admin socket, as `tidegate status` and `split` do.

use std::path::{Path, PathBuf};

use futures_util::future;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{
    Error,
    side::{Side, Sides},
};
use crate::admin::wire::{RouteStatus, Signature, SplitWish, Status};

/// The route whose split the demo shows.
pub(super) const ROUTE: &str = "demo";
const MAX_ANSWER: usize = 1 << 20;

/// Talks to the admin socket.
#[derive(Debug)]
pub(super) struct Operator {
    socket: PathBuf,
}

impl Operator {
    /// At `socket`.
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The demo's route as it stands; `None` when the configuration has been edited and it is gone.
    pub(super) async fn route(&self) -> Result<Option<RouteStatus>, Error> {
        let status: Status = self.ask(Method::GET, "/v1/status", Bytes::new()).await?;
        Ok(status.routes.into_iter().find(|route| route.name.as_str() == ROUTE))
    }

    /// Sets the split in percent, and returns when it is in force.
    pub(super) async fn split(&self, percents: Sides<u8>) -> Result<(), Error> {
        let share = |side: Side| (side.name().to_owned(), f64::from(percents[side]));
        let wish = SplitWish {
            shares: Side::ALL.map(share).into(),
            signature: Signature { actor: None, reason: Some("the demo's own change".to_owned()) },
        };
        let body = serde_json::to_vec(&wish).map_err(wrong)?;
        let path = format!("/v1/routes/{ROUTE}/split");
        self.ask::<RouteStatus>(Method::PUT, &path, body.into()).await.map(drop)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Error> {
        let stream = UnixStream::connect(&self.socket).await.map_err(wrong)?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "tidegate")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(wrong)?;
        let talk = async move {
            let response = sender.send_request(request).await.map_err(wrong)?;
            let is_good = response.status().is_success();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(wrong)?.to_bytes();
            match is_good {
                true => serde_json::from_slice(&body).map_err(wrong),
                false => Err(wrong(String::from_utf8_lossy(&body).into_owned())),
            }
        };
        // What went wrong with the connection is what the talk says went wrong.
        future::join(talk, connection).await.0
    }
}

fn wrong(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Admin(error.into())
}
