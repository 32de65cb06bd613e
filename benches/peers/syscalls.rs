//! System calls a request, counted by `strace -c` on the working process of a peer.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    load::Pace,
    peers::{Billing, Kind, Peer, pinned, signal},
    stage::{Slice, Stage},
};

const LENGTH: Duration = Duration::from_secs(3);
const ATTACHED_WITHIN: Duration = Duration::from_secs(5);
/// Rarer calls are start and end of the slice, not the way of a request.
const LEAST_SHARE: f64 = 0.005;

/// Calls of one name for each request, most frequent first.
pub(crate) type PerRequest = Vec<(String, f64)>;

/// Counts the calls that `kind` makes under a closed load of small bodies.
pub(crate) fn count(
    stage: &mut Stage,
    kind: Kind,
    billing: &Billing,
    connections: usize,
) -> Result<PerRequest> {
    let peer = Peer::start(kind, billing, 1, stage)?;
    let paths = ["/small".to_owned()];
    let slice = |length| Slice {
        target: peer.address(),
        paths: &paths,
        connections,
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        length,
    };
    // Fills the pools, and shows which process works.
    stage.play(&slice(Duration::from_millis(500)), || Ok(()))?;
    let worker = peer.family().worker()?;
    let out = tempfile::NamedTempFile::new()?;
    let mut strace = pinned(billing.core)
        .args(["strace", "-c", "-f", "-p", &worker.to_string(), "-o"])
        .arg(out.path())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start strace")?;
    await_tracer(worker)?;
    let shown = stage.play(&slice(LENGTH), || Ok(()))?;
    // INT makes strace detach and write its table.
    signal(strace.id(), "INT");
    strace.wait()?;
    let table = fs::read_to_string(out.path())?;
    parse(&table, shown.tally.answered as f64)
}

/// Whether strace is here to be used.
pub(crate) fn available() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn await_tracer(pid: u32) -> Result<()> {
    let give_up = Instant::now() + ATTACHED_WITHIN;
    while Instant::now() < give_up {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        if tracer.is_some_and(|tracer| tracer.trim() != "0") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("strace could not attach (is ptrace permitted here?)")
}

/// Reads the rows of `strace -c`: % time, seconds, usecs/call, calls, [errors], name.
fn parse(table: &str, answered: f64) -> Result<PerRequest> {
    let mut calls: PerRequest = table
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let count: f64 = fields.get(3)?.parse().ok()?;
            let name = fields.last().filter(|name| **name != "total")?;
            Some(((*name).to_owned(), count / answered))
        })
        .filter(|(_, share)| *share >= LEAST_SHARE)
        .collect();
    calls.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    if calls.is_empty() {
        bail!("strace counted nothing:\n{table}");
    }
    Ok(calls)
}
