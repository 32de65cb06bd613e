//! What an operator sees: configuration, splits and their source, backends with their endpoints and rates.
//!
//! Put together on the reader's thread from what the controller has published; nobody waits for the controller.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    hand_split::HandSplits,
    rollouts::{Board, RolloutStatus},
};
use crate::{
    domain::{BackendName, Moment, RouteName, Weight},
    routing::{Backend, Endpoint, Route, Table},
    telemetry::Snapshot,
};

/// The answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running program.
    pub version: String,
    /// Seconds since it began.
    pub uptime_s: u64,
    /// The process that serves; another one after an upgrade.
    #[serde(default)]
    pub process_id: u32,
    /// Whether it takes no new work and is about to end.
    pub draining: bool,
    /// The configuration in force.
    pub config: ConfigStatus,
    /// Routes in the order of the configuration.
    pub routes: Vec<RouteStatus>,
    /// Backends in the order of the configuration.
    pub backends: Vec<BackendStatus>,
    /// Rollouts of the configuration, whether they run or not.
    pub rollouts: Vec<RolloutStatus>,
}

/// The configuration in force, and what became of the last attempt to replace it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigStatus {
    /// Its file.
    pub path: String,
    /// Hash of the file's bytes.
    pub hash: String,
    /// When it was taken, in RFC 3339.
    pub loaded_at: String,
    /// The last attempt.
    pub last_reload: LastReload,
}

/// What became of an attempt to take a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// In one word.
    pub outcome: ReloadOutcome,
    /// Why it was rejected.
    pub errors: Vec<String>,
    /// When, in RFC 3339.
    pub at: String,
}

/// Whether a configuration was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// It is in force.
    Applied,
    /// It says what the one in force says.
    Unchanged,
    /// It is faulty; the old one stays in force.
    Rejected,
}

impl ReloadOutcome {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
        }
    }
}

/// A route and its shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: RouteName,
    /// Shares in force, in percent.
    pub split: BTreeMap<BackendName, Weight>,
    /// Who decided them.
    pub source: SplitSource,
    /// Who set them by hand, when and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetBy>,
}

/// Who decided a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitSource {
    /// The file.
    Config,
    /// An operator, by hand.
    Admin,
    /// A rollout that runs, or has ended and keeps what it came to.
    Rollout,
}

/// A split set by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetBy {
    /// Who.
    pub actor: String,
    /// When, in RFC 3339.
    pub at: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the file says instead, in percent.
    pub file_split: BTreeMap<BackendName, Weight>,
}

/// A backend and how much it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its name.
    pub name: BackendName,
    /// Its addresses.
    pub endpoints: Vec<EndpointStatus>,
    /// Attempts over the last seconds.
    pub rate: Rate,
}

/// One address of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// `host:port`.
    pub address: String,
    /// Whether it takes requests.
    pub state: EndpointState,
    /// Why it takes none, or not its full share yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Requests under way.
    pub in_flight: u32,
}

/// Whether an endpoint takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It does.
    Ready,
    /// An operator took it out.
    Drained,
    /// Its checks say that it is not well.
    Unhealthy,
    /// It is out for a while because of what became of its own requests.
    Ejected,
}

impl EndpointState {
    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drained => "drained",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }
}

/// Attempts against a backend per second, over the last seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rate {
    /// All of them.
    pub requests_per_s: f64,
    /// Those that the backend failed.
    pub failures_per_s: f64,
}

/// What the controller publishes beside the table.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) config: ConfigStatus,
    /// Unix milliseconds of the last successful attempt to take a configuration.
    pub(super) taken_at_ms: u64,
    pub(super) hand: HandSplits,
    /// The first listener, as it is bound.
    pub(super) listener: Option<SocketAddr>,
}

/// The routes of `table`.
pub(super) fn routes(table: &Table, hand: &HandSplits, board: &Board) -> Vec<RouteStatus> {
    let owned = |route: &Route| {
        board.iter().any(|shown| shown.owns_route && shown.status.route == route.name)
    };
    let status = |route: &Route| {
        let mut status = route_status(route, hand);
        if owned(route) {
            (status.source, status.set) = (SplitSource::Rollout, None);
        }
        status
    };
    table.routes().iter().map(|route| status(route)).collect()
}

/// One route.
pub(super) fn route_status(route: &Route, hand: &HandSplits) -> RouteStatus {
    let set = hand.get(&route.name).map(|hand| SetBy {
        actor: hand.actor.clone(),
        at: rfc3339(hand.at),
        reason: hand.reason.clone(),
        file_split: hand.file_split.shares().iter().cloned().collect(),
    });
    let source = if set.is_some() { SplitSource::Admin } else { SplitSource::Config };
    let split = route.split.shares().iter().cloned().collect();
    RouteStatus { name: route.name.clone(), split, source, set }
}

/// The backends of `table`.
pub(super) fn backends(table: &Table, rates: &Rates, now: Moment) -> Vec<BackendStatus> {
    let status = |backend: &Backend| BackendStatus {
        name: backend.name.clone(),
        endpoints: backend.endpoints.iter().map(|e| endpoint_status(backend, e, now)).collect(),
        rate: rates.get(&backend.name).copied().unwrap_or_default(),
    };
    table.backends().iter().map(|backend| status(backend)).collect()
}

/// One endpoint of `backend`. What an operator decided is told before what its checks say, and that before what its requests say.
pub(in crate::control) fn endpoint_status(
    backend: &Backend,
    endpoint: &Endpoint,
    now: Moment,
) -> EndpointStatus {
    let availability = endpoint.availability();
    let seconds = |span: Duration| span.as_secs_f64().ceil();
    let (state, detail) = if availability.is_drained() {
        (EndpointState::Drained, None)
    } else if availability.is_unhealthy() {
        (EndpointState::Unhealthy, availability.health().map(|health| health.why))
    } else if availability.is_ejected(now) {
        let left = seconds(availability.ejected_for(now));
        (EndpointState::Ejected, Some(format!("for another {left} s")))
    } else if !availability.slow_for(now).is_zero() && backend.usable(now) > 1 {
        // One that is alone gets all, however it starts.
        let left = seconds(availability.slow_for(now));
        (EndpointState::Ready, Some(format!("starts slowly, full share in {left} s")))
    } else {
        (EndpointState::Ready, None)
    };
    let address = endpoint.address().as_str().to_owned();
    EndpointStatus { address, state, detail, in_flight: endpoint.in_flight().total() }
}

/// What each backend did per second.
pub(super) type Rates = HashMap<BackendName, Rate>;

/// Readings between which a rate is taken: the newest, and the oldest of these.
const READINGS: usize = 5;

/// Turns counters into rates: the difference of two readings over the time between them.
#[derive(Debug, Default)]
pub(super) struct RateMeter {
    readings: VecDeque<(Moment, Counts)>,
}

/// Attempts, and failures among them.
type Counts = HashMap<BackendName, (u64, u64)>;

impl RateMeter {
    /// The rates of the last few readings, this one included.
    pub(super) fn read(&mut self, now: Moment, snapshot: &Snapshot) -> Rates {
        let mut counts = Counts::new();
        for series in &snapshot.series {
            let count = counts.entry(series.backend.clone()).or_default();
            count.0 += series.totals.attempts();
            count.1 += series.totals.failure;
        }
        let rates = self.readings.front().map(|(then, before)| {
            let seconds = now.since(*then).as_secs_f64().max(f64::EPSILON);
            let per_second = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
            let rate = |(name, count): (&BackendName, &(u64, u64))| {
                let old = before.get(name).copied().unwrap_or_default();
                let requests_per_s = per_second(count.0, old.0);
                let failures_per_s = per_second(count.1, old.1);
                (name.clone(), Rate { requests_per_s, failures_per_s })
            };
            counts.iter().map(rate).collect()
        });
        self.readings.push_back((now, counts));
        if self.readings.len() > READINGS {
            self.readings.pop_front();
        }
        rates.unwrap_or_default()
    }
}

/// Unix milliseconds as people and programs both read them.
pub(super) fn rfc3339(millis: u64) -> String {
    let stamp = i64::try_from(millis).map(jiff::Timestamp::from_millisecond);
    stamp.ok().and_then(Result::ok).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Class, Outcome},
        telemetry::Recorder,
    };

    #[test]
    fn a_rate_is_of_the_last_few_readings() {
        let recorder = Recorder::new(1);
        let (route, blue) = (RouteName::new("api").unwrap(), BackendName::new("blue").unwrap());
        let series = recorder.series(&route, &blue).unwrap();
        let attempt = |class| {
            let total = Duration::from_millis(1);
            let outcome = Outcome { class, blame: None, status: None, first_byte: None, total };
            recorder.shard(0).record(series, &outcome);
        };
        let start = Moment::from_nanos(1);
        let mut meter = RateMeter::default();
        attempt(Class::Success);
        assert!(meter.read(start, &recorder.snapshot()).is_empty());
        (0..6).for_each(|_| attempt(Class::Success));
        attempt(Class::Failure);
        attempt(Class::Failure);
        let rates = meter.read(start + Duration::from_secs(2), &recorder.snapshot());
        assert_eq!(rates[&blue], Rate { requests_per_s: 4.0, failures_per_s: 1.0 });
        let mut later = start + Duration::from_secs(2);
        for _ in 0..READINGS {
            later = later + Duration::from_secs(1);
            meter.read(later, &recorder.snapshot());
        }
        let idle = meter.read(later + Duration::from_secs(1), &recorder.snapshot());
        assert_eq!(idle[&blue], Rate::default(), "what is long past does not count");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(1_700_000_000_000), "2023-11-14T22:13:20Z");
    }
}
