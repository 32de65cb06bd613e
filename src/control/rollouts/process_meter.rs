//! What this process itself uses: memory, and processor time as a share of all cores that it may use.

use std::{fs, thread, time::Duration};

use crate::{control::pulse::resident_bytes, domain::Moment, lifecycle::clock};

/// Reading the kernel's files more often would tell nothing new.
const FRESH: Duration = Duration::from_secs(1);
/// The kernel counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the process used over the last second or so.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct ProcessLoad {
    /// Resident memory.
    pub(super) memory_bytes: Option<u64>,
    /// Processor time, 1 for all cores that it may use.
    pub(super) cpu_share: Option<f64>,
}

/// Reads the load, at most once a second.
#[derive(Debug, Default)]
pub(in crate::control) struct ProcessMeter {
    last: Option<(Moment, u64)>,
    load: ProcessLoad,
}

impl ProcessMeter {
    /// The load as it was at most a second ago.
    pub(super) fn load(&mut self) -> ProcessLoad {
        self.read(clock::now())
    }

    fn read(&mut self, now: Moment) -> ProcessLoad {
        if self.last.is_some_and(|(then, _)| now.since(then) < FRESH) {
            return self.load;
        }
        let Some(ticks) = processor_ticks() else { return self.load };
        if let Some((then, before)) = self.last {
            let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
            let spent = ticks.saturating_sub(before) as f64 / TICKS_PER_SECOND;
            self.load.cpu_share = Some(spent / now.since(then).as_secs_f64() / cores);
        }
        self.load.memory_bytes = resident_bytes();
        self.last = Some((now, ticks));
        self.load
    }
}

/// Processor time spent so far, from the kernel's own file, which never waits for a disk.
fn processor_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_working() {
        let before = processor_ticks().unwrap();
        let mut work = 0u64;
        while processor_ticks().unwrap() < before + 5 {
            work = std::hint::black_box(work.wrapping_mul(31) + 1);
        }
        let mut meter = ProcessMeter::default();
        let start = Moment::from_nanos(1);
        assert!(meter.read(start).memory_bytes.unwrap() > 1 << 20);
        meter.last = Some((start, before));
        assert_eq!(meter.read(start + FRESH / 2).cpu_share, None, "it is too early");
        assert!(meter.read(start + FRESH).cpu_share.unwrap() > 0.0);
    }
}
