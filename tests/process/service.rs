//! What the service manager is told.

use std::{
    fs,
    net::TcpListener,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{
    PATIENCE,
    gate::{BINARY, Gate, run_with},
    setup::Setup,
    upstream::Upstream,
};

/// The socket of a service manager.
struct Service {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Service {
    fn listen(folder: &Path) -> Self {
        let path = folder.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message to the service manager");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    }
}

#[test]
fn the_service_manager_hears_of_readiness_and_of_the_end() {
    let upstream = Upstream::saying("blue");
    let folder = tempfile::tempdir().unwrap();
    let service = Service::listen(folder.path());
    let setup = Setup::to(upstream.address());
    fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    let mut gate = Gate::start_by(Command::new(BINARY), folder, |command| {
        command.env("NOTIFY_SOCKET", &service.path);
    });
    assert_eq!(service.next(), "READY=1");
    assert_eq!(gate.client().get("/").status(), 200);
    gate.signal("TERM");
    assert_eq!(service.next(), "STOPPING=1");
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn what_cannot_serve_is_never_ready() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::listen(folder.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::to("127.0.0.1:9001".parse().unwrap());
    let setup = setup.listener(&format!("bind = \"{}\"", taken.local_addr().unwrap()));
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, setup.text(folder.path())).unwrap();
    let notify = [("NOTIFY_SOCKET", service.path.to_str().unwrap())];
    let ran = run_with(&["run", "-c", file.to_str().unwrap()], &notify);
    assert_eq!(ran.code, 71, "{ran:?}");
    service.socket.set_nonblocking(true).unwrap();
    assert!(service.socket.recv(&mut [0; 64]).is_err(), "it has said something");
}
