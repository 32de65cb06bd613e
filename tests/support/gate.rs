//! The real binary, running with a configuration of a test's own in a folder of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
};

use tempfile::TempDir;

use super::{PATIENCE, client::Client, eventually, setup::Setup};

/// Path of the binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");

/// A running Tidegate. It is killed when the value is dropped.
pub(crate) struct Gate {
    child: Child,
    folder: TempDir,
    /// Where its listeners are bound, in the order of the configuration.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Gate {
    /// Starts with `setup` and waits until it is ready.
    pub(crate) fn start(setup: &Setup) -> Self {
        Self::start_in(tempfile::tempdir().expect("a temporary folder"), setup)
    }

    /// Starts in a folder that may hold the state of an earlier run.
    pub(crate) fn start_in(folder: TempDir, setup: &Setup) -> Self {
        fs::write(config_path(folder.path()), setup.text(folder.path())).expect("a config file");
        Self::start_as_it_is(folder)
    }

    /// Starts with the configuration file that the folder holds.
    pub(crate) fn start_as_it_is(folder: TempDir) -> Self {
        Self::start_by(Command::new(BINARY), folder, |_| {})
    }

    /// Starts by a command that ends in the binary, with what `prepare` changes about it.
    pub(crate) fn start_by(
        mut command: Command,
        folder: TempDir,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let errors = fs::OpenOptions::new().create(true).append(true).open(log_path(folder.path()));
        command
            .args(["run", "-c"])
            .arg(config_path(folder.path()))
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors.expect("a log file"));
        prepare(&mut command);
        let mut child = command.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("a pipe");
        let mut gate = Self { child, folder, addresses: Vec::new() };
        gate.addresses = gate.await_ready(&lines_of(stdout));
        gate
    }

    fn await_ready(&mut self, lines: &Receiver<String>) -> Vec<SocketAddr> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix("tidegate ready: listening on ") {
                        let (listeners, _) = rest.rsplit_once(", admin ").expect("an admin socket");
                        let parsed = listeners.split(", ").map(|text| text.parse());
                        return parsed.collect::<Result<_, _>>().expect("addresses");
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("not ready after {PATIENCE:?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().expect("a child");
                    panic!("ended before it was ready: {status}\n{}", self.log());
                }
            }
        }
    }

    /// The first listener's address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A new connection to the first listener.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        config_path(self.folder())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder().join("admin.sock")
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log_path(self.folder())).unwrap_or_default()
    }

    /// Puts a new configuration in the place of the old one, as editors do.
    pub(crate) fn replace_config(&self, setup: &Setup) {
        let aside = self.folder().join("tidegate.toml.new");
        fs::write(&aside, setup.text(self.folder())).expect("a config file");
        fs::rename(aside, self.config_path()).expect("a rename");
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.process_id(), name);
    }

    /// Waits for the end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().expect("a child"))
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Drains it by TERM, and gives the folder with its state.
    pub(crate) fn stop(mut self) -> TempDir {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status} after TERM\n{}", self.log());
        self.into_folder()
    }

    /// Ends it as a power cut would, and gives the folder with its state.
    pub(crate) fn kill(mut self) -> TempDir {
        self.child.kill().expect("a running process");
        self.wait();
        self.into_folder()
    }

    fn into_folder(mut self) -> TempDir {
        let empty = tempfile::tempdir().expect("a temporary folder");
        std::mem::replace(&mut self.folder, empty)
    }

    /// Runs an operator's command against this gate.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let socket = self.socket();
        run_with(arguments, &[("TIDEGATE_SOCKET", socket.to_str().expect("a plain path"))])
    }

    /// Runs an operator's command that must succeed, and gives its output.
    pub(crate) fn run_ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}\n{}", self.log());
        ran.stdout
    }

    /// Waits until the state on disk holds `mark`, so that a crash cannot take it away. Writes are answered when they are in
    /// force; a slow disk must not hold them up.
    pub(crate) fn await_stored(&self, mark: &str) {
        eventually("the state is written", || {
            let files = fs::read_dir(self.folder()).ok()?.filter_map(Result::ok);
            let mut state = files.map(|entry| entry.path()).filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("tidegate.db"))
            });
            let holds =
                |bytes: Vec<u8>| bytes.windows(mark.len()).any(|part| part == mark.as_bytes());
            state.any(|path| fs::read(path).is_ok_and(holds)).then_some(())
        });
    }

    /// Processor time spent so far, in the system's ticks of a hundredth of a second.
    pub(crate) fn processor_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process_id()));
        let stat = stat.expect("a running process");
        let (_, after_name) = stat.rsplit_once(')').expect("a name in brackets");
        let numbers = after_name.split_whitespace().skip(11).take(2);
        numbers.map(|number| number.parse::<u64>().expect("a number")).sum()
    }

    /// Bytes of memory from `/proc/PID/status`, as `VmRSS` or `VmHWM`.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id()));
        let status = status.expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).expect("a size");
        kib.parse::<u64>().expect("a number") * 1024
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        let log = self.log();
        if std::thread::panicking() {
            let from = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
            eprintln!("log of the gate:\n{}", &log[from..]);
        } else {
            assert!(!log.contains("panicked at"), "a panic that no client saw:\n{log}");
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Sends a signal by its name.
pub(crate) fn send_signal(process_id: u32, name: &str) {
    let id = process_id.to_string();
    // The shell's own kill: the program is in a package that a bare system lacks.
    let status = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &id]).status();
    assert!(status.expect("kill").success(), "{name} could not be sent");
}

/// Runs the binary to its end.
pub(crate) fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let output = Command::new(BINARY)
        .args(arguments)
        .env_remove("TIDEGATE_SOCKET")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Lines of a child's output as they come; goes on reading after nobody listens, so that the child never blocks.
pub(crate) fn lines_of(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // Full or gone: nobody is interested in this line.
            sender.try_send(line).ok();
        }
    });
    receiver
}

fn config_path(folder: &Path) -> PathBuf {
    folder.join("tidegate.toml")
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("stderr.log")
}
