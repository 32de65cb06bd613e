//! What became of spans that were handed over to be sent.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Recorder;
use crate::telemetry::SpanCounts;

#[derive(Debug, Default)]
pub(super) struct Spans {
    exported: AtomicU64,
    failed: AtomicU64,
}

impl Spans {
    pub(super) fn read(&self) -> SpanCounts {
        SpanCounts { exported: self.exported.load(Relaxed), failed: self.failed.load(Relaxed) }
    }
}

impl Recorder {
    /// The collector has taken `count` spans.
    pub fn spans_exported(&self, count: u64) {
        self.spans.exported.fetch_add(count, Relaxed);
    }

    /// The collector has not taken `count` spans, and they are given up.
    pub fn spans_failed(&self, count: u64) {
        self.spans.failed.fetch_add(count, Relaxed);
    }
}
