//! What the service manager is told, and what it gives.

use std::{
    fs,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::support::{
    PATIENCE,
    client::Client,
    eventually,
    gate::{BINARY, Gate, run_with, send_signal},
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

/// Starts with a TCP and a unix socket as descriptors 3 and 4, as a service manager does.
fn start_with(tcp: &TcpListener, unix: &UnixListener, folder: TempDir) -> Gate {
    let script =
        "exec 3<&0 4<&2 2>>\"$LOG\" </dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" \"$@\"";
    let log = folder.path().join("stderr.log");
    let mut shell = Command::new("sh");
    shell.args(["-c", script, BINARY]);
    let (tcp, unix) = (tcp.try_clone().unwrap(), unix.try_clone().unwrap());
    Gate::start_by(shell, folder, |command| {
        command.stdin(OwnedFd::from(tcp)).stderr(OwnedFd::from(unix)).env("LOG", log);
    })
}

#[test]
fn sockets_of_the_service_manager_are_taken_by_their_address() {
    let upstream = Upstream::saying("blue");
    let folder = tempfile::tempdir().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(folder.path().join("admin.sock")).unwrap();
    let setup = Setup::to(upstream.address()).process("workers = 2");
    let setup = setup.listener(&format!("bind = \"{address}\"")).listener("");
    fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    // It comes while nobody serves, and waits.
    let mut early = Client::connect(address);
    early.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut gate = start_with(&tcp, &unix, folder);
    drop((tcp, unix));
    assert_eq!(early.answer().text(), "blue");
    assert_eq!(gate.addresses[0], address);
    for address in gate.addresses.clone() {
        assert_eq!(Client::connect(address).get("/").text(), "blue", "{address}");
    }
    assert_eq!(gate.admin("GET", "/readyz", "").status(), 200);
    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0), "{}", gate.log());
    assert!(gate.socket().exists(), "who made it removes it");
}

#[test]
fn a_socket_of_another_address_is_named_where_it_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = everywhere.local_addr().unwrap().port();
    let setup = Setup::to("127.0.0.1:9001".parse().unwrap());
    let setup = setup.listener(&format!("bind = \"127.0.0.1:{port}\""));
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, setup.text(folder.path())).unwrap();
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run -c \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, BINARY]).arg(&file).stdin(OwnedFd::from(everywhere));
    let output = shell.output().unwrap();
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    let told = format!("cannot listen on 127.0.0.1:{port}: ");
    assert!(errors.contains(&told), "{errors}");
    let told = format!("this process was passed a socket for 0.0.0.0:{port}");
    assert!(errors.contains(&told), "{errors}");
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::to("127.0.0.1:9001".parse().unwrap());
    let file = folder.path().join("tidegate.toml");
    fs::write(&file, setup.text(folder.path())).unwrap();
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run -c \"$1\" 3</dev/null";
    let output = Command::new("sh").args(["-c", script, BINARY]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(71), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("descriptor 3 from the service manager is no stream socket"),
        "{errors}"
    );
}

#[test]
fn after_an_upgrade_the_service_manager_follows_the_new_process() {
    let upstream = Upstream::saying("blue");
    let folder = tempfile::tempdir().unwrap();
    let service = Service::listen(folder.path());
    let setup = Setup::to(upstream.address());
    fs::write(folder.path().join("tidegate.toml"), setup.text(folder.path())).unwrap();
    let mut gate = Gate::start_by(Command::new(BINARY), folder, |command| {
        command.env("NOTIFY_SOCKET", &service.path);
    });
    assert_eq!(service.next(), "READY=1");
    gate.signal("USR2");
    let told = service.next();
    let successor: u32 = told.strip_prefix("MAINPID=").expect(&told).parse().unwrap();
    assert_ne!(successor, gate.process_id());
    assert_eq!(service.next(), format!("READY=1\nMAINPID={successor}"));
    assert_eq!(gate.wait().code(), Some(0));
    assert_eq!(gate.client().get("/").status(), 200);
    send_signal(successor, "TERM");
    assert_eq!(service.next(), "STOPPING=1");
    eventually("the successor ends", || (!gate.socket().exists()).then_some(()));
}
