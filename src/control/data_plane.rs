//! What the control plane asks of the data plane beside the table: which sockets it listens on.

use std::net::SocketAddr;

use crate::config::model::Listener;

/// The data plane's listeners, changed all or not at all.
pub trait DataPlane: Send {
    /// Listens on exactly `listeners`. New ones are bound before anything changes; kept ones take over changed limits without
    /// losing a connection; removed ones stop accepting and let running requests finish.
    ///
    /// # Errors
    /// [`ListenError`] when a new one cannot be bound; then nothing has changed.
    fn listen(&mut self, listeners: &[Listener]) -> Result<ListenChange, ListenError>;

    /// Where the first listener is bound that serves whoever comes; `None` without any.
    fn address(&self) -> Option<SocketAddr>;
}

/// What changed among the listeners.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenChange {
    /// Newly bound.
    pub added: Vec<SocketAddr>,
    /// No longer accepting.
    pub removed: Vec<SocketAddr>,
}

/// Why the listeners could not be changed; it names the address and what the system says.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ListenError(#[from] pub Box<dyn std::error::Error + Send + Sync>);
