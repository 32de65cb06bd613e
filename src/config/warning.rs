//! What is allowed but hardly meant.

use std::{collections::HashMap, fmt};

use super::{
    Config, mirror,
    model::{Backend, HostPattern, Listener, PathPattern},
    rollout,
};

/// Something that works as written, and probably not as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What it is about, as `backend.green` or `route api`.
    pub subject: String,
    /// What is odd about it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

/// Whatever is odd in `config`, in the order of the file.
pub fn warnings(config: &Config) -> Vec<Warning> {
    let open = open_admin(config).into_iter().chain(trusts_everyone(config));
    open.chain(trusts_any_certificate(config))
        .chain(unused_backends(config))
        .chain(unreachable_routes(config))
        .chain(mirror::warnings(config))
        .chain(open_traces(config))
        .chain(rollout::warning::warnings(config))
        .collect()
}

fn open_admin(config: &Config) -> Option<Warning> {
    let listen = config.admin.listen.filter(|address| !address.ip().is_loopback())?;
    Some(Warning {
        subject: "admin".to_owned(),
        message: format!("whoever reaches {listen} can read status and metrics"),
    })
}

fn trusts_everyone(config: &Config) -> impl Iterator<Item = Warning> {
    let all = |listener: &&Listener| listener.trusted_proxies.iter().any(|n| n.prefix_len() == 0);
    config.listeners.iter().filter(all).map(|listener| Warning {
        subject: format!("listener {}", listener.bind),
        message: "every client is a trusted proxy, and can give itself any address".to_owned(),
    })
}

fn trusts_any_certificate(config: &Config) -> impl Iterator<Item = Warning> {
    let any = |backend: &&Backend| backend.tls.as_ref().is_some_and(|tls| tls.insecure);
    config.backends.iter().filter(any).map(|backend| Warning {
        subject: format!("backend {}", backend.name),
        message: "any certificate is taken: encrypted, but whoever is on the way can listen"
            .to_owned(),
    })
}

fn open_traces(config: &Config) -> Option<Warning> {
    let traces = config.traces.as_ref().filter(|traces| !traces.headers.is_empty())?;
    let rest = traces.endpoint.strip_prefix("http://")?;
    let here = ["127.", "localhost", "[::1]"].iter().any(|own| rest.starts_with(own));
    (!here).then(|| Warning {
        subject: "traces".to_owned(),
        message: "its headers travel in the clear; write https:// if one of them is a key"
            .to_owned(),
    })
}

fn unused_backends(config: &Config) -> impl Iterator<Item = Warning> {
    let mut used = std::collections::HashSet::new();
    for route in &config.routes {
        used.extend(route.split.shares().iter().map(|(name, _)| name));
        used.extend(route.overrides.iter().map(|exception| &exception.backend));
        used.extend(route.mirror.iter().map(|mirror| &mirror.to));
    }
    for rollout in &config.rollouts {
        used.extend([&rollout.plan.baseline, &rollout.plan.canary]);
    }
    let unused = config.backends.iter().filter(move |backend| !used.contains(&backend.name));
    unused.map(|backend| Warning {
        subject: format!("backend {}", backend.name),
        message: "no route uses it".to_owned(),
    })
}

/// Regular expressions are asked before prefixes, so one that matches every path hides what is
/// asked after it.
fn unreachable_routes(config: &Config) -> impl Iterator<Item = Warning> {
    let mut catch_alls: HashMap<&HostPattern, usize> = HashMap::new();
    for (index, route) in config.routes.iter().enumerate() {
        if matches_every_path(&route.path) {
            route.hosts.iter().for_each(|host| _ = catch_alls.entry(host).or_insert(index));
        }
    }
    config.routes.iter().enumerate().filter_map(move |(index, route)| {
        let hidden_by = |host| {
            let catch_all = *catch_alls.get(host)?;
            let hidden = match &route.path {
                PathPattern::Exact(_) => false,
                PathPattern::Regex(_) => catch_all < index,
                PathPattern::Prefix(_) => true,
            };
            hidden.then_some(catch_all)
        };
        let hiding: Option<Vec<_>> = route.hosts.iter().map(hidden_by).collect();
        let first = &config.routes[*hiding?.first()?];
        Some(Warning {
            subject: format!("route {}", route.name),
            message: format!("no request reaches it: route {} takes every path", first.name),
        })
    })
}

fn matches_every_path(path: &PathPattern) -> bool {
    const EVERYTHING: [&str; 8] = ["^", "/", "^/", ".*", "^.*", "^.*$", "^/.*", "^/.*$"];
    match path {
        PathPattern::Regex(regex) => EVERYTHING.contains(&regex.as_str()),
        PathPattern::Prefix(_) | PathPattern::Exact(_) => false,
    }
}
