//! Checks: synthetic transactions against the canary, the baseline, both, or through Tidegate's own listener.
//!
//! A check of a backend asks each of its endpoints, since one broken endpoint of three fails every third user; but what may
//! change something (any method other than GET, HEAD, OPTIONS) is asked of the first one alone.

mod assess;
mod running;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use assess::Finding;
use futures_util::StreamExt as _;
use reqwest::{
    Method,
    header::{HOST, HeaderMap, HeaderValue},
};
pub use running::RunningChecks;

use super::{
    Outbound,
    outbound::{Answer, Outgoing, Place},
    program::Program,
};
use crate::{
    config::{
        Config,
        model::{
            BackendProtocol, Check, CheckAction, CheckRequest, CheckTarget, Expectations,
            HostPattern,
        },
    },
    domain::{BackendName, CheckResult, CheckStage, EndpointAddress, Plan, RolloutName},
    lifecycle::clock,
    routing::Table,
    tls::ClientTls,
};

/// Checks that run at once.
const AT_ONCE: usize = 8;

/// Endpoints of one backend that a check asks at most.
const MAX_ENDPOINTS: usize = 32;

/// Who is asked.
#[derive(Debug, Clone)]
pub struct CheckTargets {
    /// The rollout.
    pub rollout: RolloutName,
    /// What is known to be good.
    pub baseline: Side,
    /// What is under trial.
    pub canary: Side,
    /// Tidegate's own listener, as it is bound.
    pub listener: Option<SocketAddr>,
    /// What connections to it are made with, if it has certificates.
    pub listener_tls: Option<Arc<ClientTls>>,
    /// The `Host` of requests that name none, where the route has one.
    pub host: Option<String>,
}

impl CheckTargets {
    /// Whom the checks of `plan` ask. `listener` is the first one, as it is bound.
    pub fn of(plan: &Plan, config: &Config, table: &Table, listener: Option<SocketAddr>) -> Self {
        let route = config.routes.iter().find(|route| route.name == plan.route);
        let host = route.into_iter().flat_map(|route| &route.hosts).find_map(|host| match host {
            HostPattern::Exact(name) => Some(name.to_string()),
            HostPattern::Suffix(_) | HostPattern::Any => None,
        });
        let own = config.listeners.iter().find(|own| own.is_for_checks());
        let own = own.filter(|own| own.tls.is_some());
        let own = own.and_then(|_| ClientTls::to_itself(host.as_deref().unwrap_or("localhost")));
        Self {
            rollout: plan.name.clone(),
            baseline: Side::of(&plan.baseline, table),
            canary: Side::of(&plan.canary, table),
            listener,
            listener_tls: own.map(Arc::new),
            host,
        }
    }

    /// Follows `table`: endpoints come and go, and operators take some out.
    pub fn follow(&mut self, table: &Table) {
        self.baseline.follow(table);
        self.canary.follow(table);
    }
}

/// A backend and its endpoints that are in use.
#[derive(Debug, Clone)]
pub struct Side {
    /// The backend.
    pub name: BackendName,
    /// Its endpoints.
    pub endpoints: Vec<EndpointAddress>,
    /// What they speak.
    pub protocol: BackendProtocol,
    /// What connections to them are made with, if they are encrypted.
    pub tls: Option<Arc<ClientTls>>,
}

impl Side {
    fn of(name: &BackendName, table: &Table) -> Self {
        let backend = table.backends().iter().find(|backend| backend.name == *name);
        let tls = backend.and_then(|backend| backend.tls.clone());
        let protocol = backend.map_or(BackendProtocol::Http1, |backend| backend.protocol);
        let endpoints = backend.into_iter().flat_map(|backend| &backend.endpoints);
        let (now, left) = (clock::now(), endpoints.filter(|endpoint| !endpoint.is_drained()));
        let (well, ill): (Vec<_>, Vec<_>) = left.partition(|endpoint| endpoint.is_usable(now));
        // As for requests: where none is well, those that are not drained stand in.
        let used = if well.is_empty() { ill } else { well };
        let endpoints = used.into_iter().map(|endpoint| endpoint.address().clone()).collect();
        Self { name: name.clone(), endpoints, protocol, tls }
    }

    /// One of its endpoints, to be asked.
    pub(super) fn place<'p>(&'p self, address: &'p EndpointAddress) -> Place<'p> {
        Place { address, tls: self.tls.as_deref(), protocol: self.protocol }
    }

    /// Takes up what `table` has in use. Who was well once and is ill now is asked all the same, unless an operator took it
    /// out: that it is ill is for the checks to say.
    fn follow(&mut self, table: &Table) {
        let now = Self::of(&self.name, table);
        let backend = table.backends().iter().find(|backend| backend.name == self.name);
        let left = backend.into_iter().flat_map(|backend| &backend.endpoints);
        let left: Vec<_> = left.filter(|endpoint| !endpoint.is_drained()).collect();
        self.endpoints.retain(|known| left.iter().any(|endpoint| endpoint.address() == known));
        let new = now.endpoints.into_iter().filter(|endpoint| !self.endpoints.contains(endpoint));
        let new: Vec<_> = new.collect();
        self.endpoints.extend(new);
        self.tls = now.tls;
    }

    /// Those that a request with `method` goes to.
    fn asked(&self, method: &Method) -> impl Iterator<Item = &EndpointAddress> {
        let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        self.endpoints.iter().take(if safe { MAX_ENDPOINTS } else { 1 })
    }
}

/// Runs the checks of `stage`, several at once, and gives their results in the order of the file.
pub async fn run_stage(
    checks: &[Check],
    stage: CheckStage,
    targets: &CheckTargets,
    outbound: &Outbound,
) -> Vec<CheckResult> {
    // A loop, since the compiler cannot see that a future made by a closure may go to another thread.
    let mut runs = Vec::new();
    for check in checks {
        if check.stages.contains(&stage) {
            runs.push(run_check(check, stage, targets, outbound));
        }
    }
    futures_util::stream::iter(runs).buffered(AT_ONCE).collect().await
}

/// Runs one check.
pub async fn run_check(
    check: &Check,
    stage: CheckStage,
    targets: &CheckTargets,
    outbound: &Outbound,
) -> CheckResult {
    let began = clock::now();
    let finding = match &check.action {
        CheckAction::Exec(words) => exec(words, check, stage, targets).await,
        CheckAction::Http { target, request, expect } => {
            let asked = ask(*target, request, expect, check.timeout, targets, outbound);
            let late =
                || Finding::bad(format!("no result within {} ms", check.timeout.as_millis()));
            tokio::time::timeout(check.timeout, asked).await.unwrap_or_else(|_| late())
        }
    };
    CheckResult {
        name: check.name.to_string(),
        category: check.category,
        stage,
        passed: finding.good,
        required: check.required,
        took: clock::now().since(began),
        detail: finding.detail,
    }
}

async fn exec(
    words: &[Box<str>],
    check: &Check,
    stage: CheckStage,
    targets: &CheckTargets,
) -> Finding {
    let list = |side: &Side| {
        let endpoints: Vec<_> = side.endpoints.iter().map(EndpointAddress::as_str).collect();
        endpoints.join(",")
    };
    let environment = vec![
        ("TIDEGATE_CHECK", check.name.to_string()),
        ("TIDEGATE_STAGE", stage.label().to_owned()),
        ("TIDEGATE_ROLLOUT", targets.rollout.to_string()),
        ("TIDEGATE_BASELINE", targets.baseline.name.to_string()),
        ("TIDEGATE_CANARY", targets.canary.name.to_string()),
        ("TIDEGATE_BASELINE_ENDPOINTS", list(&targets.baseline)),
        ("TIDEGATE_CANARY_ENDPOINTS", list(&targets.canary)),
    ];
    let ended = Program { words, environment, timeout: check.timeout }.run().await;
    let said = ended.output.lines().last().unwrap_or_default();
    let said = if said.is_empty() { String::new() } else { format!(": {}", assess::cut(said)) };
    match ended.outcome {
        Ok(()) => Finding::good(format!("exit code 0{said}")),
        Err(why) => Finding::bad(format!("{why}{said}")),
    }
}

async fn ask(
    target: CheckTarget,
    request: &CheckRequest,
    expect: &Expectations,
    timeout: Duration,
    targets: &CheckTargets,
    outbound: &Outbound,
) -> Finding {
    let sides: &[&Side] = match target {
        CheckTarget::Canary => &[&targets.canary],
        CheckTarget::Baseline => &[&targets.baseline],
        CheckTarget::Both => &[&targets.baseline, &targets.canary],
        CheckTarget::Proxy => {
            let Some(listener) = targets.listener.map(reachable) else {
                return Finding::bad("there is no listener to ask");
            };
            let Ok(address) = listener.to_string().parse() else {
                return Finding::bad("the listener has no port");
            };
            let tls = targets.listener_tls.as_deref();
            let place = Place { address: &address, tls, protocol: BackendProtocol::Http1 };
            let answer = send(place, request, timeout, targets, outbound).await;
            return assess::judge("tidegate", answer.as_ref(), expect);
        }
    };
    let mut answers = Vec::new();
    for side in sides {
        let asked: Vec<_> = side.asked(&request.method).collect();
        if asked.is_empty() {
            return Finding::bad(format!("{} has no endpoint in use", side.name));
        }
        let sent = asked.into_iter().map(async |endpoint| {
            let answer = send(side.place(endpoint), request, timeout, targets, outbound).await;
            (format!("{} at {endpoint}", side.name), answer)
        });
        answers.extend(futures_util::future::join_all(sent).await);
    }
    assess::judge_all(&answers, expect, target == CheckTarget::Both)
}

/// Asks whoever is at `place`; why not, when there is no answer.
async fn send(
    place: Place<'_>,
    request: &CheckRequest,
    timeout: Duration,
    targets: &CheckTargets,
    outbound: &Outbound,
) -> Result<Answer, String> {
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
    let mut headers = HeaderMap::new();
    if let Some(host) = &targets.host {
        headers.insert(HOST, value(host)?);
    }
    for (name, text) in &request.headers {
        headers.insert(name.clone(), value(text)?);
    }
    let outgoing = Outgoing {
        method: request.method.clone(),
        url: "",
        headers,
        body: request.body.as_bytes().to_vec(),
        timeout,
    };
    let answer = outbound.ask_at(place, &request.path, outgoing).await;
    answer.map_err(|error| error.to_string())
}

/// Where to connect when a listener is bound to `bind`.
pub(super) fn reachable(mut bind: SocketAddr) -> SocketAddr {
    use std::net::{Ipv4Addr, Ipv6Addr};
    if bind.ip().is_unspecified() {
        bind.set_ip(match bind {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    bind
}

#[cfg(test)]
mod tests;
