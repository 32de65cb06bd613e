//! What is known of a request from its first to its last step.

use std::{net::IpAddr, rc::Rc};

use http::{HeaderValue, Method, Version};

use super::{
    access::Entry,
    downstream::Downstream,
    headers::{self, RequestId, Survey},
    mirror::Copying,
    trace::Trace,
    variables::Noted,
};
use crate::{
    config::model::{Algorithm, BackendProtocol},
    decision::{
        affinity::TokenText,
        split::{Bucket, SplitKey},
    },
    domain::Moment,
    routing::{Backend, LocalTable, Route, Target},
};

/// One request.
pub(super) struct RequestContext {
    pub(super) downstream: Rc<Downstream>,
    /// The table that decides everything about it, whatever is published meanwhile.
    pub(super) table: LocalTable,
    /// When its head was complete.
    pub(super) begun: Moment,
    pub(super) request_id: RequestId,
    pub(super) method: Method,
    /// Which headers it has.
    pub(super) seen: Survey,
    /// The peer is a proxy whose word about the client is taken.
    pub(super) is_trusted: bool,
    /// Wants to leave HTTP, as a WebSocket does, for one of these.
    pub(super) upgrade: Option<HeaderValue>,
    /// The client waits with its body until it is asked for it.
    pub(super) expects_continue: bool,
    /// Where it comes from, behind trusted proxies.
    pub(super) client: IpAddr,
    /// Came to the client's side over TLS, as far as a trusted proxy says.
    pub(super) is_https: bool,
    /// Version of HTTP that the client speaks.
    pub(super) version: Version,
    /// What header rules need of it, as its client sent it.
    pub(super) noted: Option<Box<Noted>>,
    /// The content coding that its answer may have.
    pub(super) accepts: Option<Algorithm>,
    /// Its client has an answer with a weak tag already.
    pub(super) has_weak: bool,
    /// Its line of the access log, and its spans.
    pub(super) entry: Option<Rc<Entry>>,
    /// What connects it to its copy.
    pub(super) mirror: Copying,
}

impl RequestContext {
    /// Tells the access log something, where there is one.
    pub(super) fn tell(&self, tell: impl FnOnce(&Entry)) {
        if let Some(entry) = &self.entry {
            tell(entry);
        }
    }

    /// Whether it asks for a WebSocket.
    pub(super) fn wants_websocket(&self) -> bool {
        self.upgrade.as_ref().is_some_and(headers::names_websocket)
    }

    /// What a connection to `backend` has to speak: a WebSocket needs one of HTTP/1.1 to itself.
    pub(super) fn speaks(&self, backend: &Backend) -> BackendProtocol {
        if self.wants_websocket() { BackendProtocol::Http1 } else { backend.protocol }
    }

    /// The trace that is recorded of it.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.entry.as_deref()?.trace()
    }

    pub(super) fn route(&self, choice: &Choice) -> &Route {
        &self.table.routes()[choice.route]
    }

    pub(super) fn target(&self, choice: &Choice) -> &Target {
        &self.route(choice).targets[choice.target]
    }
}

/// Which way a request goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    /// Place in the table's routes.
    pub(super) route: usize,
    /// Place in the route's targets.
    pub(super) target: usize,
    /// The slot that decided it; none where an override did.
    pub(super) bucket: Option<Bucket>,
    /// What stands for the session, where something does and the split decided.
    pub(super) key: Option<SplitKey>,
    /// The split decided it and nothing else, so that it is a fair sample of the traffic.
    pub(super) is_sample: bool,
    /// The token of a session that begins with this request.
    pub(super) token: Option<TokenText>,
}
