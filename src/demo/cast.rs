//! Who plays beside Tidegate: two sample servers, the load, and an operator.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use super::{
    Error,
    load::{Load, Volume},
    operator::Operator,
    picture::Reading,
    sample::{Fault, Sample},
    side::{Side, Sides},
};
use crate::lifecycle::clock;

/// All that runs beside Tidegate. The load ends before the servers do.
#[derive(Debug)]
pub(super) struct Cast {
    /// Sessions that ask.
    pub(super) load: Load,
    /// Who watches the weights.
    pub(super) operator: Operator,
    samples: Sides<Sample>,
}

impl Cast {
    /// Begins the load on `proxy`, behind which the `samples` stand.
    pub(super) fn start(
        samples: Sides<Sample>,
        proxy: SocketAddr,
        socket: &Path,
        volume: Volume,
    ) -> Result<Self, Error> {
        Ok(Self { load: Load::start(proxy, volume)?, operator: Operator::new(socket), samples })
    }

    /// From now on green fails in this way.
    pub(super) fn spoil_green(&self, fault: Fault) {
        self.samples[Side::Green].fail(fault);
    }

    /// The counters as they stand.
    pub(super) fn reading(&self) -> Reading {
        let seen = Sides::of(|side| self.samples[side].requests());
        Reading { at: clock::now(), seen, tally: self.load.tally() }
    }

    /// Requests by session that each server has seen since the last call.
    pub(super) fn take_sessions(&self) -> Sides<BTreeMap<u32, u64>> {
        Sides::of(|side| self.samples[side].take_sessions())
    }
}
