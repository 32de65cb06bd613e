//! The operator's side of the demo: looks and acts through the admin socket, as `tidegate status` and `pause` do.

use std::path::Path;

use http::Method;

use super::Error;
use crate::admin::{
    client::Client,
    wire::{RolloutStatus, RouteStatus, Signature, Status, Verb},
};

/// Name of the demo's route and of its rollout.
pub(super) const NAME: &str = "demo";

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
    client: Client,
}

impl Operator {
    /// At `socket`.
    pub(super) fn new(socket: &Path) -> Self {
        Self { client: Client::new(socket) }
    }

    /// The demo's route and rollout as they stand; `None` when the configuration has been edited and one is gone.
    pub(super) async fn standing(&self) -> Result<Standing, Error> {
        let status: Status = self.client.get("/v1/status").await?;
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
        let path = format!("/v1/rollouts/{NAME}/{}", verb.word());
        Ok(self.client.send(Method::POST, &path, &why).await?)
    }
}
