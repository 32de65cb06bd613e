//! The live side of an endpoint: what outlasts a reload and is seen by every thread.
//!
//! Each worker writes a counter of its own, on a cache line of its own, so that counting a request costs the other
//! workers nothing; whoever wants the total adds them up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use xxhash_rust::xxh3::xxh3_64;

use super::{Addresses, Availability, latency::WorkerLatency};
use crate::domain::{EndpointAddress, Moment};

/// Tells endpoints apart for the life of the process, also when an address comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u64);

/// One address of a backend.
#[derive(Debug)]
pub struct Endpoint {
    id: EndpointId,
    address: EndpointAddress,
    /// The address in a number, the same in every process.
    key: u64,
    availability: Availability,
    addresses: Addresses,
    in_flight: WorkerGauge,
    latency: WorkerLatency,
}

impl Endpoint {
    /// An endpoint that takes requests, for `workers` data-plane threads.
    pub fn new(address: EndpointAddress, workers: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: EndpointId(NEXT.fetch_add(1, Relaxed)),
            key: xxh3_64(address.as_str().as_bytes()),
            addresses: Addresses::new(&address),
            address,
            availability: Availability::default(),
            in_flight: WorkerGauge::new(workers),
            latency: WorkerLatency::new(workers),
        }
    }

    /// Its identity.
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// Where it listens.
    pub const fn address(&self) -> &EndpointAddress {
        &self.address
    }

    /// Its address in a number, the same in every process.
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// Where its connections go.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What keeps requests away from it.
    pub const fn availability(&self) -> &Availability {
        &self.availability
    }

    /// Whether an operator took it out.
    pub fn is_drained(&self) -> bool {
        self.availability.is_drained()
    }

    /// Takes it out (`true`) or back in; running requests are not touched.
    pub fn set_drained(&self, drained: bool) {
        self.availability.set_drained(drained);
    }

    /// Whether new requests may go there.
    pub fn is_usable(&self, now: Moment) -> bool {
        self.availability.is_usable(now)
    }

    /// How long its answers take.
    pub(super) const fn latency(&self) -> &WorkerLatency {
        &self.latency
    }

    /// Requests under way.
    pub const fn in_flight(&self) -> &WorkerGauge {
        &self.in_flight
    }
}

/// A count kept by several workers, each in a cell of its own.
#[derive(Debug)]
pub struct WorkerGauge(Box<[Cell]>);

// Two lines: processors fetch pairs of them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU32);

impl WorkerGauge {
    /// Zero, for `workers` writers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| Cell::default()).collect())
    }

    /// This worker's part.
    pub fn of(&self, worker: usize) -> u32 {
        self.0[worker].0.load(Relaxed)
    }

    /// The whole: the sum over the workers.
    pub fn total(&self) -> u32 {
        self.0.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }

    /// One more, counted by `worker`, which alone writes its cell.
    pub fn enter(&self, worker: usize) {
        let cell = &self.0[worker].0;
        cell.store(cell.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// One less, counted by the `worker` that counted it in.
    pub fn leave(&self, worker: usize) {
        let cell = &self.0[worker].0;
        cell.store(cell.load(Relaxed).wrapping_sub(1), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_adds_up_its_workers() {
        let gauge = WorkerGauge::new(3);
        gauge.enter(0);
        gauge.enter(2);
        gauge.enter(2);
        gauge.leave(0);
        assert_eq!((gauge.of(0), gauge.of(2), gauge.total()), (0, 2, 2));
    }

    #[test]
    fn an_address_that_comes_back_is_another_endpoint() {
        let address: EndpointAddress = "127.0.0.1:1".parse().unwrap();
        assert_ne!(Endpoint::new(address.clone(), 1).id(), Endpoint::new(address, 1).id());
    }
}
