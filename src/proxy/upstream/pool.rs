//! Idle connections, per worker and endpoint. The last one in is the first one out: what is not needed grows old and goes.
//! Requests that cannot be sent twice take the oldest one instead, and only after a look at its socket.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use tokio::sync::Notify;

use super::{UpstreamConnection, client::Http1Connection, http2::Http2Connection};
use crate::{
    config::model::BackendProtocol,
    domain::Moment,
    routing::{Backend, BuildXxh3, Endpoint, EndpointId, Table},
    tls::ClientTls,
};

/// Connections to one endpoint that requests share and that are kept. Each carries a hundred requests at once, or what its
/// endpoint takes: more than are under way at a time, but where an endpoint takes few, and then each more is its request's own.
const MOST_SHARED: usize = 64;

/// A worker's idle connections.
// Boxed, since they move from pool to request and back all the time.
#[allow(clippy::vec_box)]
#[derive(Default)]
pub(in crate::proxy) struct Pools {
    idle: HashMap<EndpointId, Vec<Box<Http1Connection>>, BuildXxh3>,
    /// Connections that requests share, idle or not.
    shared: HashMap<EndpointId, Vec<Rc<Http2Connection>>, BuildXxh3>,
    /// Endpoints to which one is being opened, and who waits for it.
    opening: HashMap<EndpointId, Rc<Notify>, BuildXxh3>,
}

impl Pools {
    /// A connection to `endpoint` that `speaks` what is wanted: the idle one that was used last, if one is young and alive;
    /// `surely` asks the kernel as well.
    pub(in crate::proxy) fn take(
        &mut self,
        backend: &Backend,
        endpoint: &Endpoint,
        speaks: BackendProtocol,
        surely: bool,
        now: Moment,
    ) -> Option<UpstreamConnection> {
        if speaks != BackendProtocol::Http1
            && let Some(shared) = self.room(backend, endpoint)
        {
            return Some(UpstreamConnection::Http2(shared.stream(true)));
        }
        if speaks == BackendProtocol::Http2 {
            // What is idle was opened for a WebSocket, and got none.
            return None;
        }
        let idle = self.idle.get_mut(&endpoint.id())?;
        let fresh = |c: &Http1Connection| now.since(c.idle_since) < backend.pool_idle_timeout;
        while !idle.is_empty() {
            // An endpoint that closes after an answer does so soon: the one that has been open for longest is the safest.
            let connection = if surely { idle.remove(0) } else { idle.pop()? };
            if !fresh(&connection) && !surely {
                // The others are older still.
                idle.clear();
                return None;
            }
            let alive = if surely { connection.is_surely_alive() } else { connection.is_alive() };
            // One that was made by other rules than today's is no good, however well it is.
            if alive && fresh(&connection) && connection.is_made_with(backend.tls.as_ref()) {
                return Some(UpstreamConnection::Http1(connection));
            }
        }
        None
    }

    /// A connection that requests share and that has room for another.
    pub(super) fn room(
        &self,
        backend: &Backend,
        endpoint: &Endpoint,
    ) -> Option<&Rc<Http2Connection>> {
        let fits = |shared: &&Rc<Http2Connection>| {
            let is_right = same_rules(shared.tls(), backend.tls.as_ref());
            shared.has_room() && is_right && shared.leads_to(endpoint)
        };
        self.shared.get(&endpoint.id())?.iter().find(fits)
    }

    /// Tells when the connection is open, or not, that is being opened to `endpoint`.
    pub(super) fn opening(&self, endpoint: &Endpoint) -> Option<Rc<Notify>> {
        self.opening.get(&endpoint.id()).cloned()
    }

    /// A connection is being opened that others may wait for.
    pub(super) fn begin_opening(&mut self, endpoint: EndpointId) {
        self.opening.entry(endpoint).or_default();
    }

    /// It is open, or not.
    pub(super) fn end_opening(&mut self, endpoint: EndpointId) {
        if let Some(waiting) = self.opening.remove(&endpoint) {
            waiting.notify_waiters();
        }
    }

    /// Lets other requests to `endpoint` share `connection`, if not too many are shared already.
    pub(super) fn share(&mut self, endpoint: &Endpoint, connection: &Rc<Http2Connection>) {
        let shared = self.shared.entry(endpoint.id()).or_default();
        shared.retain(|known| known.is_open());
        if shared.len() < MOST_SHARED {
            shared.push(connection.clone());
        }
    }

    /// Keeps `connection` for the next request, if there is room.
    pub(in crate::proxy) fn put(
        &mut self,
        backend: &Backend,
        endpoint: &Endpoint,
        connection: UpstreamConnection,
    ) {
        let UpstreamConnection::Http1(mut connection) = connection else { return };
        let at_home = endpoint.addresses().has(&mut connection.home);
        if backend.pool_idle == 0 || endpoint.is_drained() || !at_home {
            return;
        }
        let idle = self.idle.entry(endpoint.id()).or_default();
        if idle.len() >= backend.pool_idle {
            // The oldest has been of no use for longest.
            idle.remove(0);
        }
        idle.push(connection);
    }

    /// Closes what is too old, dead, or belongs to no endpoint of `table` any more.
    pub(in crate::proxy) fn sweep(&mut self, table: &Table, now: Moment) {
        let mut known = HashMap::new();
        for backend in table.backends() {
            for endpoint in backend.endpoints.iter().filter(|endpoint| !endpoint.is_drained()) {
                known.insert(endpoint.id(), backend.pool_idle_timeout);
            }
        }
        self.idle.retain(|id, idle| {
            let Some(timeout) = known.get(id) else { return false };
            idle.retain(|c| now.since(c.idle_since) < *timeout && c.is_alive());
            !idle.is_empty()
        });
        self.shared.retain(|id, shared| {
            let Some(timeout) = known.get(id) else { return false };
            shared.retain(|c| c.is_open() && c.is_in_use(now, *timeout));
            !shared.is_empty()
        });
    }
}

/// Whether a new connection would be made with the same certificates and rules.
pub(super) fn same_rules(own: Option<&Arc<ClientTls>>, now: Option<&Arc<ClientTls>>) -> bool {
    match (own, now) {
        (None, None) => true,
        (Some(own), Some(now)) => Arc::ptr_eq(own, now),
        (None, Some(_)) | (Some(_), None) => false,
    }
}
