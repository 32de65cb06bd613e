//! Whether the API takes connections: not while a successor is about to, and never again once it does.

use std::future;

use tokio::sync::watch;

/// How the door stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Open,
    Shut,
    Left,
}

/// Opens and shuts the door.
#[derive(Debug, Clone)]
pub struct DoorKeeper(watch::Sender<Stand>);

/// Sees how the door stands.
#[derive(Debug, Clone)]
pub(super) struct Door(watch::Receiver<Stand>);

impl DoorKeeper {
    /// An open door.
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Stand::Open))
    }

    pub(super) fn door(&self) -> Door {
        Door(self.0.subscribe())
    }

    /// New connections wait in the kernel's queue.
    pub fn shut(&self) {
        self.0.send_replace(Stand::Shut);
    }

    /// New connections are taken again.
    pub fn open(&self) {
        self.0.send_replace(Stand::Open);
    }

    /// Another process takes new connections; those that are open end with the request that is under way.
    pub fn leave(&self) {
        self.0.send_replace(Stand::Left);
    }
}

impl Door {
    /// Waits until it is shut or left.
    pub(super) async fn shut(&mut self) {
        self.wait(|stand| stand != Stand::Open).await;
    }

    /// Waits while it is shut; whether it is open then.
    pub(super) async fn opens(&mut self) -> bool {
        self.wait(|stand| stand != Stand::Shut).await == Stand::Open
    }

    /// Waits until it is left.
    pub(super) async fn left(&mut self) {
        self.wait(|stand| stand == Stand::Left).await;
    }

    async fn wait(&mut self, until: impl Fn(Stand) -> bool) -> Stand {
        let stand = self.0.wait_for(|stand| until(*stand)).await.map(|stand| *stand);
        match stand {
            Ok(stand) => stand,
            // Nobody can move it any more.
            Err(_) => future::pending().await,
        }
    }
}
