//! Counters and what is read off them: distributions of latencies, totals of attempts, and their differences.

mod histogram;
mod totals;
mod window;

pub use histogram::{
    Histogram, LATENCY_BUCKETS, OCTAVE_BUCKETS, OCTAVES, bucket_index, upper_bound,
};
pub use totals::{Latencies, Totals, rounded_micros};
pub use window::{Counts, Window};

#[cfg(test)]
pub(crate) use totals::tests;
