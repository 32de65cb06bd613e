//! The line that says every now and then how things go.

use std::{collections::BTreeSet, fmt, time::Duration};

use super::Snapshot;
use crate::domain::{BackendName, ErrorReason, Queue};

/// What one summary line is made of; `Display` writes the line.
///
/// ```text
/// blue: 1800 requests, 60.0/s, 0.11% failed, p95 12.3ms; green: idle; fallbacks: 2; errors: no_route 3; memory 34 MiB; up 2h
/// ```
#[derive(Debug)]
pub struct Summary<'a> {
    /// What was counted since the last line.
    pub since_last: &'a Snapshot,
    /// Time since the last line.
    pub span: Duration,
    /// Resident memory of the process in bytes, where it is known.
    pub memory_bytes: Option<u64>,
    /// Time since the process began.
    pub uptime: Duration,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backends: BTreeSet<_> = self.since_last.live().map(|series| &series.backend).collect();
        for backend in backends {
            self.write_backend(f, backend)?;
            f.write_str("; ")?;
        }
        let snapshot = self.since_last;
        let fallbacks: u64 = snapshot.fallbacks.iter().map(|pair| pair.count).sum();
        if fallbacks > 0 {
            write!(f, "fallbacks: {fallbacks}; ")?;
        }
        let errors = ErrorReason::ALL.map(|reason| (reason.label(), snapshot.errors_of(reason)));
        write_counts(f, "errors", &errors)?;
        let overflows = Queue::ALL.map(|queue| (queue.label(), snapshot.overflows_of(queue)));
        write_counts(f, "overflows", &overflows)?;
        if let Some(bytes) = self.memory_bytes {
            write!(f, "memory {:.1} MiB; ", bytes as f64 / f64::from(1 << 20))?;
        }
        write!(f, "up {}", Span(self.uptime))
    }
}

impl Summary<'_> {
    fn write_backend(&self, f: &mut fmt::Formatter<'_>, backend: &BackendName) -> fmt::Result {
        let totals = self.since_last.backend_totals(backend);
        let attempts = totals.attempts();
        if attempts == 0 {
            return write!(f, "{backend}: idle");
        }
        write!(f, "{backend}: {attempts} requests")?;
        if !self.span.is_zero() {
            write!(f, ", {:.1}/s", attempts as f64 / self.span.as_secs_f64())?;
        }
        if let Some(rate) = totals.error_rate() {
            write!(f, ", {:.2}% failed", rate * 100.0)?;
        }
        if let Some(p95) = totals.total.histogram.quantile(0.95) {
            write!(f, ", p95 {:.1}ms", p95.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

/// The counts above zero, largest first.
fn write_counts(f: &mut fmt::Formatter<'_>, of: &str, counts: &[(&str, u64)]) -> fmt::Result {
    let mut counts: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if counts.is_empty() {
        return Ok(());
    }
    let parts: Vec<_> = counts.iter().map(|(label, count)| format!("{label} {count}")).collect();
    write!(f, "{of}: {}; ", parts.join(", "))
}

/// A span of time in its two largest units.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds}s"),
            (0, 0, _) => write!(f, "{minutes}m {}s", seconds % 60),
            (0, _, _) => write!(f, "{hours}h {}m", minutes % 60),
            _ => write!(f, "{days}d {}h", hours % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::recorder::{
            Recorder,
            tests::{names, ok},
        },
        *,
    };
    use crate::domain::{Class, Outcome};

    #[test]
    fn the_line_names_traffic_errors_memory_and_time() {
        let recorder = Recorder::new(1);
        let shard = recorder.shard(0);
        let (route, blue) = names("api", "blue");
        let (_, green) = names("api", "green");
        let series = recorder.series(&route, &blue).unwrap();
        recorder.series(&route, &green).unwrap();
        (0..99).for_each(|_| shard.record(series, &ok(8)));
        shard.record(series, &Outcome { class: Class::Failure, ..ok(8) });
        let pair = recorder.fallback(&route, &green, &blue).unwrap();
        (0..3).for_each(|_| shard.fallback(pair));
        shard.error(ErrorReason::NoRoute);
        (0..2).for_each(|_| shard.error(ErrorReason::HeadTimeout));
        shard.overflow(Queue::InFlight);
        let summary = Summary {
            since_last: &recorder.snapshot(),
            span: Duration::from_secs(30),
            memory_bytes: Some(34 << 20),
            uptime: Duration::from_secs(7_400),
        };
        assert_eq!(
            summary.to_string(),
            "blue: 100 requests, 3.3/s, 1.00% failed, p95 8.0ms; green: idle; fallbacks: 3; \
             errors: head_timeout 2, no_route 1; overflows: in_flight 1; memory 34.0 MiB; up 2h 3m"
        );
    }

    #[test]
    fn a_quiet_process_says_so_in_few_words() {
        let summary = Summary {
            since_last: &Snapshot::default(),
            span: Duration::ZERO,
            memory_bytes: None,
            uptime: Duration::from_secs(59),
        };
        assert_eq!(summary.to_string(), "up 59s");
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        let spans = [0, 61, 3_600, 90_000].map(|s| Span(Duration::from_secs(s)).to_string());
        assert_eq!(spans, ["0s", "1m 1s", "1h 0m", "1d 1h"]);
    }
}
