//! The composition root: [`App::build`] makes and binds everything and may fail; [`App::run`] starts it, waits for the end,
//! and cannot.

mod life;
mod shared_workers;
mod successor_log;
mod takeover;
mod upgrade;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use tokio::sync::watch;

use self::{
    life::{begin, until_stopped},
    shared_workers::SharedWorkers,
    takeover::{Succession, Takeover},
    upgrade::Estate,
};
use crate::{
    admin::{self, AdminError},
    config::{self, Config, ConfigErrors, Loaded},
    control::{
        ControlError, ControlHandle, Controller, Outside, Setup, TraceExporter, check_files,
        watch_config,
    },
    lifecycle::{Drain, Signal, Signals, TaskFailure, Tasks, clock, descriptors},
    proxy::{self, Workers, WorkersParts},
    telemetry::{
        self, AccessLog, Event, EventKind, EventSink, Recorder,
        logging::{self, LogControl},
    },
};

/// Why the proxy does not serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is faulty.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The control plane cannot begin.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The data plane cannot listen.
    #[error(transparent)]
    Listen(#[from] proxy::ListenError),
    /// The operator's API cannot listen.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The log cannot be written.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// The same, where the service manager's sockets fit nothing.
    #[error(
        "{source}; this process was passed a socket for {addresses}, which no listener's bind and no admin.listen names: \
         let ListenStream= and the configuration have the same address"
    )]
    Misfit {
        /// What came of it.
        source: Box<Error>,
        /// Where they listen.
        addresses: String,
    },
    /// Sockets that it was started with cannot be taken.
    #[error("what this process was started with cannot be used: {0}")]
    Passed(io::Error),
    /// The system gives no threads, sockets or signals.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

impl Error {
    /// The exit code: 78 for a bad configuration, 71 for what the system does not give.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Misfit { source, .. } => source.exit_code(),
            Self::Config(_)
            | Self::Control(ControlError::Files(_) | ControlError::Table(_))
            | Self::Admin(AdminError::Token { .. }) => 78,
            Self::Control(ControlError::Store(_))
            | Self::Listen(_)
            | Self::Admin(
                AdminError::Socket { .. } | AdminError::Listen { .. } | AdminError::Metrics(_),
            )
            | Self::Telemetry(_)
            | Self::Passed(_)
            | Self::System(_) => 71,
        }
    }
}

/// The configuration at `path`, if a process could begin with it, and what is odd about the files that it names.
///
/// # Errors
/// [`Error`] as [`run`] would have it.
pub fn check(path: &Path) -> Result<(Loaded, Vec<String>), Error> {
    check_all(config::load(path)?)
}

fn check_all(loaded: Loaded) -> Result<(Loaded, Vec<String>), Error> {
    let (loaded, warnings) = check_files(loaded)?;
    if let Some(file) = &loaded.config.admin.token_file {
        admin::check_token(file)?;
    }
    Ok((loaded, warnings))
}

/// Serves the configuration at `path` until TERM or INT, and drains.
///
/// # Errors
/// [`Error`] when it cannot begin.
pub fn run(path: &Path) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let takeover = Takeover::begin().map_err(Error::Passed)?;
        let app = App::build_from(path, takeover)?;
        let listening: Vec<_> = app.addresses().iter().map(SocketAddr::to_string).collect();
        let (listening, admin) = (listening.join(", "), app.socket().display());
        // The proxy serves whether or not somebody reads that it does.
        let _ = writeln!(io::stdout(), "tidegate ready: listening on {listening}, admin {admin}");
        app.run(async || signals.next().await).await;
        Ok(())
    });
    // A file that a reload still reads, on a disk that hangs, does not hold up the end.
    runtime.shutdown_background();
    served
}

/// A whole Tidegate: every socket bound, its workers already answering, the operator's side not yet.
#[derive(Debug)]
pub struct App {
    controller: Controller,
    handle: ControlHandle,
    workers: SharedWorkers,
    addresses: Vec<SocketAddr>,
    admin: admin::Server,
    socket: PathBuf,
    drain: Drain,
    log: LogControl,
    access: AccessLog,
    traces: TraceExporter,
    events: EventSink,
    tasks: Tasks,
    heritage: admin::Heritage,
    /// Who served before.
    predecessor: Option<Succession>,
}

/// Gets as many open files as there are to be had, and says so when they are too few for the clients that may come.
fn allow_connections(config: &Config) {
    let most = config.listeners.iter().map(|listener| u64::from(listener.max_connections));
    let clients: u64 = most.sum();
    if let Some(limit) = descriptors::raise_limit()
        && limit < clients
    {
        tracing::warn!(
            limit,
            clients,
            "the listeners take more clients than this process may open files; \
             raise its limit (LimitNOFILE in systemd) or lower max_connections"
        );
    }
}

/// What the operator's API is made with.
fn admin_settings(config: &Config) -> admin::Settings {
    let admin = config.admin.clone();
    admin::Settings {
        socket: admin.socket,
        socket_mode: admin.socket_mode,
        listen: admin.listen,
        token_file: admin.token_file,
        tls: admin.tls.is_some(),
        hosts: admin.hosts,
    }
}

impl App {
    /// Makes and binds everything that the configuration at `path` asks for; needs a runtime.
    ///
    /// # Errors
    /// [`Error`] when it cannot serve.
    pub fn build(path: &Path) -> Result<Self, Error> {
        Self::build_from(path, Takeover::default())
    }

    fn build_from(path: &Path, takeover: Takeover) -> Result<Self, Error> {
        let loaded = config::load(path)?;
        let count = loaded.config.process.workers.unwrap_or_else(cores);
        let recorder = Arc::new(Recorder::new(count));
        let log = logging::install(&loaded.config.log, recorder.clone())?;
        Self::assemble(loaded, count, recorder, log.clone(), takeover).inspect_err(|_| log.drain())
    }

    fn assemble(
        loaded: Loaded,
        count: usize,
        recorder: Arc<Recorder>,
        log: LogControl,
        mut takeover: Takeover,
    ) -> Result<Self, Error> {
        let config = loaded.config.clone();
        if takeover.predecessor().is_some() {
            // What can be found wrong is found before anything is let go of for it.
            check_all(loaded.clone())?;
        }
        let drained = takeover.await_state().map_err(Error::Passed)?;
        allow_connections(&config);
        let (events, inbox) = EventSink::new(recorder.clone());
        let tasks = tasks(events.clone());
        let (drain, watch) = Drain::new();
        let outside = Outside::new(tasks.clone(), events.clone(), recorder.clone());
        let outbound = outside.outbound.clone();
        let setup = Setup {
            loaded,
            workers: count,
            recorder: recorder.clone(),
            events: events.clone(),
            inbox,
            drain: watch,
            outside,
        };
        let (controller, handle) = Controller::new(setup)?;
        controller.keep_drained(&drained);
        let access = AccessLog::start(&config.log.access.path, recorder.clone())?;
        let (traces, spans) =
            TraceExporter::start(handle.config(), outbound, recorder.clone(), &tasks);
        let parts = WorkersParts {
            count,
            table: controller.table(),
            recorder,
            events: events.clone(),
            tasks: tasks.clone(),
            access: Some(access.clone()),
            spans: Some(spans),
        };
        let workers = SharedWorkers::new(Workers::start(&parts)?);
        let settings = admin_settings(&config);
        let (socket, listen) = (settings.socket.clone(), settings.listen);
        let misfits = takeover.misfits(&config);
        let passed = &mut takeover.sockets;
        let admin = admin::Server::bind(&settings, handle.clone(), workers.counter(), passed);
        let admin = misfits.told_by(admin)?;
        let heritage = admin.heritage(&socket, listen)?;
        // The last thing that can fail: from here on clients are accepted.
        let addresses = misfits.told_by(workers.accept(&config.listeners, passed))?;
        let predecessor = takeover.finish();
        Ok(Self {
            controller,
            handle,
            workers,
            addresses,
            admin,
            socket,
            drain,
            log,
            access,
            traces,
            events,
            tasks,
            heritage,
            predecessor,
        })
    }

    /// Where clients can connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where operators can connect.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Serves until `next_signal` says to stop, and drains. A future that it makes may be dropped before its end.
    pub async fn run(self, next_signal: impl AsyncFnMut() -> Signal) {
        let Self { controller, handle, workers, admin, drain, log, access, events, tasks, .. } =
            self;
        let (heritage, predecessor, traces) = (self.heritage, self.predecessor, self.traces);
        let work = tasks.spawn("controller", controller.run(Box::new(workers.clone())));
        let api = tasks.clone();
        tasks.spawn("admin", async move {
            if let Err(error) = admin.serve(api).await {
                tracing::error!(%error, "the admin API has ended");
            }
        });
        let watched = handle.clone();
        tasks.keep("config watcher", move || watch_config(watched.clone()));
        tasks.spawn("logs", follow_logs(handle.config(), log.clone(), access.clone()));
        begin(predecessor, &events, &tasks);
        let (own_log, own_access) = (log.clone(), access.clone());
        let estate =
            Estate { handle, workers, admin: heritage, access: own_access, log: own_log, tasks };
        until_stopped(next_signal, &estate, &drain, &events).await;
        drain.hurry(clock::now());
        let _ = work.await;
        traces.finish().await;
        access.drain();
        log.drain();
    }
}

/// Has the logs follow the configuration.
async fn follow_logs(mut config: watch::Receiver<Arc<Config>>, log: LogControl, access: AccessLog) {
    while config.changed().await.is_ok() {
        let wanted = config.borrow_and_update().log.clone();
        access.follow(&wanted.access.path);
        if let Err(error) = log.apply(&wanted) {
            tracing::warn!(%error, "the log's level stays as it was");
        }
    }
}

fn tasks(events: EventSink) -> Tasks {
    Tasks::new(move |failure: TaskFailure| {
        let kind = match failure.name {
            proxy::CONNECTION_TASK => EventKind::ConnectionPanicked,
            _ => EventKind::TaskFailed,
        };
        // In the log too: the task that keeps events may be the one that failed.
        tracing::error!(task = failure.name, "{failure}");
        let now = clock::wall_millis();
        events.report(Event::new(kind, now, failure.name, failure.to_string()));
    })
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_alone_and_is_an_event() {
        let (events, mut inbox) = EventSink::new(Arc::new(Recorder::new(1)));
        let tasks = tasks(events);
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let (release, released) = tokio::sync::oneshot::channel();
                let other = tasks.spawn_local(proxy::CONNECTION_TASK, async {
                    released.await.unwrap();
                });
                let broken = tasks.spawn_local(proxy::CONNECTION_TASK, async { panic!("a slip") });
                broken.await.unwrap();
                let event = inbox.recv().await.unwrap();
                assert_eq!(event.kind, EventKind::ConnectionPanicked);
                assert!(event.message.contains("a slip"), "{}", event.message);
                release.send(()).unwrap();
                other.await.unwrap();
            })
            .await;
        tasks.spawn("another task", async { panic!("a slip") }).await.unwrap();
        assert_eq!(inbox.recv().await.unwrap().kind, EventKind::TaskFailed);
        assert!(inbox.try_recv().is_err(), "what ended well is no event");
    }
}
