//! The operator's side of the demo: looks and acts through the admin socket, as `tidegate status` and `pause` do.

use std::path::{Path, PathBuf};

use futures_util::future;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Error;
use crate::admin::wire::{RolloutStatus, RouteStatus, Signature, Status, Verb};

/// Name of the demo's route and of its rollout.
pub(super) const NAME: &str = "demo";
const MAX_ANSWER: usize = 1 << 20;

/// What the demo shows of Tidegate's own view.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Standing {
    /// The route.
    pub(super) route: Option<RouteStatus>,
    /// The rollout that moves its split.
    pub(super) rollout: Option<RolloutStatus>,
}

impl Standing {
    /// Whether the rollout is in `phase`.
    pub(super) fn is(&self, phase: &str) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.phase == phase)
    }

    /// Whether the rollout is at the step with that number, counted from 1, or beyond.
    pub(super) fn has_reached(&self, step: usize) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.step_number >= step)
    }
}

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

    /// The demo's route and rollout as they stand; `None` when the configuration has been edited and one is gone.
    pub(super) async fn standing(&self) -> Result<Standing, Error> {
        let status: Status = self.ask(Method::GET, "/v1/status", Bytes::new()).await?;
        let mut routes = status.routes.into_iter();
        let mut rollouts = status.rollouts.into_iter();
        Ok(Standing {
            route: routes.find(|route| route.name.as_str() == NAME),
            rollout: rollouts.find(|rollout| rollout.name.as_str() == NAME),
        })
    }

    /// Does `verb` to the rollout, and returns when it holds.
    pub(super) async fn act(&self, verb: Verb) -> Result<RolloutStatus, Error> {
        let why = Signature { actor: None, reason: Some("the demo looks at the split".to_owned()) };
        let body = serde_json::to_vec(&why).map_err(wrong)?;
        let path = format!("/v1/rollouts/{NAME}/{}", verb.word());
        self.ask(Method::POST, &path, body.into()).await
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
