//! Why the demo ends before its time.

use std::io;

use crate::{admin::client::ClientError, app};

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Tidegate itself does not start.
    #[error(transparent)]
    App(#[from] app::Error),
    /// A socket, a thread, a file or the terminal is not to be had.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The admin socket does not answer as it should.
    #[error("the admin socket: {0}")]
    Admin(#[from] ClientError),
    /// The load does not get on.
    #[error("after {seconds} seconds only {done} of {wanted} sessions had been served")]
    Slow {
        /// How long it took.
        seconds: u64,
        /// Sessions that had their turn.
        done: usize,
        /// All of them.
        wanted: usize,
    },
    /// The rollout does not get where the scenario wants it.
    #[error("waited in vain for {what}: {because}")]
    Astray {
        /// What was waited for.
        what: &'static str,
        /// What the rollout says of itself.
        because: String,
    },
}
