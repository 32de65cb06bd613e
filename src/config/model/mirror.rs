//! Copies of requests, as the configuration asks for them.

use std::time::Duration;

use crate::domain::{BackendName, MirrorDepth, Weight};

/// `[route.mirror]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The backend that gets the copies; need not be in the split.
    pub to: BackendName,
    /// Share of the route's requests.
    pub share: Weight,
    /// Largest request body that is copied, in bytes.
    pub max_body: u64,
    /// How far its answers are compared.
    pub compare: MirrorDepth,
    /// Methods of requests that are copied.
    pub methods: Vec<http::Method>,
    /// Share of compared requests that are sent a second time to the backend that answered; zero: no noise is learnt.
    pub noise: Weight,
    /// Places that are never compared, as differences name them.
    pub ignore: Vec<Box<str>>,
    /// A copy ends after this.
    pub timeout: Duration,
    /// Copies under way at once on each worker.
    pub max_in_flight: u32,
}
