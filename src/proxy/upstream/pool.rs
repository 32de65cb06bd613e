//! Idle connections, per worker and endpoint. The last one in is the first one out: what is not needed grows old and goes.
//! Requests that cannot be sent twice take the oldest one instead, and only after a look at its socket.

use std::collections::HashMap;

use super::UpstreamConnection;
use crate::{
    domain::Moment,
    routing::{Backend, BuildXxh3, Endpoint, EndpointId, Table},
};

/// A worker's idle connections.
// Boxed, since they move from pool to request and back all the time.
#[allow(clippy::vec_box)]
#[derive(Default)]
pub(in crate::proxy) struct Pools {
    idle: HashMap<EndpointId, Vec<Box<UpstreamConnection>>, BuildXxh3>,
}

impl Pools {
    /// The idle connection to `endpoint` that was used last, if one is young and alive; `surely` asks the kernel as well.
    pub(in crate::proxy) fn take(
        &mut self,
        backend: &Backend,
        endpoint: &Endpoint,
        surely: bool,
        now: Moment,
    ) -> Option<Box<UpstreamConnection>> {
        let idle = self.idle.get_mut(&endpoint.id())?;
        let fresh = |c: &UpstreamConnection| now.since(c.idle_since) < backend.pool_idle_timeout;
        while !idle.is_empty() {
            // An endpoint that closes after an answer does so soon: the one that has been open for longest is the safest.
            let mut connection = if surely { idle.remove(0) } else { idle.pop()? };
            if !fresh(&connection) && !surely {
                // The others are older still.
                idle.clear();
                return None;
            }
            let alive = if surely { connection.is_surely_alive() } else { connection.is_alive() };
            // One that was made by other rules than today's is no good, however well it is.
            if alive && fresh(&connection) && connection.is_made_with(backend.tls.as_ref()) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps `connection` for the next request, if there is room.
    pub(in crate::proxy) fn put(
        &mut self,
        backend: &Backend,
        endpoint: &Endpoint,
        mut connection: Box<UpstreamConnection>,
    ) {
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
            idle.retain_mut(|c| now.since(c.idle_since) < *timeout && c.is_alive());
            !idle.is_empty()
        });
    }
}
