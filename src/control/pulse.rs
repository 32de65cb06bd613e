//! What the control plane does by itself every second: takes the counters' rates, and now and then says how things go.

use std::{fs, time::Duration};

use super::status::{RateMeter, Rates};
use crate::{
    domain::Moment,
    telemetry::{Snapshot, Summary},
};

/// Remembers what the counters said before.
#[derive(Debug)]
pub(super) struct Pulse {
    meter: RateMeter,
    summed_up: Moment,
    summed_up_at: Snapshot,
}

impl Pulse {
    /// Begins at `now`, with nothing counted.
    pub(super) fn new(now: Moment) -> Self {
        Self { meter: RateMeter::default(), summed_up: now, summed_up_at: Snapshot::default() }
    }

    /// The rates since the last beat; and the summary line in the log, when one is due.
    pub(super) fn beat(
        &mut self,
        now: Moment,
        snapshot: Snapshot,
        summary_every: Option<Duration>,
    ) -> Rates {
        let rates = self.meter.read(now, &snapshot);
        if summary_every.is_some_and(|every| now.since(self.summed_up) >= every) {
            tracing::info!("{}", self.sum_up(now, snapshot));
        }
        rates
    }

    fn sum_up(&mut self, now: Moment, snapshot: Snapshot) -> String {
        let line = Summary {
            since_last: &snapshot.difference(&self.summed_up_at),
            span: now.since(self.summed_up),
            memory_bytes: resident_bytes(),
            uptime: now.since(Moment::default()),
        };
        let line = line.to_string();
        (self.summed_up, self.summed_up_at) = (now, snapshot);
        line
    }
}

/// Resident memory, from the kernel's own file, which never waits for a disk.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{BackendName, Class, Outcome, RouteName},
        telemetry::Recorder,
    };

    #[test]
    fn a_summary_counts_from_the_one_before() {
        let recorder = Recorder::new(1);
        let (route, blue) = (RouteName::new("api").unwrap(), BackendName::new("blue").unwrap());
        let series = recorder.series(&route, &blue).unwrap();
        let total = Duration::from_millis(1);
        let outcome =
            Outcome { class: Class::Success, blame: None, status: None, first_byte: None, total };
        let start = Moment::default();
        let mut pulse = Pulse::new(start);
        (0..30).for_each(|_| recorder.shard(0).record(series, &outcome));
        let first = pulse.sum_up(start + Duration::from_secs(10), recorder.snapshot());
        assert!(first.starts_with("blue: 30 requests, 3.0/s"), "{first}");
        let second = pulse.sum_up(start + Duration::from_secs(20), recorder.snapshot());
        assert!(second.starts_with("blue: idle"), "{second}");
    }

    #[test]
    fn the_process_uses_some_memory() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
