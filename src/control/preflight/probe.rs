//! Looks at everything that a rollout needs. Every look has a deadline, and all of them go on at once.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::{join, join_all, join3};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, DATE, HOST, HeaderMap, HeaderValue},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    Subject,
    evidence::{Brief, EndpointEvidence, Evidence, Machine, Sample, SideEvidence},
    machine,
};
use crate::{
    config::model::{
        Address, BackendProtocol, CheckAction, CheckTarget, Config, HookAction, PathPattern, Sink,
        SinkKind,
    },
    control::{
        ControlHandle, Outbound,
        checks::{CheckTargets, Side, reachable},
        outbound::{Answer, Outgoing, Place, connect, read_secret},
        status::{EndpointState, Rate, ReloadOutcome, endpoint_status},
    },
    domain::{BackendName, EndpointAddress, MetricName, Plan, condition::Metric},
    lifecycle::clock,
    routing::{Backend, Endpoint, Peer},
    tls::{Certificate, ClientTls, not_after_s},
};

/// One look.
const PATIENCE: Duration = Duration::from_secs(3);

/// The disk may hang.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// Paths that both sides are asked for.
const MAX_PATHS: usize = 5;

/// Endpoints of a side that are looked at.
const MAX_ENDPOINTS: usize = 16;

/// Requests from which the latency of a side is taken.
const LATENCY_REQUESTS: usize = 5;

/// Headers that name a version, the clearest first.
const VERSION_HEADERS: [&str; 5] =
    ["x-version", "x-app-version", "x-release", "x-build", "x-revision"];

/// Looks at everything.
pub(super) async fn gather(
    subject: Subject<'_>,
    targets: &CheckTargets,
    handle: &ControlHandle,
) -> Evidence {
    let Subject { plan, checks, hooks } = subject;
    let config = handle.config().borrow().clone();
    let client = Client { outbound: &handle.outside().outbound, host: targets.host.as_deref() };
    let paths = paths(subject, &config);
    let sides = join(
        side(&plan.baseline, &targets.baseline, &paths, handle, client),
        side(&plan.canary, &targets.canary, &paths, handle, client),
    );
    let samples = join_all(paths.iter().map(|path| sample(path, targets, client)));
    let listener = async {
        let bind = targets.listener.ok_or_else(|| "there is no listener".to_owned())?;
        let path = paths.first().map_or("/", |path| path);
        let address = reachable(bind).to_string().parse::<EndpointAddress>();
        let address = address.map_err(|error| error.to_string())?;
        let tls = targets.listener_tls.as_deref();
        let place = Place { address: &address, tls, protocol: BackendProtocol::Http1 };
        client.get(place, path).await.map(|answer| brief(&answer))
    };
    let addresses = hooks.iter().filter_map(|hook| match &hook.action {
        HookAction::Post(url) => Some((hook.name.to_string(), url)),
        HookAction::Exec(_) => None,
    });
    let addresses = addresses.map(async |(name, url)| (name, listens_at_url(url).await));
    let sinks = config.sinks.iter().map(async |sink| (sink.name.clone(), answers(sink).await));
    let traffic = join3(sides, samples, listener);
    let around = join3(join_all(addresses), join_all(sinks), local(subject, &config));
    let flushed = tokio::time::timeout(DISK_PATIENCE, handle.audit().flush());
    let looks = join3(traffic, around, flushed).await;
    let (((baseline, canary), samples, listener), (addresses, sinks, local), flushed) = looks;
    let (machine, programs) = local;
    let status = handle.status();
    let known = status.rollouts.iter().find(|rollout| rollout.name == plan.name);
    Evidence {
        plan: plan.clone(),
        checks: checks.to_vec(),
        hooks: hooks.to_vec(),
        reload_rejected: status.config.last_reload.outcome == ReloadOutcome::Rejected,
        draining: status.draining,
        phase: known.map(|rollout| rollout.phase.clone()),
        durable: flushed == Ok(true),
        baseline,
        canary,
        samples,
        listener,
        machine,
        programs,
        addresses,
        sinks,
        metrics: metrics(plan, handle),
        certificates: own_certificates(handle),
        config: (*config).clone(),
    }
}

/// The route's own path, and those of the checks that only look.
fn paths(subject: Subject<'_>, config: &Config) -> Vec<String> {
    let route = config.routes.iter().find(|route| route.name == subject.plan.route);
    let own = route.and_then(|route| match &route.path {
        PathPattern::Prefix(path) if path.is_empty() => Some("/".to_owned()),
        PathPattern::Prefix(path) | PathPattern::Exact(path) => Some(path.to_string()),
        PathPattern::Regex(_) => None,
    });
    let checked = subject.checks.iter().filter_map(|check| match &check.action {
        CheckAction::Http { target, request, .. } => {
            let looks = request.method == Method::GET && *target != CheckTarget::Proxy;
            looks.then(|| request.path.to_string())
        }
        CheckAction::Exec(_) => None,
    });
    let mut seen = BTreeSet::new();
    let all = own.into_iter().chain(checked);
    all.filter(|path| seen.insert(path.clone())).take(MAX_PATHS).collect()
}

/// Asks as checks do.
#[derive(Clone, Copy)]
struct Client<'c> {
    outbound: &'c Outbound,
    host: Option<&'c str>,
}

impl Client<'_> {
    async fn get(self, place: Place<'_>, path: &str) -> Result<Answer, String> {
        let mut headers = HeaderMap::new();
        if let Some(host) = self.host {
            let value = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
            headers.insert(HOST, value);
        }
        let (method, body, timeout) = (Method::GET, Vec::new(), PATIENCE);
        let outgoing = Outgoing { method, url: "", headers, body, timeout };
        self.outbound.ask_at(place, path, outgoing).await.map_err(|error| error.to_string())
    }
}

async fn side(
    name: &BackendName,
    used: &Side,
    paths: &[String],
    handle: &ControlHandle,
    client: Client<'_>,
) -> SideEvidence {
    let table = handle.table();
    let Some(backend) = table.backends().iter().find(|backend| backend.name == *name) else {
        return SideEvidence { name: name.to_string(), ..SideEvidence::default() };
    };
    let Rate { requests_per_s, failures_per_s } = handle.rate(name);
    let latency = async {
        let endpoint = used.endpoints.first()?;
        let taken = latency(used.place(endpoint), paths.first()?, client);
        tokio::time::timeout(PATIENCE, taken).await.ok().flatten()
    };
    let (endpoints, latency) = join(endpoints(backend), latency).await;
    SideEvidence {
        name: name.to_string(),
        endpoints,
        in_flight: backend.in_flight.total(),
        max_in_flight: backend.max_in_flight,
        requests_per_s,
        failures_per_s,
        latency,
    }
}

async fn endpoints(backend: &Backend) -> Vec<EndpointEvidence> {
    let look = async |endpoint: &Endpoint| {
        let address = endpoint.address().clone();
        let tls = backend.tls.as_deref();
        let place = Place { address: &address, tls, protocol: backend.protocol };
        let resolved = within(place.peers()).await;
        let began = clock::now();
        let connected = match &resolved {
            Ok(found) => within(connect(found)).await.map(|_| found),
            Err(why) => Err(why.clone()),
        };
        let took = clock::now().since(began);
        let certificate = match (tls, &connected) {
            (Some(tls), Ok(found)) => Some(certificate(tls, &address, found).await),
            (None, _) | (_, Err(_)) => None,
        };
        let connected = connected.map(|_| took);
        EndpointEvidence {
            drained: endpoint.is_drained(),
            ill: ill(backend, endpoint),
            resolved: resolved.map(|found| found.len()),
            connected,
            certificate,
            address,
        }
    };
    let looks = backend.endpoints.iter().take(MAX_ENDPOINTS).map(|endpoint| look(endpoint));
    join_all(looks).await
}

fn ill(backend: &Backend, endpoint: &Endpoint) -> Option<String> {
    let status = endpoint_status(backend, endpoint, clock::now());
    let ill = matches!(status.state, EndpointState::Unhealthy | EndpointState::Ejected);
    ill.then(|| format!("{}: {}", status.state.label(), status.detail.unwrap_or_default()))
}

/// The seconds for which the certificate of an endpoint is still good.
async fn certificate(
    tls: &ClientTls,
    address: &EndpointAddress,
    found: &[Peer],
) -> Result<i64, String> {
    let name = tls.name_for(address).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(tls.config().clone());
    let shown = async {
        let stream = connector.connect(name, connect(found).await?).await?;
        let certificates = stream.get_ref().1.peer_certificates();
        Ok(certificates.and_then(|shown| not_after_s(shown.first()?)))
    };
    let end = within(shown).await?.ok_or_else(|| "it shows no certificate".to_owned())?;
    Ok(end - now_s())
}

fn now_s() -> i64 {
    i64::try_from(clock::wall_millis() / 1_000).unwrap_or(i64::MAX)
}

/// Those that Tidegate shows itself: whose, and the seconds for which each is still good.
fn own_certificates(handle: &ControlHandle) -> Vec<(String, i64)> {
    let table = handle.table();
    let shown = table.tls().certificates().iter();
    let left = |shown: &Certificate| {
        (format!("{} of {}", shown.file.display(), shown.owner), shown.not_after_s - now_s())
    };
    shown.map(left).collect()
}

/// The median of a few requests; `None` when one of them has no answer.
async fn latency(endpoint: Place<'_>, path: &str, client: Client<'_>) -> Option<Duration> {
    let mut times = Vec::with_capacity(LATENCY_REQUESTS);
    for _ in 0..LATENCY_REQUESTS {
        times.push(client.get(endpoint, path).await.ok()?.took);
    }
    times.sort_unstable();
    Some(times[LATENCY_REQUESTS / 2])
}

async fn sample(path: &str, targets: &CheckTargets, client: Client<'_>) -> Sample {
    let ask = async |side: &Side| {
        let asked = side.endpoints.iter().take(MAX_ENDPOINTS).map(async |endpoint| {
            let answer = client.get(side.place(endpoint), path).await;
            (endpoint.to_string(), answer.map(|answer| brief(&answer)))
        });
        join_all(asked).await
    };
    let (baseline, canary) = join(ask(&targets.baseline), ask(&targets.canary)).await;
    Sample { path: path.to_owned(), baseline, canary }
}

fn brief(answer: &Answer) -> Brief {
    let text = |name: &str| {
        let value = answer.headers.get(name)?.to_str().ok()?;
        Some(value.chars().take(80).collect::<String>())
    };
    let versions = VERSION_HEADERS.iter().filter_map(|name| Some((*name, text(name)?)));
    let date = text(DATE.as_str()).and_then(|date| http_date_s(&date));
    Brief {
        status: answer.status,
        content_type: text(CONTENT_TYPE.as_str()),
        version: versions.into_iter().next(),
        clock_ahead_s: date.map(|date| date - now_s()),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` in seconds since 1970.
fn http_date_s(text: &str) -> Option<i64> {
    let format = "%a, %d %b %Y %H:%M:%S GMT";
    let date = jiff::civil::DateTime::strptime(format, text).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

async fn local(
    subject: Subject<'_>,
    config: &Config,
) -> (Machine, Vec<(String, Result<(), String>)>) {
    let hooks = subject.hooks.iter().filter_map(|hook| match &hook.action {
        HookAction::Exec(words) => Some((format!("hook {}", hook.name), words)),
        HookAction::Post(_) => None,
    });
    let checks = subject.checks.iter().filter_map(|check| match &check.action {
        CheckAction::Exec(words) => Some((format!("check {}", check.name), words)),
        CheckAction::Http { .. } => None,
    });
    let wanted = hooks.chain(checks).filter_map(|(who, words)| Some((who, words.first()?.clone())));
    let wanted: Vec<_> = wanted.collect();
    let file = config.state.file.clone();
    let look = tokio::task::spawn_blocking(move || {
        let runs = |(who, program): (String, Box<str>)| (who, machine::can_be_run(&program));
        (machine::look(&file), wanted.into_iter().map(runs).collect())
    });
    // A disk that hangs leaves the folder as not known to be writable.
    tokio::time::timeout(DISK_PATIENCE, look).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Every metric that the plan's conditions speak of, with its present number.
fn metrics(plan: &Plan, handle: &ControlHandle) -> Vec<(MetricName, Result<f64, String>)> {
    let mut readings = handle.outside().metrics.read(clock::now());
    let gauges = plan.conditions().flat_map(|condition| condition.gauges());
    let external = gauges.filter_map(|gauge| {
        let Metric::External(name, _) = &gauge.metric else { return None };
        Some(name.clone())
    });
    let names: BTreeSet<_> = external.collect();
    let read = |name: MetricName| {
        let reading = readings.remove(&name).map(|reading| reading.value);
        (name, reading.unwrap_or_else(|| Err("nobody asks for it".to_owned())))
    };
    names.into_iter().map(read).collect()
}

/// Whether somebody listens where `sink` sends, and its secrets can be read.
async fn answers(sink: &Sink) -> Result<(), String> {
    match &sink.kind {
        SinkKind::Slack(url) | SinkKind::Alertmanager(url) => listens_at(url).await,
        SinkKind::Webhook { url, secret_file } => {
            if let Some(file) = secret_file {
                read_secret(file).await?;
            }
            listens_at(url).await
        }
        SinkKind::Email(email) => {
            if let Some((_, file)) = &email.login {
                read_secret(file).await?;
            }
            let address = format!("{}:{}", email.host, email.port);
            within(TcpStream::connect(address)).await.map(drop)
        }
    }
}

async fn listens_at(address: &Address) -> Result<(), String> {
    match address {
        Address::Url(url) => listens_at_url(url).await,
        Address::File(file) => listens_at_url(&read_secret(file).await?).await,
    }
}

async fn listens_at_url(url: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(url).map_err(|_| "this is no address".to_owned())?;
    let host = url.host_str().ok_or("this is no address")?;
    let port = url.port_or_known_default().ok_or("this is no address")?;
    within(TcpStream::connect(format!("{host}:{port}"))).await.map(drop)
}

async fn within<T>(look: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_http_is_read() {
        assert_eq!(http_date_s("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date_s("yesterday"), None);
    }
}
