//! The average latency of an endpoint, as each worker knows it by its own requests.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{decision::ewma::Ewma, domain::Moment};

/// An average for each worker, on cache lines of its own; made when the first of them is needed.
#[derive(Debug)]
pub(super) struct WorkerLatency {
    workers: usize,
    cells: OnceLock<Box<[Cell]>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    average_us: AtomicU64,
    at: AtomicU64,
}

impl WorkerLatency {
    /// Nothing known, for `workers` writers.
    pub(super) const fn new(workers: usize) -> Self {
        Self { workers, cells: OnceLock::new() }
    }

    /// What `worker` knows.
    pub(super) fn of(&self, worker: usize) -> Ewma {
        let Some(cells) = self.cells.get() else { return Ewma::default() };
        let Cell { average_us, at } = &cells[worker];
        let average_us = f64::from_bits(average_us.load(Relaxed));
        Ewma { average_us, at: Moment::from_nanos(at.load(Relaxed)) }
    }

    /// `worker`, which alone writes its cell, has seen one more.
    pub(super) fn note(&self, worker: usize, latency: Duration, failed: bool, now: Moment) {
        let Ewma { average_us, at } = self.of(worker).with(latency, failed, now);
        let make = || (0..self.workers.max(1)).map(|_| Cell::default()).collect();
        let cell = &self.cells.get_or_init(make)[worker];
        cell.average_us.store(average_us.to_bits(), Relaxed);
        cell.at.store(at.as_nanos(), Relaxed);
    }
}
