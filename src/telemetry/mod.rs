//! What Tidegate knows of itself: counters, their export, events and logs.
//!
//! Workers write [`Shard`]s, everything else reads [`Snapshot`]s: the judge, `/metrics` and the log see the same numbers.

mod access_log;
mod error;
mod events;
mod exporter;
mod gauges;
mod log_file;
mod log_queue;
pub mod logging;
pub mod names;
mod recorder;
mod shard;
mod snapshot;
pub mod spans;
mod summary;

pub use access_log::{AccessBuffer, AccessLog};
pub use error::Error;
pub use events::{EVENT_QUEUE, Event, EventKind, EventSink, SELF_ACTOR};
pub use exporter::{Exporter, METRICS_CONTENT_TYPE};
pub use gauges::{
    CertificateGauge, EndpointGauge, Gauges, ListenerGauge, NotificationCount, RateLimitCount,
    RolloutGauge, SplitWeight,
};
pub use recorder::{Recorder, SeriesExhausted};
pub use shard::{MAX_SERIES, Shard};
pub use snapshot::{FallbackSnapshot, MirrorSnapshot, SeriesSnapshot, Snapshot, SpanCounts};
pub use spans::{SpanBatch, SpanBuffer, SpanSink};
pub use summary::Summary;
