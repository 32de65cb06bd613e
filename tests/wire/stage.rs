//! The data plane in this process, with a rollout whose weights and guard a test holds in its own hands.

use std::{net::SocketAddr, sync::Arc};

use tempfile::TempDir;
use tidegate::{
    config::{
        self,
        model::{Fallback, FallbackCause},
    },
    decision::stats::Totals,
    domain::{BackendName, RouteName, SeriesId, Split, Weight},
    lifecycle::Tasks,
    proxy::{Workers, WorkersParts},
    routing::{self, Guard, GuardLimits, Ingredients, RolloutTraffic, Side, Table, TablePublisher},
    telemetry::{EventSink, Recorder, Snapshot},
};

use crate::support::{client::Client, eventually, setup::Setup};

/// Data-plane threads: two, so that what one of them does must reach the other.
const WORKERS: usize = 2;

/// Route `app`, baseline `blue`, canary `green`.
pub(crate) struct Stage {
    tables: TablePublisher,
    plain: Table,
    recorder: Arc<Recorder>,
    pub(crate) guard: Arc<Guard>,
    address: SocketAddr,
    /// The data plane runs as long as this is kept.
    _workers: Workers,
    _folder: TempDir,
}

impl Stage {
    /// All traffic to the canary.
    pub(crate) fn start(setup: &Setup, limits: GuardLimits, fallback: Option<Fallback>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let text = setup.text(folder.path());
        let mut config = config::parse(&text, "stage.toml", &|_| None).expect("a valid setup");
        config.routes[0].fallback = fallback;
        let recorder = Arc::new(Recorder::new(WORKERS));
        let mut series =
            |route: &_, backend: &_| recorder.series(route, backend).map_err(|e| e.to_string());
        let mut mirrors =
            |route: &_, backend: &_| recorder.mirror(route, backend).map_err(|e| e.to_string());
        let ingredients = Ingredients {
            splits: &std::collections::HashMap::new(),
            secret: &mut |_| Ok(vec![7; 32]),
            series: &mut series,
            fallbacks: &mut |_, _, _| Err("the stage brings its own rollout".to_owned()),
            pages: &std::collections::HashMap::new(),
            mirrors: &mut mirrors,
            previous: None,
            tls: &tidegate::tls::Material::default(),
            workers: WORKERS,
            now: tidegate::lifecycle::clock::now(),
        };
        let plain = routing::build(&config, ingredients).expect("a table");
        let tables = TablePublisher::new(plain.clone());
        let (events, _) = EventSink::new(recorder.clone());
        let mut workers = Workers::start(&WorkersParts {
            count: WORKERS,
            table: tables.view(),
            recorder: recorder.clone(),
            events,
            tasks: Tasks::new(|failure| panic!("{failure}")),
            access: None,
            spans: None,
        })
        .expect("threads");
        workers.listen(&config.listeners).expect("a free port");
        let guard = Arc::new(Guard::new(WORKERS, limits));
        let address = workers.addresses().next().expect("a listener");
        let mut stage =
            Self { tables, plain, recorder, guard, address, _workers: workers, _folder: folder };
        stage.weigh(100);
        stage
    }

    /// Gives the canary `percent` from the next request on; a new epoch begins.
    pub(crate) fn weigh(&mut self, percent: u16) {
        let weight = |percent: u16| Weight::from_basis_points(percent * 100).expect("a weight");
        let split = Split::new(vec![
            (backend("blue"), weight(100 - percent)),
            (backend("green"), weight(percent)),
        ]);
        let traffic = RolloutTraffic {
            split: split.expect("a split"),
            salt: 1,
            baseline: self.side("blue"),
            canary: self.side("green"),
            fallbacks: self.fallbacks(),
            guard: self.guard.clone(),
            epoch: self.guard.begin_epoch(),
        };
        self.tables.publish(self.plain.with_rollout(0, &traffic).expect("known backends"));
    }

    /// Takes all endpoints of a backend out.
    pub(crate) fn drain(&self, name: &str) {
        let found = self.plain.backends().iter().find(|known| known.name.as_str() == name);
        found.expect("a backend").endpoints.iter().for_each(|endpoint| endpoint.set_drained(true));
    }

    fn side(&self, name: &str) -> Side {
        Side { backend: backend(name), series: self.series(name), judged: self.judge_series(name) }
    }

    fn series(&self, name: &str) -> SeriesId {
        self.recorder.series(&route(), &backend(name)).expect("room")
    }

    fn judge_series(&self, name: &str) -> SeriesId {
        self.recorder.judged(&route(), &backend(name)).expect("room")
    }

    fn fallbacks(&self) -> SeriesId {
        self.recorder.fallback(&route(), &backend("green"), &backend("blue")).expect("room")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// What the metrics say of a backend.
    pub(crate) fn metrics(&self, name: &str) -> Totals {
        self.recorder.totals(self.series(name))
    }

    /// What the judge sees of a backend.
    pub(crate) fn judged(&self, name: &str) -> Totals {
        self.recorder.totals(self.judge_series(name))
    }

    /// Requests that went on from the canary to the baseline.
    pub(crate) fn fallen_back(&self) -> u64 {
        self.recorder.totals(self.fallbacks()).fallbacks
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.recorder.snapshot()
    }

    /// Waits until `count` attempts against a backend are over: an answer may arrive before it is counted.
    pub(crate) fn await_attempts(&self, name: &str, count: u64) -> Totals {
        eventually("the attempts are counted", || {
            let totals = self.metrics(name);
            (totals.attempts() >= count).then_some(totals)
        })
    }
}

fn route() -> RouteName {
    RouteName::new("app").expect("a name")
}

fn backend(name: &str) -> BackendName {
    BackendName::new(name).expect("a name")
}

/// What falls back on every cause, with bodies up to 1 KiB.
pub(crate) fn on_everything() -> Fallback {
    Fallback {
        on: vec![
            FallbackCause::Connect,
            FallbackCause::Timeout,
            FallbackCause::Reset,
            FallbackCause::ServerError,
        ],
        max_body: 1024,
        methods: vec![http::Method::GET, http::Method::PUT],
        budget: Weight::FULL,
    }
}
