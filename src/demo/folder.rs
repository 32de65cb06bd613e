//! The demo's folder: configuration, admin socket and state, gone when the demo ends.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process,
};

use super::{operator::NAME, scenario::Scenario, side::Sides};

/// A folder in the system's place for temporary ones. It is removed when the value is dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes it, for this user's eyes only.
    pub(super) fn make() -> io::Result<Self> {
        let name = format!("tidegate-demo-{}-{:08x}", process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where the configuration is.
    pub(super) fn config(&self) -> PathBuf {
        self.0.join("tidegate.toml")
    }

    /// Writes the configuration.
    pub(super) fn write_config(&self, scene: &Scene) -> io::Result<()> {
        fs::write(self.config(), scene.text(&self.0))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("tidegate: {} is left behind: {error}", self.0.display());
        }
    }
}

/// Clients get blue's answer where green fails.
const FALLBACK: &str = r#"[route.fallback]
on = ["connect", "timeout", "reset", "5xx"]
budget = "50%"
"#;

/// What differs from one demo to the next.
#[derive(Debug)]
pub(super) struct Scene {
    /// The listener's port; 0 for a free one.
    pub(super) port: u16,
    /// Addresses of the sample servers.
    pub(super) samples: Sides<std::net::SocketAddr>,
    /// What is going to happen.
    pub(super) scenario: Scenario,
}

impl Scene {
    fn text(&self, folder: &Path) -> String {
        use super::side::Side::{Blue, Green};
        let folder = toml_text(folder);
        format!(
            r#"# The demo's configuration. Edit it while the demo runs: it is read again at once.

[process]
shutdown_timeout = "5s"

[admin]
socket = "{folder}/admin.sock"

[state]
file = "{folder}/tidegate.db"

[log]
level = "error"     # the table has the terminal to itself
access.path = "off"

[[listener]]
bind = "127.0.0.1:{port}"

[backend.blue]
endpoints = ["{blue}"]

[backend.green]
endpoints = ["{green}"]

[[route]]
name = "{NAME}"
split = {{ blue = 100, green = 0 }}
{fallback}
[rollout.{NAME}]    # seconds for hours
route = "{NAME}"
baseline = "blue"
canary = "green"
auto_start = true
window = "3s"
min_requests = 20
settle = "300ms"

[[rollout.{NAME}.step]]
name = "canary"
weight = 10
hold = "5s"
require = ["error_rate < 1%", "p95 < 150ms"]
[[rollout.{NAME}.step]]
name = "half"
weight = 50
hold = "5s"
require = ["error_rate < 1%", "p95 < 150ms"]
[[rollout.{NAME}.step]]
name = "full"
weight = 100
hold = "3s"
require = ["error_rate < 1%", "p95 < 150ms"]

[[rollout.{NAME}.rollback]]
when = "error_rate > 5%"
for = "1s"
[[rollout.{NAME}.rollback]]
when = "p95 > baseline.p95 + 150ms"
for = "1s"
"#,
            port = self.port,
            blue = self.samples[Blue],
            green = self.samples[Green],
            fallback = if self.scenario.falls_back() { FALLBACK } else { "" },
        )
    }
}

/// A path inside a text of TOML, where `$` begins a variable as well.
fn toml_text(path: &Path) -> String {
    path.display().to_string().replace('\\', "\\\\").replace('"', "\\\"").replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, demo::side::Side};

    #[test]
    fn the_configuration_is_good_and_says_what_it_should() {
        let samples = Sides::of(|side| match side {
            Side::Blue => ([127, 0, 0, 1], 9001).into(),
            Side::Green => ([127, 0, 0, 1], 9002).into(),
        });
        for scenario in Scenario::ALL {
            let scene = Scene { port: 8080, samples, scenario };
            let text = scene.text(Path::new("/tmp/a \"b\" \\c"));
            let config = config::parse(&text, "demo", &|_| None).unwrap();
            assert_eq!(config.admin.socket, Path::new("/tmp/a \"b\" \\c/admin.sock"));
            assert_eq!(config.listeners[0].bind.port(), 8080);
            let shares = config.routes[0].split.shares().iter();
            let points: Vec<_> = shares.map(|(_, weight)| weight.basis_points()).collect();
            assert_eq!(points, [10_000, 0]);
        }
    }

    #[test]
    fn nothing_is_left_behind() {
        let folder = Folder::make().unwrap();
        fs::write(folder.config(), "x").unwrap();
        let path = folder.0.clone();
        drop(folder);
        assert!(!path.exists());
    }
}
