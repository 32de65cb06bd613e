//! From a configuration to a table, keeping what is live: endpoints that stay keep their state and their connections.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http::HeaderValue;

use super::{
    Affinity, Backend, Bench, Detour, Edge, Endpoint, ErrorPages, Matcher, Mirror, Override, Route,
    Table, Target, WorkerGauge,
};
use crate::{
    config::model::{self, AccessPath, Config},
    decision::{affinity::TokenKey, split::SplitTable},
    domain::{BackendName, Moment, Plan, RouteName, SeriesId, Split, Weight},
    tls::Material,
};

/// What a table is made of, beside the configuration.
pub struct Ingredients<'a> {
    /// Splits that are in force instead of the configuration's.
    pub splits: &'a HashMap<RouteName, Split>,
    /// HMAC key of a route that issues cookies.
    pub secret: &'a mut dyn FnMut(&model::Route) -> Result<Vec<u8>, String>,
    /// Counters of a (route, backend) pair.
    pub series: &'a mut dyn FnMut(&RouteName, &BackendName) -> Result<SeriesId, String>,
    /// Counts what goes on from one backend of a route to another.
    pub fallbacks:
        &'a mut dyn FnMut(&RouteName, &BackendName, &BackendName) -> Result<SeriesId, String>,
    /// What the files of the error pages hold.
    pub pages: &'a HashMap<PathBuf, Bytes>,
    /// Counts the copies of a route's requests to a backend.
    pub mirrors: &'a mut dyn FnMut(&RouteName, &BackendName) -> Result<SeriesId, String>,
    /// The table that this one follows.
    pub previous: Option<&'a Table>,
    /// What encrypted connections are made with.
    pub tls: &'a Material,
    /// Data-plane threads.
    pub workers: usize,
    /// The present.
    pub now: Moment,
}

/// Why no table could be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The route's cookies cannot be signed.
    #[error("route {route}: {why}")]
    Secret {
        /// Whose cookies.
        route: RouteName,
        /// What went wrong, and how to mend it.
        why: String,
    },
    /// The route cannot be measured.
    #[error("route {route}: {why}")]
    Series {
        /// Whose counters.
        route: RouteName,
        /// What went wrong, and how to mend it.
        why: String,
    },
    /// A backend that no part of the configuration defines; `config::validate` lets none through.
    #[error("route {route}: backend {backend} is not defined")]
    UnknownBackend {
        /// Where it is named.
        route: RouteName,
        /// The name.
        backend: BackendName,
    },
}

/// Makes the table for `config`.
///
/// # Errors
/// [`BuildError`]; nothing has changed then.
pub fn build(config: &Config, mut with: Ingredients<'_>) -> Result<Table, BuildError> {
    let rules = config.routes.iter().map(|route| (route.hosts.as_slice(), &route.path));
    let matcher = Arc::new(Matcher::new(rules));
    let backends = build_backends(config, &with);
    let places = backends.iter().enumerate().map(|(at, backend)| (backend.name.clone(), at));
    let places = places.collect();
    let plans = config.rollouts.iter().map(|rollout| (&rollout.plan.route, &rollout.plan));
    let plans: HashMap<_, _> = plans.collect();
    let routes = config.routes.iter().map(|route| {
        let plan = plans.get(&route.name).filter(|_| route.fallback.is_some());
        build_route(route, plan.copied(), &places, &mut with)
    });
    let routes = routes.collect::<Result<_, _>>()?;
    let access = &config.log.access;
    let is_logged = access.path != AccessPath::Off && access.sample != Weight::ZERO;
    let access_log = is_logged.then(|| Arc::new(access.clone()));
    let traces = config.traces.clone().map(Arc::new);
    let pages = Arc::new(ErrorPages::new(&config.error_pages, with.pages));
    Ok(Table { routes, backends, matcher, access_log, traces, pages, tls: with.tls.clone() })
}

fn build_backends(config: &Config, with: &Ingredients<'_>) -> Vec<Arc<Backend>> {
    let Ingredients { previous, workers, now, .. } = *with;
    let known: HashMap<_, _> = previous
        .iter()
        .flat_map(|table| table.backends())
        .map(|backend| (&backend.name, backend))
        .collect();
    let live = |backend: &model::Backend| {
        let before = known.get(&backend.name);
        let endpoint = |address: &crate::domain::EndpointAddress| {
            let kept = before.and_then(|b| b.endpoints.iter().find(|e| e.address() == address));
            kept.cloned().unwrap_or_else(|| {
                let new = Endpoint::new(address.clone(), workers);
                if before.is_some() {
                    // The others are warm already.
                    new.availability().start_slowly(now, backend.ejection.slow_start);
                }
                Arc::new(new)
            })
        };
        let in_flight = before.map(|b| b.in_flight.clone());
        Arc::new(Backend {
            name: backend.name.clone(),
            endpoints: backend.endpoints.iter().map(endpoint).collect(),
            protocol: backend.protocol,
            balance: backend.balance,
            in_flight: in_flight.unwrap_or_else(|| Arc::new(WorkerGauge::new(workers))),
            max_in_flight: backend.max_in_flight,
            endpoint_max_in_flight: backend.endpoint_max_in_flight,
            pool_idle: backend.pool_idle,
            pool_idle_timeout: backend.pool_idle_timeout,
            cache_status_header: backend.cache_status_header.clone(),
            ejection: backend.ejection,
            bench: Bench::default(),
            tls: with.tls.backend(&backend.name).cloned(),
        })
    };
    config.backends.iter().map(live).collect()
}

fn build_route(
    route: &model::Route,
    plan: Option<&Plan>,
    places: &HashMap<BackendName, usize>,
    with: &mut Ingredients<'_>,
) -> Result<Arc<Route>, BuildError> {
    let split = with.splits.get(&route.name).unwrap_or(&route.split).clone();
    let mut names: Vec<_> = split.shares().iter().map(|(name, _)| name.clone()).collect();
    for exception in &route.overrides {
        if !names.contains(&exception.backend) {
            names.push(exception.backend.clone());
        }
    }
    let overrides = route.overrides.iter().map(|exception| Override {
        source: exception.source.clone(),
        equals: exception.equals.clone(),
        target: names.iter().position(|name| *name == exception.backend).unwrap_or_default(),
    });
    let overrides = overrides.collect();
    let detour = plan.map(|plan| detour(plan, &names, with)).transpose()?.flatten();
    let mirror =
        route.mirror.as_ref().map(|rules| mirror(route, rules, places, with)).transpose()?;
    let targets = names.iter().map(|name| target(route, name, places, with));
    Ok(Arc::new(Route {
        targets: targets.collect::<Result<_, _>>()?,
        name: route.name.clone(),
        shares: SplitTable::new(&split),
        split,
        salt: Route::own_salt(&route.name),
        rollout: None,
        affinity: affinity(route, with)?,
        overrides,
        timeouts: route.timeouts,
        max_body: route.max_body,
        expose_backend: route.expose_backend,
        retry: route.retry.clone(),
        fallback: route.fallback.clone(),
        detour,
        edge: Edge::build(route, with.previous),
        mirror,
    }))
}

/// The way from a plan's canary to its baseline, as far as a route with these targets has both. A rollout that begins brings
/// its own; this one serves splits set by hand.
fn detour(
    plan: &Plan,
    names: &[BackendName],
    with: &mut Ingredients<'_>,
) -> Result<Option<Detour>, BuildError> {
    let place = |backend| names.iter().position(|name| name == backend);
    let (Some(from), Some(to)) = (place(&plan.canary), place(&plan.baseline)) else {
        return Ok(None);
    };
    let series = (with.fallbacks)(&plan.route, &plan.canary, &plan.baseline)
        .map_err(|why| BuildError::Series { route: plan.route.clone(), why })?;
    Ok(Some(Detour { from, to, series }))
}

/// The mirror of a route, with what one of the same backend has learnt before.
fn mirror(
    route: &model::Route,
    rules: &model::Mirror,
    places: &HashMap<BackendName, usize>,
    with: &mut Ingredients<'_>,
) -> Result<Arc<Mirror>, BuildError> {
    let unknown =
        || BuildError::UnknownBackend { route: route.name.clone(), backend: rules.to.clone() };
    let backend = *places.get(&rules.to).ok_or_else(unknown)?;
    let series = (with.mirrors)(&route.name, &rules.to)
        .map_err(|why| BuildError::Series { route: route.name.clone(), why })?;
    let known = with.previous.iter().flat_map(|table| table.routes());
    let before = known
        .filter(|known| known.name == route.name)
        .find_map(|known| known.mirror.as_ref().filter(|mirror| mirror.rules.to == rules.to));
    let findings = before.map(|mirror| mirror.findings.clone()).unwrap_or_default();
    Ok(Arc::new(Mirror { rules: rules.clone(), backend, series, findings }))
}

fn target(
    route: &model::Route,
    name: &BackendName,
    places: &HashMap<BackendName, usize>,
    with: &mut Ingredients<'_>,
) -> Result<Target, BuildError> {
    let unknown =
        || BuildError::UnknownBackend { route: route.name.clone(), backend: name.clone() };
    let backend = *places.get(name).ok_or_else(unknown)?;
    let series = (with.series)(&route.name, name)
        .map_err(|why| BuildError::Series { route: route.name.clone(), why })?;
    let header = HeaderValue::from_str(name.as_str()).map_err(|_| unknown())?;
    Ok(Target { backend, series, judged: None, header })
}

fn affinity(route: &model::Route, with: &mut Ingredients<'_>) -> Result<Affinity, BuildError> {
    Ok(match &route.affinity {
        model::Affinity::Cookie { name, ttl, secret_file: _ } => {
            let secret = (with.secret)(route)
                .map_err(|why| BuildError::Secret { route: route.name.clone(), why })?;
            let seconds = ttl.as_secs();
            Affinity::Cookie {
                name: name.clone(),
                key: Arc::new(TokenKey::new(&secret)),
                attributes: format!("; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax").into(),
            }
        }
        model::Affinity::AppCookie { name } => Affinity::AppCookie { name: name.clone() },
        model::Affinity::Header { name } => Affinity::Header { name: name.clone() },
        model::Affinity::ClientIp => Affinity::ClientIp,
        model::Affinity::None => Affinity::None,
    })
}
