//! The real binary with a rollout under way.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// A running Tidegate. It is killed when the value is dropped.
pub(crate) struct Gate {
    child: Child,
    folder: TempDir,
    address: SocketAddr,
}

impl Gate {
    pub(crate) fn start(blue: SocketAddr, green: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().display();
        let text = format!(
            r#"
[process]
workers = 2
[admin]
socket = "{path}/admin.sock"
[state]
file = "{path}/tidegate.db"
[log]
level = "error"
[log.access]
path = "off"
[[listener]]
bind = "127.0.0.1:0"
[backend.blue]
endpoints = ["{blue}"]
[backend.green]
endpoints = ["{green}"]
[[route]]
name = "bench"
split = {{ blue = 100, green = 0 }}
[route.affinity]
by = "none"
[rollout.bench]
route = "bench"
baseline = "blue"
canary = "green"
auto_start = true
settle = "500ms"
[[rollout.bench.step]]
name = "canary"
weight = 10
hold = "1h"
[[rollout.bench.step]]
name = "full"
weight = 100
hold = "1h"
"#
        );
        let config = folder.path().join("tidegate.toml");
        fs::write(&config, text).expect("the folder can be written");
        let mut child = Command::new(BINARY)
            .args(["run", "-c"])
            .arg(&config)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let output = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let ready = lines.find(|line| line.starts_with("tidegate ready"));
        let ready = ready.expect("it gets ready");
        let address = ready.split([' ', ',']).find_map(|word| word.parse().ok());
        Self { child, folder, address: address.expect("an address in the ready line") }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs `tidegate rollback` to its end.
    pub(crate) fn rollback(&self) {
        self.run(&["rollback", "bench", "--reason", "bench"]);
    }

    /// The canary's share in percent, as the running process says.
    pub(crate) fn canary_weight(&self) -> f64 {
        let status = self.run(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
        status["routes"][0]["split"]["green"].as_f64().expect("a weight of green")
    }

    fn run(&self, arguments: &[&str]) -> Vec<u8> {
        let socket: PathBuf = self.folder.path().join("admin.sock");
        let done = Command::new(BINARY).args(arguments).arg("--socket").arg(socket).output();
        let done = done.expect("the binary starts");
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        done.stdout
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
