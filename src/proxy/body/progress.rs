//! How far a request's body has come.

use std::cell::Cell;

use crate::proxy::error::ProxyError;

/// How far a request's body has come; `forward` reads it when something goes wrong.
#[derive(Default)]
pub(in crate::proxy) struct BodyProgress {
    /// A part of it was handed to the endpoint's connection.
    pub(super) begun: Cell<bool>,
    /// All of it was.
    pub(super) complete: Cell<bool>,
    /// The client's next part is waited for.
    pub(super) starving: Cell<bool>,
    pub(super) fault: Cell<Option<ProxyError>>,
}

impl BodyProgress {
    pub(in crate::proxy) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    pub(in crate::proxy) fn fault(&self) -> Option<ProxyError> {
        self.fault.get()
    }

    /// Whether it is the client that keeps the others waiting.
    pub(in crate::proxy) fn is_starving(&self) -> bool {
        self.starving.get() && !self.complete.get()
    }
}
