//! WebSocket and gRPC programs, a mail server, a web server and a collector of traces, written with independent libraries, as
//! children of a test.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::Receiver,
};

use crate::support::{
    PATIENCE,
    gate::{BINARY, lines_of},
};

/// A running script: lines in, lines out.
pub(crate) struct Script {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Script {
    fn start(name: &str, argument: &str) -> Self {
        Self::start_trusting(name, argument, None)
    }

    fn start_trusting(name: &str, argument: &str, authority: Option<&str>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/process/scripts").join(name);
        let mut child = Command::new(interpreter())
            .args([script.as_os_str(), argument.as_ref()])
            .envs(authority.map(|file| ("SSL_CERT_FILE", file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let stdin = child.stdin.take().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Self { child, stdin, lines }
    }

    /// An upstream that sends each message back, and its address.
    pub(crate) fn echo_server(name: &str) -> (Self, SocketAddr) {
        let script = Self::start("ws_server.py", name);
        let address = script.line().parse().expect("an address");
        (script, address)
    }

    /// A client that has opened a WebSocket at `url`.
    pub(crate) fn client(url: &str) -> Self {
        let script = Self::start("ws_client.py", url);
        assert_eq!(script.line(), "open");
        script
    }

    /// A gRPC server that says `name` in its answers, and its address.
    pub(crate) fn grpc_server(name: &str) -> (Self, SocketAddr) {
        let script = Self::start("grpc_server.py", name);
        let address = script.line().parse().expect("an address");
        (script, address)
    }

    /// A gRPC server with the standard health service that listens at `place`, and its address. A line sets a status.
    pub(crate) fn grpc_health_server(place: &str) -> (Self, String) {
        let script = Self::start("grpc_health_server.py", place);
        let address = script.line();
        (script, address)
    }

    /// A client of such a server at `address`.
    pub(crate) fn grpc_client(address: &str) -> Self {
        Self::start("grpc_client.py", address)
    }

    /// The same, under TLS with a certificate of the authority in a file.
    pub(crate) fn client_trusting(url: &str, authority: &str) -> Self {
        let script = Self::start_trusting("wss_client.py", url, Some(authority));
        assert_eq!(script.line(), "open");
        script
    }

    /// A client that has opened a WebSocket over HTTP/2, trusting the authority in a file where the URL is of TLS.
    pub(crate) fn client_of_http_2(url: &str, authority: Option<&str>) -> Self {
        let script = Self::start_trusting("ws_h2_client.py", url, authority);
        assert_eq!(script.line(), "open");
        script
    }

    /// A browser, its profile in a folder; it trusts the authority in `ca.pem` there. Told by lines of JSON.
    pub(crate) fn browser(folder: &str) -> Self {
        let script = Self::start("browser.py", folder);
        assert_eq!(script.line(), "ready");
        script
    }

    /// A mail server, spoken to as `how` says; its first line is its port, and each message is another.
    pub(crate) fn smtp_server(how: &str) -> Self {
        Self::start("smtp_server.py", how)
    }

    /// A web server with the certificate in a file; its first line is its port, and each request's body is another.
    pub(crate) fn https_server(certificate: &str) -> Self {
        Self::start("https_server.py", certificate)
    }

    /// A collector of traces; its first line is its port, and each span is another, as JSON.
    pub(crate) fn otlp_collector() -> Self {
        Self::start("otlp_collector.py", "")
    }

    /// Gives a line, and takes the one that answers it.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").expect("the script listens");
        self.line()
    }

    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line from the script")
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The environment that `scripts/setup test` makes in cargo's target directory.
fn interpreter() -> PathBuf {
    let target = Path::new(BINARY).ancestors().nth(2).expect("target/PROFILE/tidegate");
    let python = target.join("test-venv/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    python
}
