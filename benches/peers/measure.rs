//! What a process has cost so far: CPU time and memory, as the kernel accounts them.
//!
//! A *family* is a process with its descendants, since Nginx works in a child of its master.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};

/// CPU time of a family.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cpu {
    /// Time on a core, user and kernel.
    pub(crate) ran: Duration,
    /// Time ready to run, while something else held the core.
    pub(crate) waited: Duration,
}

/// A process and its descendants, as found when it was started.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    pids: Vec<u32>,
}

impl Family {
    /// Finds the descendants of `root`.
    pub(crate) fn of(root: u32) -> Result<Self> {
        let mut pids = BTreeSet::from([root]);
        loop {
            let before = pids.len();
            for entry in fs::read_dir("/proc")? {
                let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
                if parent_of(pid).is_some_and(|parent| pids.contains(&parent)) {
                    pids.insert(pid);
                }
            }
            if pids.len() == before {
                return Ok(Self { pids: pids.into_iter().collect() });
            }
        }
    }

    /// This process alone: load and upstream.
    pub(crate) fn own() -> Self {
        Self { pids: vec![std::process::id()] }
    }

    /// CPU time since the start, over all threads that still live.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        let mut cpu = Cpu::default();
        for pid in &self.pids {
            for task in fs::read_dir(format!("/proc/{pid}/task")).context("a peer has ended")? {
                let [ran_ns, waited_ns] = schedstat(&task?.path())?;
                cpu.ran += Duration::from_nanos(ran_ns);
                cpu.waited += Duration::from_nanos(waited_ns);
            }
        }
        Ok(cpu)
    }

    /// Memory resident now, in bytes; a page shared in the family counts for each of its members,
    /// so only differences mean something.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for pid in &self.pids {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            bytes += 1024 * field_kib(&text, "Rss:").context("no Rss in smaps_rollup")?;
        }
        Ok(bytes)
    }

    /// The member that used the most CPU time: the one that works.
    pub(crate) fn worker(&self) -> Result<u32> {
        let mut busiest = None;
        for pid in &self.pids {
            let ran = Self { pids: vec![*pid] }.cpu()?.ran;
            busiest = busiest.max(Some((ran, *pid)));
        }
        busiest.map(|(_, pid)| pid).context("an empty family")
    }
}

/// What the machine is, without its name.
pub(crate) fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu_facts = read("/proc/cpuinfo");
    let model = cpu_facts
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let online = read("/sys/devices/system/cpu/online");
    let kernel = read("/proc/sys/kernel/osrelease");
    let online = match online.trim() {
        "" => format!("{cores} core(s)"),
        range => format!("cores {range}"),
    };
    let virtualised = if cpu_facts.contains(" hypervisor") { ", virtual machine" } else { "" };
    let release = kernel.trim().split('-').next().unwrap_or("unknown");
    format!("{model}, {online}{virtualised}, Linux {release}")
}

fn parent_of(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = text.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

/// Nanoseconds run and nanoseconds waited for a core.
fn schedstat(task: &Path) -> Result<[u64; 2]> {
    // A thread may end between the listing and the reading; its time is then lost, not guessed.
    let Ok(text) = fs::read_to_string(task.join("schedstat")) else { return Ok([0, 0]) };
    let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
    match (fields.next(), fields.next()) {
        (Some(Ok(ran)), Some(Ok(waited))) => Ok([ran, waited]),
        _ => bail!("the kernel keeps no schedstat"),
    }
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}
