//! What the keys mean together: from the file's sections to a [`Config`], with a fault for each
//! contradiction.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use super::{
    edge,
    fallback::Wanted,
    fault::{Refusal, nearest, quote},
    health_check,
    model::{self, BackendProtocol, Config},
    outside, raw,
    reader::{At, Reader},
    resilience, rollout, route,
    source::Span,
    tls,
};
use crate::domain::{BackendName, EndpointAddress, Location, MAX_SOCKET_PATH};

/// The configuration that `file` describes. `None` only after a fault; with faults it may also be a
/// wrong one.
pub(super) fn validate(file: raw::File, reader: &mut Reader<'_>) -> Option<Config> {
    let admin = admin(file.admin, reader);
    let state = state(file.state, reader);
    let listeners = file.listener.map(|list| listeners(list.value.0, admin.listen, reader));
    let complete = file.backend.as_ref().is_some_and(|named| named.value.complete);
    let backends = file.backend.map(|named| backends(named.value.entries, reader));
    let names = backends.iter().flatten().map(|backend| backend.name.clone()).collect();
    let known = KnownBackends { names, complete };
    let fallbacks = file.route.as_ref().map(|list| Wanted::of(&list.value.0)).unwrap_or_default();
    let written = file.route.as_ref().map(|list| list.value.0.len());
    let routes = file.route.map(|list| route::routes(list.value.0, &known, reader));
    let readable = file.metric.as_ref().is_none_or(|named| named.value.complete);
    let metrics = file.metric.map(|named| outside::metrics(named.value.entries, reader));
    let metrics = metrics.unwrap_or_default();
    let around = rollout::Surroundings::new(
        // A route or metric with a fault of its own is missing here: then no name can be called unknown.
        routes.as_deref().filter(|routes| Some(routes.len()) == written),
        &known,
        Some(metrics.as_slice()).filter(|_| readable),
    );
    let moved: Vec<_> =
        file.rollout.iter().flat_map(|named| rollout::routes_of(&named.value.entries)).collect();
    fallbacks.check(moved.iter(), reader);
    let rollouts =
        file.rollout.map(|named| rollout::rollouts(named.value.entries, &around, reader));
    let traces = file.traces.and_then(|section| outside::traces(section, reader));
    let sinks = file.notify.map(|named| outside::sinks(named.value.entries, reader));
    Some(Config {
        process: model::Process {
            workers: file.process.workers.value.0,
            shutdown_timeout: file.process.shutdown_timeout.value,
        },
        admin,
        state,
        log: model::Log {
            level: file.log.level.value,
            format: file.log.format.value,
            summary_every: file.log.summary_every.value.0,
            access: edge::access(file.log.access),
        },
        listeners: listeners?,
        backends: backends?,
        routes: routes?,
        rollouts: rollouts.unwrap_or_default(),
        metrics,
        sinks: sinks.unwrap_or_default(),
        traces,
        error_pages: file
            .error_page
            .map(|pages| edge::error_pages(pages.value.entries, reader))
            .unwrap_or_default(),
    })
}

/// The backends that routes may name.
pub(super) struct KnownBackends {
    names: HashSet<BackendName>,
    /// False when the backends could not be read: then no name can be called unknown.
    complete: bool,
}

impl KnownBackends {
    /// Whether there is a backend `name`.
    pub(super) fn has(&self, name: &BackendName) -> bool {
        self.names.contains(name)
    }

    /// A fault at `span` when there is no backend `name`.
    pub(super) fn check(
        &self,
        name: &BackendName,
        span: Span,
        key: impl FnOnce() -> String,
        reader: &mut Reader<'_>,
    ) {
        if !self.complete || self.names.contains(name) {
            return;
        }
        let refusal = Refusal::new(format!("there is no backend {}", quote(name.as_str())));
        let hint = match nearest(name.as_str(), self.names.iter().map(BackendName::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("add a section [backend.{name}]"),
        };
        reader.fault(span, key(), refusal.hint(hint));
    }
}

fn admin(section: raw::Admin, reader: &mut Reader<'_>) -> model::Admin {
    let socket = &section.socket;
    refuse_empty(socket, "admin.socket", reader);
    let length = socket.value.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        let message = format!("a socket's path has at most {MAX_SOCKET_PATH} bytes, not {length}");
        reader.fault(socket.span, "admin.socket", Refusal::new(message));
    }
    section.token_file.iter().for_each(|path| refuse_empty(path, "admin.token_file", reader));
    match (&section.listen, &section.token_file) {
        (None, Some(token)) => {
            let refusal = Refusal::new("has no effect without admin.listen");
            let hint = "add listen = \"127.0.0.1:9900\", or leave the token out";
            reader.fault(token.span, "admin.token_file", refusal.hint(hint));
        }
        (Some(listen), Some(_)) if !listen.value.ip().is_loopback() && section.tls.is_none() => {
            let message =
                format!("a token would cross the network in the clear on {}", listen.value);
            let hint = "add [admin.tls] with cert and key, listen on 127.0.0.1, or leave token_file out: \
                        then TCP is read-only";
            reader.fault(listen.span, "admin.listen", Refusal::new(message).hint(hint));
        }
        (None | Some(_), None) | (Some(_), Some(_)) => {}
    }
    if let (None, Some(tls)) = (&section.listen, &section.tls) {
        let refusal = Refusal::new("has no effect without admin.listen");
        reader.fault(
            tls.span,
            "admin.tls",
            refusal.hint("add listen = \"0.0.0.0:9900\", or leave it out"),
        );
    }
    if let (None, Some(host)) = (&section.listen, section.hosts.value.0.first()) {
        let refusal = Refusal::new("has no effect without admin.listen");
        let hint = "add listen = \"127.0.0.1:9900\", or leave the names out";
        reader.fault(host.span, "admin.hosts", refusal.hint(hint));
    }
    model::Admin {
        socket: section.socket.value,
        socket_mode: section.socket_mode.value.0,
        listen: section.listen.map(|listen| listen.value),
        token_file: section.token_file.map(|path| path.value),
        tls: section.tls.and_then(|section| tls::admin(&section, reader)),
        hosts: section.hosts.value.0.into_iter().map(|host| host.value.0).collect(),
    }
}

fn state(section: raw::State, reader: &mut Reader<'_>) -> model::State {
    refuse_empty(&section.file, "state.file", reader);
    model::State { file: section.file.value }
}

pub(super) fn refuse_empty(path: &At<PathBuf>, key: &str, reader: &mut Reader<'_>) {
    if path.value.as_os_str().is_empty() {
        reader.fault(path.span, key, Refusal::new("the path is empty"));
    }
}

fn listeners(
    list: Vec<At<raw::Listener>>,
    admin: Option<SocketAddr>,
    reader: &mut Reader<'_>,
) -> Vec<model::Listener> {
    let mut bound: HashMap<SocketAddr, String> = HashMap::new();
    bound.extend(admin.map(|address| (address, "admin.listen".to_owned())));
    let mut listeners = Vec::with_capacity(list.len());
    for (index, At { value: section, .. }) in list.into_iter().enumerate() {
        let Some(bind) = &section.bind else { continue };
        let key = format!("listener[{index}].bind");
        // Port 0 asks the system for a free port, a different one each time.
        if let Some(other) = bound.get(&bind.value).filter(|_| bind.value.port() != 0) {
            let refusal = Refusal::new(format!("{} is already taken by {other}", bind.value));
            reader.fault(bind.span, key.clone(), refusal.hint("give each its own port"));
        }
        bound.insert(bind.value, key);
        let place = format!("listener[{index}]");
        let key = |at| format!("{place}.protocols[{at}]");
        refuse_repeated(&section.protocols.value.0, key, reader);
        listeners.push(model::Listener {
            tls: tls::listener(&section, &place, reader),
            redirect_to_https: tls::redirect(&section, &place, reader),
            bind: bind.value,
            max_connections: section.max_connections.value.0 as u32,
            trusted_proxies: section.trusted_proxies.value.into_values(),
            forwarded: section.forwarded.value,
            header_timeout: section.header_timeout.value,
            idle_timeout: section.idle_timeout.value,
            max_header_bytes: section.max_header_bytes.value.0 as usize,
            max_headers: section.max_headers.value.0 as usize,
            protocols: section.protocols.value.into_values(),
            max_connections_per_client: section
                .max_connections_per_client
                .value
                .0
                .map(|n| n as u32),
            proxy_protocol: section.proxy_protocol.value,
            min_rate: section.min_rate.value.0,
        });
    }
    listeners
}

fn backends(
    named: Vec<(At<BackendName>, At<raw::Backend>)>,
    reader: &mut Reader<'_>,
) -> Vec<model::Backend> {
    let backend = |(name, section): (At<BackendName>, At<raw::Backend>)| {
        let (name, section) = (name.value, section.value);
        let endpoints = section.endpoints.map(|list| list.value.0).unwrap_or_default();
        let key = |index| format!("backend.{name}.endpoints[{index}]");
        refuse_repeated(&endpoints, key, reader);
        let key = |rest: &str| format!("backend.{name}.{rest}");
        let protocol = &section.protocol;
        if protocol.value == BackendProtocol::Auto && section.tls.is_none() {
            let refusal = Refusal::new("only a TLS handshake tells what an endpoint speaks");
            let hint = format!("add [{}], or say \"http/1.1\" or \"h2\"", key("tls"));
            reader.fault(protocol.span, key("protocol"), refusal.hint(hint));
        }
        let speaks = section.protocol.value;
        let health_check = section.health_check.map(|check| {
            health_check::health_check(check.value, speaks, &key("health_check"), reader)
        });
        let ejection = resilience::ejection(&section.ejection, &key("ejection"), reader);
        let tls = section.tls.map(|section| {
            refuse_nameless(&section, &endpoints, &key("tls"), reader);
            tls::backend(&section.value, &key("tls"), reader)
        });
        model::Backend {
            tls,
            endpoints: endpoints.into_iter().map(|endpoint| endpoint.value).collect(),
            protocol: section.protocol.value,
            name,
            balance: section.balance.value,
            resolve_every: section.resolve_every.value,
            max_in_flight: section.max_in_flight.value.0 as u32,
            endpoint_max_in_flight: section.endpoint_max_in_flight.value.0,
            pool_idle: section.pool_idle.value.0 as usize,
            pool_idle_timeout: section.pool_idle_timeout.value,
            cache_status_header: section.cache_status_header.value.0,
            health_check,
            ejection,
        }
    };
    named.into_iter().map(backend).collect()
}

/// A unix socket has no name that a certificate could have.
fn refuse_nameless(
    section: &At<tls::raw::BackendTls>,
    endpoints: &[At<EndpointAddress>],
    key: &str,
    reader: &mut Reader<'_>,
) {
    let is_unix = |at: &&At<EndpointAddress>| matches!(at.value.location(), Location::Unix(_));
    let named =
        section.value.server_name.is_some() || reader.has_fault_at(&format!("{key}.server_name"));
    if let Some(endpoint) = endpoints.iter().find(is_unix).filter(|_| !named) {
        let refusal = Refusal::new(format!(
            "no certificate can be for {}: a unix socket has no name",
            quote(endpoint.value.as_str())
        ));
        let hint = "add server_name: the name that the endpoints' certificates have";
        reader.fault(section.span, key, refusal.hint(hint));
    }
}

/// Faults for the values of a list that came before.
pub(super) fn refuse_repeated<T: Eq + std::hash::Hash>(
    list: &[At<T>],
    key: impl Fn(usize) -> String,
    reader: &mut Reader<'_>,
) {
    let mut seen = HashSet::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        if !seen.insert(&item.value) {
            reader.fault(item.span, key(index), Refusal::new("stands in this list twice"));
        }
    }
}
