//! Counters and what is read off them: distributions of latencies, totals of attempts, and their differences.

mod histogram;
mod totals;

pub use histogram::{
    Histogram, LATENCY_BUCKETS, OCTAVE_BUCKETS, OCTAVES, bucket_index, upper_bound,
};
pub use totals::{Latencies, Totals, rounded_micros};

#[cfg(test)]
pub(crate) use totals::tests;
