//! What Tidegate knows of itself: counters, their export, events and logs.
//!
//! Workers write [`Shard`]s, everything else reads [`Snapshot`]s: the judge, `/metrics` and the log see the same numbers.

mod events;
mod recorder;
mod shard;
mod snapshot;

pub use events::{EVENT_QUEUE, Event, EventKind, EventSink, SELF_ACTOR};
pub use recorder::{Recorder, SeriesExhausted};
pub use shard::{MAX_SERIES, Shard};
pub use snapshot::{SeriesSnapshot, Snapshot};
