//! The routing table: immutable, complete, and the only thing that tells the data plane where a request goes.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::{Endpoint, Matcher, WorkerGauge};
use crate::{
    config::model::{OverrideSource, Timeouts},
    decision::{affinity::TokenKey, pick::Candidates, split::SplitTable},
    domain::{BackendName, Balance, RouteName, SeriesId, Split},
};

/// One consistent state of all routes, splits and endpoints.
#[derive(Debug)]
pub struct Table {
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) backends: Vec<Arc<Backend>>,
    pub(super) matcher: Arc<Matcher>,
}

impl Table {
    /// The route for a host and a path, by its place in [`Table::routes`].
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        self.matcher.find(host, path)
    }

    /// Routes in the order of the configuration.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Backends in the order of the configuration.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// The same table with another split for one route; `split` names the same backends as the present one.
    ///
    /// Shares everything else, so that a weight change costs the same with one endpoint as with a thousand.
    pub fn with_split(&self, route: usize, split: Split) -> Self {
        let mut routes = self.routes.clone();
        if let Some(slot) = routes.get_mut(route) {
            *slot = Arc::new(slot.with_split(split));
        }
        Self { routes, backends: self.backends.clone(), matcher: self.matcher.clone() }
    }
}

/// A rule with everything a request needs from it.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// Shares in force.
    pub split: Split,
    /// The same, made for choosing; its indexes are those of `targets`.
    pub shares: SplitTable,
    /// Mixed into every split key, so that routes do not try their canaries on the same people.
    pub salt: u64,
    /// First the backends of the split in its order, then those that only overrides name.
    pub targets: Vec<Target>,
    /// What keeps a session on its backend.
    pub affinity: Affinity,
    /// Exceptions, in order.
    pub overrides: Vec<Override>,
    /// Waiting times.
    pub timeouts: Timeouts,
    /// Largest request body in bytes.
    pub max_body: Option<u64>,
    /// Name the backend to the client.
    pub expose_backend: bool,
}

impl Route {
    fn with_split(&self, split: Split) -> Self {
        Self { shares: SplitTable::new(&split), split, ..self.clone() }
    }
}

/// A backend as one route sees it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its place in [`Table::backends`].
    pub backend: usize,
    /// Where this route's attempts against it are counted.
    pub series: SeriesId,
    /// Its name, for `x-tidegate-backend`.
    pub header: HeaderValue,
}

/// [`crate::config::model::Affinity`], ready for use.
#[derive(Debug, Clone)]
pub enum Affinity {
    /// A signed cookie of Tidegate's own.
    Cookie {
        /// Cookie name.
        name: Box<str>,
        /// Signs and checks it.
        key: Arc<TokenKey>,
        /// What follows the value in `set-cookie`, from the first `;` on.
        attributes: Box<str>,
    },
    /// A cookie of the application's.
    AppCookie {
        /// Cookie name.
        name: Box<str>,
    },
    /// A request header.
    Header {
        /// Header name.
        name: HeaderName,
    },
    /// The client's address.
    ClientIp,
    /// Each request by itself.
    None,
}

/// One exception from the split.
#[derive(Debug, Clone)]
pub struct Override {
    /// Where to look.
    pub source: OverrideSource,
    /// The value that must stand there.
    pub equals: Box<str>,
    /// Place in [`Route::targets`].
    pub target: usize,
}

/// A version of the application with its live endpoints.
#[derive(Debug)]
pub struct Backend {
    /// Its name.
    pub name: BackendName,
    /// Its addresses; at least one.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// Requests under way, over all endpoints.
    pub in_flight: Arc<WorkerGauge>,
    /// Most of them at once.
    pub max_in_flight: u32,
    /// Idle connections kept per endpoint and worker.
    pub pool_idle: usize,
    /// An idle connection is closed after this.
    pub pool_idle_timeout: std::time::Duration,
}

/// A backend's endpoints as one worker sees them.
#[derive(Debug, Clone, Copy)]
pub struct SeenBy<'a> {
    /// Whose endpoints.
    pub backend: &'a Backend,
    /// Whose counters: a worker compares what it sent itself, and so reads no other worker's cache lines.
    pub worker: usize,
}

impl Candidates for SeenBy<'_> {
    fn len(&self) -> usize {
        self.backend.endpoints.len()
    }

    fn usable(&self, at: usize) -> bool {
        self.backend.endpoints[at].is_usable()
    }

    fn in_flight(&self, at: usize) -> u32 {
        self.backend.endpoints[at].in_flight().of(self.worker)
    }
}
