//! A controller with a folder of its own, and a data plane that only notes what it was asked.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;

use crate::{
    config::model::Listener,
    control::{ControlHandle, Controller, DataPlane, ListenChange, ListenError, Outside, Setup},
    lifecycle::{Drain, Tasks},
    telemetry::{EventSink, Recorder},
};

/// Listens on anything but the addresses that it is told to refuse.
#[derive(Default)]
pub(crate) struct FakeDataPlane {
    pub(in crate::control) listening: Vec<SocketAddr>,
    /// A port, and how often it is refused.
    pub(in crate::control) refuse: Option<(u16, usize)>,
    pub(crate) asked: Arc<Mutex<usize>>,
}

impl DataPlane for FakeDataPlane {
    fn listen(&mut self, listeners: &[Listener]) -> Result<ListenChange, ListenError> {
        *self.asked.lock().unwrap() += 1;
        let wanted: Vec<_> = listeners.iter().map(|listener| listener.bind).collect();
        let refused = self.refuse.as_mut().and_then(|(port, times)| {
            let address = wanted.iter().find(|address| address.port() == *port)?;
            *times = times.checked_sub(1)?;
            Some(address)
        });
        if let Some(address) = refused {
            return Err(ListenError(format!("cannot listen on {address}: in use").into()));
        }
        let missing = |a: &[SocketAddr], b: &[SocketAddr]| {
            a.iter().filter(|x| !b.contains(*x)).copied().collect()
        };
        let added = missing(&wanted, &self.listening);
        let removed = missing(&self.listening, &wanted);
        self.listening = wanted;
        Ok(ListenChange { added, removed })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.listening.first().copied()
    }
}

/// A server that says 200 to whatever comes; its thread ends with the test process.
fn serve() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // Who only wanted to connect is gone.
            let _ = client.read(&mut [0; 4096]).and_then(|_| client.write_all(answer));
        }
    });
    address
}

/// A folder with a configuration and a state file.
pub(crate) struct House {
    folder: TempDir,
    endpoints: [SocketAddr; 2],
}

/// A running controller.
pub(crate) struct Running {
    pub(crate) handle: ControlHandle,
    pub(crate) drain: Drain,
    pub(crate) work: tokio::task::JoinHandle<()>,
}

impl House {
    pub(crate) fn new(split: &str) -> Self {
        Self::before([9001, 9002].map(|port| ([127, 0, 0, 1], port).into()), split)
    }

    /// With a blue and a green that answer: a rollout does not begin before ones that do not.
    pub(crate) fn with_servers(split: &str) -> Self {
        Self::before([serve(), serve()], split)
    }

    fn before(endpoints: [SocketAddr; 2], split: &str) -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap(), endpoints };
        house.write(split, "");
        house
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("tidegate.toml")
    }

    pub(in crate::control) fn state(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    pub(crate) fn write(&self, split: &str, more: &str) {
        let state = self.state();
        let [blue, green] = self.endpoints;
        let text = format!(
            "[state]\nfile = {state:?}\n[[listener]]\nbind = \"127.0.0.1:8080\"\n\
             [backend.blue]\nendpoints = [\"{blue}\"]\n\
             [backend.green]\nendpoints = [\"{green}\"]\n\
             [[route]]\nname = \"api\"\nsplit = {split}\n{more}"
        );
        fs::write(self.path(), text).unwrap();
    }

    #[allow(clippy::disallowed_methods)]
    pub(crate) fn start(&self, data_plane: FakeDataPlane) -> Running {
        let recorder = Arc::new(Recorder::new(1));
        let (events, inbox) = EventSink::new(recorder.clone());
        let (drain, watch) = Drain::new();
        let loaded = crate::config::load(&self.path()).unwrap();
        let tasks = Tasks::new(|failure| panic!("{failure}"));
        let outside = Outside::new(tasks, events.clone(), recorder.clone());
        let setup = Setup { loaded, workers: 1, recorder, events, inbox, drain: watch, outside };
        let mut data_plane = Box::new(data_plane);
        data_plane.listen(&setup.loaded.config.listeners).unwrap();
        let (controller, handle) = Controller::new(setup).unwrap();
        Running { handle, drain, work: tokio::spawn(controller.run(data_plane)) }
    }
}
