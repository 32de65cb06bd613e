//! Out of HTTP: whether an endpoint's 101 is one that was asked for, and what follows it.

use http::{StatusCode, response};

use super::{
    access::Entry,
    error::ProxyError,
    forward::Exchange,
    headers,
    tunnel::{NOT_OPENED, Tunnel},
    upstream::UpstreamConnection,
};
use crate::{domain::ErrorReason, lifecycle::clock};

const UNASKED: ProxyError = malformed("the endpoint switches protocols unasked");
const ANOTHER: ProxyError = malformed("the endpoint switches to a protocol that was not asked for");
const WRONG_KEY: ProxyError =
    malformed("the endpoint opens a WebSocket, but not the one asked for");

const fn malformed(why: &'static str) -> ProxyError {
    ProxyError::new(ErrorReason::MalformedResponse, why)
}

impl Exchange<'_> {
    /// What is wrong with an answer that takes its request for one about a switch of protocols, or not for one.
    pub(super) fn misunderstands(&self, parts: &response::Parts) -> Option<ProxyError> {
        let context = self.context;
        if parts.status.is_success() {
            return context.downstream.awaits_tunnel().then_some(NOT_OPENED);
        }
        if parts.status != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let Some(asked) = &context.upgrade else { return Some(UNASKED) };
        if !headers::keeps_to(&parts.headers, asked) {
            return Some(ANOTHER);
        }
        // A client that made its key itself looks itself.
        let accept = context.downstream.awaited_accept()?;
        (!headers::accepts_key(&parts.headers, &accept)).then_some(WRONG_KEY)
    }

    /// Leaves HTTP: from here on bytes go both ways as they come. Only the change itself is measured.
    pub(super) fn switch(
        self,
        upstream: UpstreamConnection,
        parts: &response::Parts,
    ) -> Result<(), ProxyError> {
        let mut attempt = self.attempt;
        let remains = upstream.into_remains().inspect_err(|error| attempt.fail(*error))?;
        attempt.complete(clock::now());
        let is_websocket = headers::opens_websocket(&parts.headers);
        let entry = self.context.entry.clone();
        self.context.tell(Entry::tunnels);
        self.context.downstream.set_tunnel(Tunnel::new(remains, attempt, is_websocket, entry));
        Ok(())
    }
}
