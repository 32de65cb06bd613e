//! The routing table: immutable, complete, and the only thing that tells the data plane where a request goes.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Bench, BuildError, Detour, Edge, Endpoint, ErrorPages, Matcher, Mirror, Rollout,
    RolloutTraffic, Side, WorkerGauge,
};
use crate::{
    config::model::{self, BackendProtocol, OverrideSource, Timeouts},
    decision::{
        affinity::TokenKey,
        split::{SplitTable, canary_last},
    },
    domain::{BackendName, Balance, RouteName, SeriesId, Split},
    tls::{ClientTls, Material},
};

/// One consistent state of all routes, splits and endpoints.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) backends: Vec<Arc<Backend>>,
    pub(super) matcher: Arc<Matcher>,
    pub(super) access_log: Option<Arc<model::AccessLog>>,
    pub(super) traces: Option<Arc<model::Traces>>,
    pub(super) pages: Arc<ErrorPages>,
    pub(super) tls: Material,
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

    /// What the access log wants to know; `None` when there is none.
    pub fn access_log(&self) -> Option<&Arc<model::AccessLog>> {
        self.access_log.as_ref()
    }

    /// Which requests are traced; `None` when none are.
    pub const fn traces(&self) -> Option<&Arc<model::Traces>> {
        self.traces.as_ref()
    }

    /// Pages for answers of Tidegate's own.
    pub fn pages(&self) -> &ErrorPages {
        &self.pages
    }

    /// What encrypted connections are made with.
    pub const fn tls(&self) -> &Material {
        &self.tls
    }

    /// The same table with what clients' connections are encrypted with taken from `tls`.
    pub fn with_tls(&self, tls: Material) -> Self {
        Self { tls, ..self.clone() }
    }

    /// The same table with another split for one route; `split` names backends that the route knows. If a rollout owned the
    /// route, it does so no more.
    ///
    /// Shares everything else, so that a weight change costs the same with one endpoint as with a thousand.
    pub fn with_split(&self, route: usize, split: Split) -> Self {
        self.with_route(route, |route| route.with_split(split))
    }

    /// The same table with one route owned by a rollout; takes the place of the rollout's traffic before it.
    ///
    /// # Errors
    /// [`BuildError::UnknownBackend`] for a side that is no backend of this table, or another name in the split that the
    /// route does not know.
    pub fn with_rollout(&self, route: usize, traffic: &RolloutTraffic) -> Result<Self, BuildError> {
        let Some(present) = self.routes.get(route) else { return Ok(self.clone()) };
        let owned = present.with_rollout(traffic, &self.backends)?;
        Ok(self.with_route(route, |_| owned))
    }

    fn with_route(&self, place: usize, change: impl FnOnce(&Route) -> Route) -> Self {
        let mut table = self.clone();
        if let Some(slot) = table.routes.get_mut(place) {
            *slot = Arc::new(change(slot));
        }
        table
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
    /// First the backends of the split as it is laid out, then those that only overrides name.
    pub targets: Vec<Target>,
    /// The rollout that owns it.
    pub rollout: Option<Rollout>,
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
    /// Which failures of an endpoint another one makes good.
    pub retry: Option<model::Retry>,
    /// Which of the canary's failures the baseline answers.
    pub fallback: Option<model::Fallback>,
    /// Where they go, while it is known which backend is which.
    pub detour: Option<Detour>,
    /// What it does to heads and bodies on their way; `None` where it does nothing.
    pub edge: Option<Arc<Edge>>,
    /// Where copies go.
    pub mirror: Option<Arc<Mirror>>,
}

impl Route {
    /// The salt of a route that no rollout owns.
    pub(super) fn own_salt(name: &RouteName) -> u64 {
        xxh3_64(name.as_str().as_bytes())
    }

    fn with_split(&self, split: Split) -> Self {
        let mut route = Self { shares: SplitTable::new(&split), ..self.clone() };
        if route.rollout.take().is_some() {
            route.give_back(&split);
        }
        Self { split, ..route }
    }

    fn with_rollout(
        &self,
        traffic: &RolloutTraffic,
        backends: &[Arc<Backend>],
    ) -> Result<Self, BuildError> {
        let RolloutTraffic { split, salt, baseline, canary, fallbacks, guard, epoch } = traffic;
        let mut known = self.targets.clone();
        known.iter_mut().for_each(|target| target.judged = None);
        let baseline = place_of(&self.name, baseline, &mut known, backends)?;
        let canary_at = place_of(&self.name, canary, &mut known, backends)?;
        let mut order = Vec::with_capacity(known.len());
        for (name, _) in canary_last(split, &canary.backend) {
            let at = known.iter().position(|target| backends[target.backend].name == *name);
            order.push(at.ok_or_else(|| unknown(&self.name, name))?);
        }
        let mut route = Self { targets: known, ..self.clone() };
        let places = route.rearrange(order);
        let (baseline, canary_at) = (places[baseline], places[canary_at]);
        Ok(Self {
            shares: SplitTable::with_canary(split, &canary.backend),
            split: split.clone(),
            salt: *salt,
            rollout: Some(Rollout {
                guard: guard.clone(),
                epoch: *epoch,
                baseline,
                canary: canary_at,
            }),
            detour: Some(Detour { from: canary_at, to: baseline, series: *fallbacks }),
            ..route
        })
    }

    /// Undoes what a rollout changed, but for the detour: its backends are still what they were to each other.
    fn give_back(&mut self, split: &Split) {
        let named = |(name, _): &(BackendName, _)| {
            self.targets.iter().position(|target| target.header == *name.as_str())
        };
        let order = split.shares().iter().filter_map(named).collect();
        self.rearrange(order);
        self.targets.iter_mut().for_each(|target| target.judged = None);
        self.salt = Self::own_salt(&self.name);
    }

    /// Puts the targets into `order`, those that it does not name behind; returns the new place of each.
    fn rearrange(&mut self, mut order: Vec<usize>) -> Vec<usize> {
        for at in 0..self.targets.len() {
            if !order.contains(&at) {
                order.push(at);
            }
        }
        let mut places = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            places[*old] = new;
        }
        self.targets = order.iter().map(|at| self.targets[*at].clone()).collect();
        for exception in &mut self.overrides {
            exception.target = places[exception.target];
        }
        if let Some(detour) = &mut self.detour {
            (detour.from, detour.to) = (places[detour.from], places[detour.to]);
        }
        places
    }
}

/// The place of a rollout's side among the `known` targets, which it joins if it is not one of them.
fn place_of(
    route: &RouteName,
    side: &Side,
    known: &mut Vec<Target>,
    backends: &[Arc<Backend>],
) -> Result<usize, BuildError> {
    let unknown = || unknown(route, &side.backend);
    let backend = backends.iter().position(|backend| backend.name == side.backend);
    let backend = backend.ok_or_else(unknown)?;
    let header = HeaderValue::from_str(side.backend.as_str()).map_err(|_| unknown())?;
    let target = Target { backend, series: side.series, judged: Some(side.judged), header };
    match known.iter().position(|target| target.backend == backend) {
        Some(at) => {
            known[at] = target;
            Ok(at)
        }
        None => {
            known.push(target);
            Ok(known.len() - 1)
        }
    }
}

fn unknown(route: &RouteName, backend: &BackendName) -> BuildError {
    BuildError::UnknownBackend { route: route.clone(), backend: backend.clone() }
}

/// A backend as one route sees it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its place in [`Table::backends`].
    pub backend: usize,
    /// Where this route's attempts against it are counted.
    pub series: SeriesId,
    /// Where they are counted for the judge, as far as they belong to a rollout.
    pub judged: Option<SeriesId>,
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
    /// What they speak.
    pub protocol: BackendProtocol,
    /// How one of them is chosen.
    pub balance: Balance,
    /// Requests under way, over all endpoints.
    pub in_flight: Arc<WorkerGauge>,
    /// Most of them at once.
    pub max_in_flight: u32,
    /// Most of them at once at one endpoint.
    pub endpoint_max_in_flight: Option<u32>,
    /// Idle connections kept per endpoint and worker.
    pub pool_idle: usize,
    /// An idle connection is closed after this.
    pub pool_idle_timeout: std::time::Duration,
    /// Header of an answer whose value begins with `HIT` where it came from a cache.
    pub cache_status_header: Option<HeaderName>,
    /// What takes failing endpoints out, and how they come back.
    pub ejection: model::Ejection,
    /// Where that is ruled on.
    pub bench: Bench,
    /// What connections to its endpoints are made with, if they are encrypted.
    pub tls: Option<Arc<ClientTls>>,
}

impl Backend {
    /// Whether its endpoints may be asked for a WebSocket: over HTTP/1.1, which in the clear goes by the configuration alone, and
    /// under TLS by what an endpoint agrees to.
    pub fn takes_websockets(&self) -> bool {
        self.protocol != BackendProtocol::Http2 || self.tls.is_some()
    }
}
