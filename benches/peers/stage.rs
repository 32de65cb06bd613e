//! The stage: one thread and one event loop that hold the upstream and the load together.
//!
//! Load and upstream share a core. As two threads they would preempt one another and the
//! scheduler's moods would show in every latency; in one loop they cannot.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mio::{Events, Poll};

use crate::{
    load::{Load, Pace, Tally},
    upstream::{FIRST_TOKEN, Upstream},
};

const EVENTS_PER_TURN: usize = 128;
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// Upstream and event loop, for the whole run.
pub(crate) struct Stage {
    poll: Poll,
    events: Events,
    upstream: Upstream,
}

/// One stretch of load on one peer.
pub(crate) struct Slice<'a> {
    /// The peer's address.
    pub(crate) target: SocketAddr,
    /// Paths asked for by turns.
    pub(crate) paths: &'a [String],
    /// Keep-alive connections.
    pub(crate) connections: usize,
    /// When requests are sent.
    pub(crate) pace: Pace,
    /// Load that is not measured, before the load that is.
    pub(crate) warm_up: Duration,
    /// Load that is measured.
    pub(crate) length: Duration,
}

/// What a slice has shown, between two readings of a gauge taken while the load ran.
pub(crate) struct Shown<G> {
    /// Answers and latencies.
    pub(crate) tally: Tally,
    /// Time between the two readings.
    pub(crate) elapsed: Duration,
    /// The gauge before and after.
    pub(crate) gauges: [G; 2],
    /// Share of the answered requests that went to green.
    pub(crate) green: f64,
}

impl Stage {
    /// Binds the upstream.
    pub(crate) fn set() -> Result<Self> {
        let poll = Poll::new()?;
        let upstream = Upstream::bind(poll.registry())?;
        Ok(Self { poll, events: Events::with_capacity(EVENTS_PER_TURN), upstream })
    }

    /// Addresses of blue and green.
    pub(crate) fn upstreams(&self) -> Result<[SocketAddr; 2]> {
        self.upstream.addresses()
    }

    /// Plays a slice; `gauge` is read where its measured part begins and ends.
    pub(crate) fn play<G>(
        &mut self,
        slice: &Slice<'_>,
        gauge: impl Fn() -> Result<G>,
    ) -> Result<Shown<G>> {
        let mut load = Load::open(
            self.poll.registry(),
            slice.target,
            slice.connections,
            slice.paths,
            slice.pace,
        )?;
        self.run_until(&mut load, slice.pace, Instant::now() + slice.warm_up)?;
        load.reset();
        let sides = self.upstream.answered();
        let before = gauge()?;
        let begun = Instant::now();
        self.run_until(&mut load, slice.pace, begun + slice.length)?;
        let after = gauge()?;
        let elapsed = begun.elapsed();
        let tally = load.tally();
        ensure!(tally.answered > 0, "no answer at all from {}", slice.target);
        Ok(Shown { tally, elapsed, gauges: [before, after], green: self.green_since(sides) })
    }

    /// Serves the upstream alone while `work` runs on a thread of its own.
    pub(crate) fn serve<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(work);
            while !worker.is_finished() {
                self.turn(None, Duration::from_millis(1))?;
            }
            worker.join().map_err(|_| anyhow::anyhow!("a worker of the bench panicked"))
        })
    }

    fn run_until(&mut self, load: &mut Load, pace: Pace, end: Instant) -> Result<()> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            load.send_due(self.poll.registry())?;
            // A paced load polls without waiting: epoll's millisecond is longer than its gaps.
            let wait = match pace {
                Pace::Closed => LONGEST_WAIT.min(end - now),
                Pace::Paced(_) => Duration::ZERO,
            };
            self.turn(Some(load), wait)?;
        }
    }

    fn turn(&mut self, mut load: Option<&mut Load>, wait: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        for event in &self.events {
            if event.token().0 >= FIRST_TOKEN {
                self.upstream.on_event(self.poll.registry(), event)?;
            } else if let Some(load) = &mut load {
                load.on_event(self.poll.registry(), event)?;
            }
        }
        Ok(())
    }

    fn green_since(&self, before: [u64; 2]) -> f64 {
        let now = self.upstream.answered();
        let [blue, green] = [now[0] - before[0], now[1] - before[1]];
        green as f64 / (blue + green).max(1) as f64
    }
}
