//! Prometheus and Alertmanager themselves, each with a folder and a free port of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::client::Client;

/// A running daemon. It is killed when the value is dropped.
pub(crate) struct Daemon {
    child: Child,
    _folder: TempDir,
    address: SocketAddr,
}

impl Daemon {
    /// A Prometheus that scrapes `target` every second.
    pub(crate) fn prometheus(target: SocketAddr) -> Self {
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: test\n  static_configs:\n  \
             - targets: [\"{target}\"]\n"
        );
        Self::start("prometheus", "--storage.tsdb.path", &config, &[])
    }

    /// An Alertmanager that tells nobody.
    pub(crate) fn alertmanager() -> Self {
        let config = "route:\n  receiver: nobody\nreceivers:\n- name: nobody\n";
        let alone = ["--cluster.listen-address="];
        Self::start("prometheus-alertmanager", "--storage.path", config, &alone)
    }

    fn start(program: &str, storage: &str, config: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("config.yml");
        fs::write(&file, config).expect("a config file");
        let argument = |name: &str, path: &Path| format!("{name}={}", path.display());
        let mut child = Command::new(program)
            .arg(argument("--config.file", &file))
            .arg(argument(storage, &folder.path().join("data")))
            .arg("--web.listen-address=127.0.0.1:0")
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; run `make setup`"));
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut said = Vec::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let listening = line.contains("Listening on");
            let address = line.split("address=").nth(1).and_then(|text| text.trim().parse().ok());
            said.push(line);
            address.filter(|_| listening)
        });
        // Who does not listen blocks a daemon that goes on talking.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = address.unwrap_or_else(|| panic!("{program} ended:\n{}", said.join("\n")));
        Self { child, _folder: folder, address }
    }

    /// Its base address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it answers to a question.
    pub(crate) fn ask(&self, path: &str) -> Value {
        let answer = Client::connect(self.address).get(path);
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        serde_json::from_str(&answer.text()).expect("JSON")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
