//! The one owner of weights and configuration: takes commands one by one and publishes a table for each change.
//!
//! Invariants: a command is answered after its table is in force; one that fails changes nothing; no command waits for a
//! disk or a network.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, watch},
    time::MissedTickBehavior,
};

use super::{
    Audit, CommandError, ControlHandle, DataPlane, HandSplit, HandSplits, LateRead, Outside,
    SetEndpoint, SetSplit, Store, StoreError,
    candidate::{self, Candidate, Secrets},
    endpoints::EndpointNews,
    mailbox::{Command, EndpointVerb, MAILBOX},
    publisher::{Materials, Publisher},
    pulse::Pulse,
    reload::supersede,
    rollouts::{Board, Drive, ProcessMeter, Reply, TICK},
    shares,
    state_news::StateNews,
    status::{
        self, ConfigStatus, EndpointStatus, LastReload, Rates, ReloadOutcome, RouteStatus, Standing,
    },
};
use crate::{
    config::{self, Config, Loaded},
    domain::{RolloutName, RouteName, Split},
    lifecycle::{DrainWatch, clock},
    routing::{BuildError, TableView},
    telemetry::{Event, EventKind, EventSink, Recorder, SELF_ACTOR},
    tls::Material,
};

/// Time between two looks at the counters.
const BEAT: Duration = Duration::from_secs(1);
/// What tasks have to say may wait here; each task waits for its own place.
const REPLIES: usize = 64;

/// What the control plane begins with.
#[derive(Debug)]
pub struct Setup {
    /// The configuration to serve.
    pub loaded: Loaded,
    /// Data-plane threads.
    pub workers: usize,
    /// The counters.
    pub recorder: Arc<Recorder>,
    /// Where events are reported.
    pub events: EventSink,
    /// The other end of `events`.
    pub inbox: mpsc::Receiver<Event>,
    /// Sees the process end.
    pub drain: DrainWatch,
    /// Metrics and notifications.
    pub outside: Outside,
}

/// Why the control plane cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A file that the configuration names cannot be used.
    #[error("{}", .0.join("\n"))]
    Files(Vec<String>),
    /// There is no state to go on from.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The configuration makes no table.
    #[error(transparent)]
    Table(#[from] BuildError),
}

/// The control plane's one task.
#[derive(Debug)]
pub struct Controller {
    pub(super) config: watch::Sender<Arc<Config>>,
    pub(super) secrets: Secrets,
    pub(super) hand: HandSplits,
    pub(super) publisher: Publisher,
    pub(super) standing: watch::Sender<Arc<Standing>>,
    pub(super) drives: BTreeMap<RolloutName, Drive>,
    /// Number of the newest run of every rollout that ever ran.
    pub(super) numbers: BTreeMap<RolloutName, u64>,
    pub(super) board: watch::Sender<Board>,
    pub(super) process: ProcessMeter,
    /// Whether the state file took what it was last given.
    pub(super) disk_writes: bool,
    pub(super) replies: mpsc::Sender<Reply>,
    /// Held by each task that calls hooks.
    pub(super) hooks: Arc<()>,
    pub(super) heard: mpsc::Receiver<Reply>,
    pub(super) store: Store,
    late_read: LateRead,
    pub(super) audit: Audit,
    pub(super) recorder: Arc<Recorder>,
    rates: watch::Sender<Arc<Rates>>,
    endpoint_news: EndpointNews,
    pub(super) state_news: StateNews,
    pub(super) mailbox: mpsc::Receiver<Command>,
    /// The way to itself, for what looks at the process as an operator would.
    itself: (mpsc::WeakSender<Command>, Arc<Path>),
    pub(super) inbox: mpsc::Receiver<Event>,
    pub(super) drain: DrainWatch,
    pub(super) outside: Outside,
}

impl Controller {
    /// Opens the state, settles who decides each split, and publishes the first table. Blocks on the disk.
    ///
    /// # Errors
    /// [`ControlError`]; nothing serves then.
    pub fn new(setup: Setup) -> Result<(Self, ControlHandle), ControlError> {
        let Setup { loaded, workers, recorder, events, inbox, drain, outside } = setup;
        let candidate = Candidate::complete(loaded, None).map_err(ControlError::Files)?;
        let file = candidate.loaded.config.state.file.clone();
        let (store, kept, late_read) = Store::open(file, events)?;
        let audit = Audit::new(store.clone(), kept.last_event, recorder.clone());
        let standing = first_standing(&candidate.loaded);
        let Candidate { loaded: Loaded { config, path, .. }, secrets } = candidate;
        warn_of(&config, &secrets.tls);
        let mut hand = kept.splits.clone();
        let given_way = supersede(&mut hand, &config);
        let cookie_secret = kept.cookie_secret.clone();
        let materials = Materials { cookie_secret, recorder: recorder.clone(), workers };
        let publisher = Publisher::new(materials, &config, &secrets, &hand)?;
        let config = watch::Sender::new(Arc::new(config));
        let standing = watch::Sender::new(Arc::new(standing));
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let path: Arc<Path> = path.into();
        let rates = watch::Sender::default();
        let (replies, heard) = mpsc::channel(REPLIES);
        let mut controller = Self {
            config,
            secrets,
            hand,
            publisher,
            standing,
            drives: BTreeMap::new(),
            numbers: BTreeMap::new(),
            board: watch::Sender::default(),
            process: ProcessMeter::default(),
            disk_writes: true,
            replies,
            hooks: Arc::default(),
            heard,
            store,
            late_read,
            audit,
            recorder,
            rates,
            endpoint_news: EndpointNews::default(),
            state_news: StateNews::default(),
            mailbox,
            itself: (sender.downgrade(), path.clone()),
            inbox,
            drain,
            outside,
        };
        controller.keep_reported();
        controller.tell_superseded(given_way, SELF_ACTOR);
        controller.show_standing(|_| {});
        controller.open_rollouts(&kept)?;
        let handle = controller.handle(sender, path);
        Ok((controller, handle))
    }

    /// The table in force, for the data plane.
    pub fn table(&self) -> TableView {
        self.publisher.view()
    }

    /// Works until the drain is over, or nobody can send a command any more.
    pub async fn run(mut self, mut data_plane: Box<dyn DataPlane>) {
        self.outside.configure(&self.config.borrow(), &self.publisher.current());
        self.show_standing(|standing| standing.listener = data_plane.address());
        let [mut beats, mut ticks] = [BEAT, TICK].map(|every| {
            let mut interval = tokio::time::interval(every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let mut pulse = Pulse::new(clock::now());
        let mut drain = self.drain.clone();
        loop {
            let (alarm, busy) = (self.alarm(), self.has_busy_rollouts());
            tokio::select! {
                command = self.mailbox.recv() => match command {
                    Some(Command::Lend(loan)) => {
                        if let Some(heir) = self.lend(loan).await {
                            return self.tell_heir(heir).await;
                        }
                    }
                    Some(command) => self.obey(command, data_plane.as_mut()),
                    None => break,
                },
                Some(kept) = self.late_read.recv() => self.adopt(&kept),
                Some(event) = self.inbox.recv() => self.hear(event),
                Some(reply) = self.heard.recv() => self.take_reply(reply),
                () = alarm => self.tick_rollouts(),
                _ = ticks.tick(), if busy => self.tick_rollouts(),
                _ = beats.tick() => {
                    let every = self.config.borrow().log.summary_every;
                    let rates = pulse.beat(clock::now(), self.recorder.snapshot(), every);
                    self.rates.send_replace(Arc::new(rates));
                    self.endpoint_news.tell(&self.publisher.current(), clock::now(), &self.audit);
                    self.tell_state_news();
                }
                () = drain.over() => break,
            }
        }
        self.finish().await;
    }

    /// Keeps the events that have been reported so far.
    pub(super) fn keep_reported(&mut self) {
        while let Ok(event) = self.inbox.try_recv() {
            self.hear(event);
        }
    }

    /// What operators have; `None` once nobody can ask any more.
    pub(super) fn own_handle(&self) -> Option<ControlHandle> {
        let (sender, path) = &self.itself;
        Some(self.handle(sender.upgrade()?, path.clone()))
    }

    fn handle(&self, mailbox: mpsc::Sender<Command>, path: Arc<Path>) -> ControlHandle {
        ControlHandle {
            mailbox,
            table: self.publisher.view(),
            config: self.config.subscribe(),
            standing: self.standing.subscribe(),
            rates: self.rates.subscribe(),
            board: self.board.subscribe(),
            audit: self.audit.clone(),
            recorder: self.recorder.clone(),
            drain: self.drain.clone(),
            outside: self.outside.clone(),
            path,
            reloading: Arc::new(Mutex::new(())),
        }
    }

    // Whoever asked may have gone meanwhile; the command holds all the same.
    fn obey(&mut self, command: Command, data_plane: &mut dyn DataPlane) {
        match command {
            Command::SetSplit(wish, answer) => drop(answer.send(self.set_split(wish))),
            Command::SetEndpoint(wish, answer) => drop(answer.send(self.set_endpoint(&wish))),
            Command::Operate(wish, answer) => self.operate(wish, answer),
            Command::SetThresholds(wish, answer) => {
                drop(answer.send(self.set_thresholds(&wish)));
            }
            // The loop sees to it, since it waits.
            Command::Lend(_) => {}
            Command::Take { read, actor, answer } => {
                let taken = self.take(read, &actor, data_plane);
                self.show_standing(|standing| standing.listener = data_plane.address());
                drop(answer.send(Ok(taken)));
            }
        }
    }

    fn set_split(&mut self, wish: SetSplit) -> Result<RouteStatus, CommandError> {
        let table = self.publisher.current();
        let place = table.routes().iter().position(|route| route.name.as_str() == wish.route);
        let Some(place) = place else {
            let names = table.routes().iter().map(|route| route.name.as_str());
            return Err(not_found("route", &wish.route, names));
        };
        let route = &table.routes()[place];
        if let Some(drive) = self.running_owner(&wish.route) {
            return Err(drive.refuses_split());
        }
        let split = shares::parse(&wish.shares, &route.split).map_err(CommandError::Invalid)?;
        self.release_route(&route.name, &wish.actor);
        let next = self.publisher.current().with_split(place, split.clone());
        self.publisher.publish(next);
        let file_split = self.file_split(&route.name).unwrap_or_else(|| route.split.clone());
        let event = Event::new(
            EventKind::SplitChanged,
            clock::wall_millis(),
            route.name.as_str(),
            with_reason(
                &format!("split {} → {}", shares::text(&route.split), shares::text(&split)),
                wish.reason.as_deref(),
            ),
        );
        let json = |split| serde_json::to_value(split).ok();
        let event = event.by(wish.actor.as_str()).with_change(json(&route.split), json(&split));
        let at = clock::wall_millis();
        let SetSplit { actor, reason, .. } = wish;
        self.hand.insert(route.name.clone(), HandSplit { split, file_split, actor, reason, at });
        self.audit.keep_with(event, Some(self.hand.clone()));
        self.show_standing(|_| {});
        self.show_rollouts();
        let table = self.publisher.current();
        Ok(status::route_status(&table.routes()[place], &self.hand))
    }

    pub(super) fn file_split(&self, route: &RouteName) -> Option<Split> {
        self.config
            .borrow()
            .routes
            .iter()
            .find(|known| known.name == *route)
            .map(|known| known.split.clone())
    }

    fn set_endpoint(&self, wish: &SetEndpoint) -> Result<EndpointStatus, CommandError> {
        let table = self.publisher.current();
        let backend = table.backends().iter().find(|known| known.name.as_str() == wish.backend);
        let Some(backend) = backend else {
            let names = table.backends().iter().map(|known| known.name.as_str());
            return Err(not_found("backend", &wish.backend, names));
        };
        let mut endpoints = backend.endpoints.iter();
        let Some(endpoint) = endpoints.find(|known| known.address().as_str() == wish.address)
        else {
            let names = backend.endpoints.iter().map(|known| known.address().as_str());
            return Err(not_found("endpoint", &wish.address, names));
        };
        let (kind, text) = match wish.verb {
            EndpointVerb::Drain => (EventKind::EndpointDrained, "no new requests"),
            EndpointVerb::Ready => (EventKind::EndpointReady, "takes requests again"),
        };
        let now = clock::now();
        let before = status::endpoint_status(backend, endpoint, now);
        if wish.verb == EndpointVerb::Ready && !endpoint.is_usable(now) {
            endpoint.availability().lift();
            endpoint.availability().start_slowly(now, backend.ejection.slow_start);
        }
        endpoint.set_drained(wish.verb == EndpointVerb::Drain);
        let after = status::endpoint_status(backend, endpoint, now);
        let subject = format!("{}/{}", wish.backend, wish.address);
        let message = with_reason(text, wish.reason.as_deref());
        let event = Event::new(kind, clock::wall_millis(), subject, message);
        let json = |status: &EndpointStatus| serde_json::to_value(status.state).ok();
        self.audit.keep(event.by(wish.actor.as_str()).with_change(json(&before), json(&after)));
        Ok(after)
    }

    /// Publishes what status shows beside the table.
    pub(super) fn show_standing(&self, change: impl FnOnce(&mut Standing)) {
        let mut standing = Standing::clone(&self.standing.borrow());
        standing.hand.clone_from(&self.hand);
        change(&mut standing);
        self.standing.send_replace(Arc::new(standing));
    }
}

/// Says in the log what is odd about a configuration and its certificates.
pub(super) fn warn_of(config: &Config, tls: &Material) {
    config::warnings(config).iter().for_each(|warning| tracing::warn!("{warning}"));
    candidate::warnings(tls).iter().for_each(|warning| tracing::warn!("{warning}"));
}

fn first_standing(loaded: &Loaded) -> Standing {
    let now = clock::wall_millis();
    let at = status::rfc3339(now);
    Standing {
        config: ConfigStatus {
            path: loaded.path.display().to_string(),
            hash: loaded.hash.clone(),
            loaded_at: at.clone(),
            last_reload: LastReload { outcome: ReloadOutcome::Applied, errors: Vec::new(), at },
        },
        listener: None,
        taken_at_ms: now,
        hand: HandSplits::new(),
    }
}

fn with_reason(text: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| text.to_owned(), |reason| format!("{text}: {reason}"))
}

pub(super) fn not_found<'n>(
    kind: &str,
    given: &str,
    names: impl Iterator<Item = &'n str>,
) -> CommandError {
    // A configuration may have thousands; the first few show what a name looks like.
    const SHOWN: usize = 10;
    let known: Vec<_> = names.take(SHOWN).collect();
    let given: String = given.chars().take(100).collect();
    CommandError::NotFound {
        what: format!("there is no {kind} {given:?}"),
        hint: format!("there is {}", known.join(", ")),
    }
}
