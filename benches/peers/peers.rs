//! The peers: proxies started as real processes, pinned to one core, and ended with the bench.

use std::{
    fmt, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use tempfile::TempDir;

use crate::{
    configs::{self, Wiring},
    measure::Family,
    stage::Stage,
};

const READY_WITHIN: Duration = Duration::from_secs(20);
const ENDED_WITHIN: Duration = Duration::from_secs(3);

/// What may stand between load and upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// Bytes moved, nothing read: the floor.
    Relay,
    /// Nginx with `split_clients`.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Tidegate.
    Tidegate,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "byte relay",
            Self::Nginx => "Nginx",
            Self::Haproxy => "HAProxy",
            Self::Tidegate => "Tidegate",
        })
    }
}

/// How peers are started.
#[derive(Debug, Clone)]
pub(crate) struct Billing {
    /// The core they are pinned to.
    pub(crate) core: usize,
    /// The `tidegate` binary.
    pub(crate) tidegate: PathBuf,
}

/// A running proxy; ended on drop.
pub(crate) struct Peer {
    kind: Kind,
    address: SocketAddr,
    encrypted: SocketAddr,
    family: Family,
    child: Child,
    // Last, so that the directory outlives the process.
    dir: TempDir,
}

impl Peer {
    /// Starts a peer before `stage`'s upstreams, and checks that it does the job.
    pub(crate) fn start(
        kind: Kind,
        billing: &Billing,
        routes: usize,
        stage: &mut Stage,
    ) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("tidegate-bench-").tempdir()?;
        let (address, encrypted) = (free_address()?, free_address()?);
        write_certificate(dir.path())?;
        let upstreams = stage.upstreams()?;
        let wiring = Wiring { listen: address, encrypted, upstreams, dir: dir.path(), routes };
        let mut command = pinned(billing.core);
        command.args(arguments(kind, billing, &wiring)?);
        let log = dir.path().join("output.log");
        let output = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {kind}"))?;
        let family = Family::of(child.id())?;
        let mut peer = Self { kind, address, encrypted, family, child, dir };
        let path = if routes == 1 { "/echo".to_owned() } else { format!("/r{}", routes - 1) };
        let answer = peer.await_ready(stage, &path).with_context(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("{kind} did not become ready; it said:\n{said}")
        })?;
        if routes == 1 {
            peer.check_headers(&answer)?;
        }
        peer.family = Family::of(peer.child.id())?;
        Ok(peer)
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens under TLS.
    pub(crate) fn encrypted(&self) -> SocketAddr {
        self.encrypted
    }

    /// The file with its certificate, which is its own authority.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.dir.path().join("bench.crt")
    }

    /// Its processes.
    pub(crate) fn family(&self) -> &Family {
        &self.family
    }

    fn await_ready(&mut self, stage: &mut Stage, path: &str) -> Result<String> {
        let give_up = Instant::now() + READY_WITHIN;
        loop {
            let address = self.address;
            match stage.serve(|| ask_once(address, path))? {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => return Ok(answer),
                Ok(answer) => bail!("it answered {path} with: {answer}"),
                Err(error) if Instant::now() > give_up => return Err(error),
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails when the peer does less than the job, so that no table compares unlike things.
    fn check_headers(&self, answer: &str) -> Result<()> {
        if self.kind == Kind::Relay {
            return Ok(());
        }
        let seen = answer.to_ascii_lowercase();
        for name in ["host", "cookie", "x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
            ensure!(
                seen.contains(&format!("\r\n{name}: ")),
                "{} sends no {name} to its upstream; the upstream saw:\n{answer}",
                self.kind
            );
        }
        Ok(())
    }
}

/// Starts those of `kinds` that can encrypt: the relay reads nothing.
pub(crate) fn encrypting(
    kinds: &[Kind],
    billing: &Billing,
    stage: &mut Stage,
) -> Result<Vec<Peer>> {
    let kinds = kinds.iter().filter(|kind| **kind != Kind::Relay);
    kinds.map(|kind| Peer::start(*kind, billing, 1, stage)).collect()
}

impl Drop for Peer {
    fn drop(&mut self) {
        // TERM, not KILL: a killed Nginx master leaves its worker behind.
        signal(self.child.id(), "TERM");
        let give_up = Instant::now() + ENDED_WITHIN;
        while Instant::now() < give_up {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Already gone, or not to be had: nothing more can be done about it here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command that runs on one core and gets TERM when the bench dies, however it dies.
pub(crate) fn pinned(core: usize) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &core.to_string()]);
    command
}

/// Sends a signal by name; without effect on a process that is gone.
pub(crate) fn signal(pid: u32, name: &str) {
    let script = format!("kill -s {name} {pid}");
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
}

/// The version a peer states, for the record.
pub(crate) fn version(kind: Kind, billing: &Billing) -> Option<String> {
    let (program, argument) = match kind {
        Kind::Relay => return None,
        Kind::Nginx => (Path::new("nginx"), "-v"),
        Kind::Haproxy => (Path::new("haproxy"), "-v"),
        Kind::Tidegate => (billing.tidegate.as_path(), "--version"),
    };
    let output = Command::new(program).arg(argument).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let number = said.lines().next()?.split([' ', '/']).find(|word| {
        word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
    })?;
    Some(format!("{kind} {number}"))
}

fn arguments(kind: Kind, billing: &Billing, wiring: &Wiring<'_>) -> Result<Vec<String>> {
    let write = |name: &str, text: String| -> Result<String> {
        let path = wiring.dir.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let arguments: Vec<String> = match kind {
        Kind::Nginx => {
            let config = write("nginx.conf", configs::nginx(wiring))?;
            let prefix = wiring.dir.display().to_string();
            let early_log = wiring.dir.join("error.log").display().to_string();
            vec!["nginx".into(), "-p".into(), prefix, "-e".into(), early_log, "-c".into(), config]
        }
        Kind::Haproxy => {
            let config = write("haproxy.cfg", configs::haproxy(wiring))?;
            vec!["haproxy".into(), "-db".into(), "-f".into(), config]
        }
        Kind::Tidegate => {
            let config = write("tidegate.toml", configs::tidegate(wiring))?;
            vec![billing.tidegate.display().to_string(), "run".into(), "-c".into(), config]
        }
        Kind::Relay => {
            let bench = std::env::current_exe()?.display().to_string();
            let [blue, green] = wiring.upstreams.map(|address| address.to_string());
            vec![bench, "--relay".into(), wiring.listen.to_string(), blue, green]
        }
    };
    Ok(arguments)
}

/// A certificate on P-256, the same kind for all.
fn write_certificate(dir: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["bench.test".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(dir.join("bench.crt"), &certificate)?;
    fs::write(dir.join("bench.key"), &key)?;
    fs::write(dir.join("bench.pem"), certificate + &key)?;
    Ok(())
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn ask_once(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: bench.test\r\nCookie: session=s1\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // The relay does not read `Connection: close`; the answer is one small piece all the same.
    loop {
        let read_len = stream.read(&mut buffer)?;
        answer.extend_from_slice(&buffer[..read_len]);
        let whole = crate::http1::head_len(&answer).is_some_and(|head_len| {
            let body_len = crate::http1::content_length(&answer[..head_len]).unwrap_or(usize::MAX);
            answer.len() - head_len >= body_len
        });
        if read_len == 0 || whole {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
    }
}
