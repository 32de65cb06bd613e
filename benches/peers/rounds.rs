//! Interleaved rounds: in each, every contender gets a slice, first closed, then paced.
//!
//! A machine drifts: its clock, its neighbours, its caches. Contenders measured one after the
//! other would each get a different machine, so each round gives all of them the same one, begins
//! with another contender, and is compared within itself; medians over rounds are reported.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::{
    load::Pace,
    measure::{Cpu, Family},
    peers::{Kind, Peer},
    stage::{Shown, Slice, Stage},
};

/// Share of the slowest contender's closed rate at which all of them are paced.
const PACED_SHARE: f64 = 0.5;
/// A slice in which something else held a core for a larger share of the time is played again,
pub(crate) const QUIET: f64 = 0.02;
/// at most so often; the least disturbed one counts.
const TRIES: usize = 3;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds.
    pub(crate) rounds: usize,
    /// Measured part of a slice.
    pub(crate) slice: Duration,
    /// Keep-alive connections.
    pub(crate) connections: usize,
    /// Requests a second of the paced slices; `None`: from the first round.
    pub(crate) rate: Option<f64>,
}

/// One of those compared.
pub(crate) struct Contender<'a> {
    /// Its row in the table.
    pub(crate) name: String,
    /// Its process.
    pub(crate) peer: &'a Peer,
    /// What it is asked for.
    pub(crate) paths: Vec<String>,
}

/// What one slice has shown, in the table's units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// CPU time of the peer for each request.
    pub(crate) cpu_us: f64,
    /// Requests answered a second.
    pub(crate) rate: f64,
    /// Share of the time that the peer was on its core.
    pub(crate) busy: f64,
    /// Share of the time that peer or load was ready, but something else held its core.
    pub(crate) disturbed: f64,
    /// Median latency.
    pub(crate) p50_us: f64,
    /// 99th percentile of latency.
    pub(crate) p99_us: f64,
    /// Share that went to green.
    pub(crate) green: f64,
    /// Requests without a good answer.
    pub(crate) failed: u64,
}

/// All slices of one contender, by round.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Row name.
    pub(crate) name: String,
    /// One sample a round, in closed loop.
    pub(crate) closed: Vec<Sample>,
    /// One sample a round, in open loop at the common rate.
    pub(crate) paced: Vec<Sample>,
}

/// The outcome of all rounds.
pub(crate) struct Outcome {
    /// One for each contender, in their order.
    pub(crate) series: Vec<Series>,
    /// Requests a second in the paced slices.
    pub(crate) rate: f64,
}

/// Plays all rounds.
pub(crate) fn play(
    stage: &mut Stage,
    contenders: &[Contender<'_>],
    effort: Effort,
) -> Result<Outcome> {
    let named =
        |contender: &Contender<'_>| Series { name: contender.name.clone(), ..Series::default() };
    let mut series: Vec<Series> = contenders.iter().map(named).collect();
    let mut rate = effort.rate;
    for round in 0..effort.rounds {
        let order = (0..contenders.len()).map(|at| (at + round) % contenders.len());
        for at in order.clone() {
            let sample = play_slice(stage, &contenders[at], effort, Pace::Closed)?;
            series[at].closed.push(sample);
        }
        let slowest = series.iter().map(|one| one.closed[0].rate).fold(f64::INFINITY, f64::min);
        let paced_rate = *rate.get_or_insert(slowest * PACED_SHARE);
        for at in order {
            let sample = play_slice(stage, &contenders[at], effort, Pace::Paced(paced_rate))?;
            series[at].paced.push(sample);
        }
        eprintln!("  round {} of {}", round + 1, effort.rounds);
    }
    Ok(Outcome { series, rate: rate.unwrap_or_default() })
}

fn play_slice(
    stage: &mut Stage,
    contender: &Contender<'_>,
    effort: Effort,
    pace: Pace,
) -> Result<Sample> {
    let slice = Slice {
        target: contender.peer.address(),
        paths: &contender.paths,
        connections: effort.connections,
        pace,
        warm_up: effort.slice / 5,
        length: effort.slice,
    };
    let own = Family::own();
    let mut best: Option<Sample> = None;
    for _ in 0..TRIES {
        let gauge = || Ok([contender.peer.family().cpu()?, own.cpu()?]);
        let sample = Sample::of(stage.play(&slice, gauge)?);
        if best.is_none_or(|best| sample.disturbed < best.disturbed) {
            best = Some(sample);
        }
        if sample.disturbed <= QUIET {
            break;
        }
    }
    best.context("no slice was played")
}

impl Sample {
    fn of(shown: Shown<[Cpu; 2]>) -> Self {
        let [[before, own_before], [after, own_after]] = shown.gauges;
        let elapsed_s = shown.elapsed.as_secs_f64();
        let ran = after.ran.saturating_sub(before.ran);
        let waited = after.waited.saturating_sub(before.waited);
        let held_up = own_after.waited.saturating_sub(own_before.waited).max(waited);
        let answered = shown.tally.answered as f64;
        let mut latencies_ns = shown.tally.latencies_ns;
        latencies_ns.sort_unstable();
        let quantile_us = |share: f64| {
            let rank = (latencies_ns.len() as f64 * share) as usize;
            f64::from(latencies_ns[rank.min(latencies_ns.len() - 1)]) / 1_000.0
        };
        Self {
            cpu_us: ran.as_secs_f64() * 1e6 / answered,
            rate: answered / elapsed_s,
            busy: ran.as_secs_f64() / elapsed_s,
            disturbed: held_up.as_secs_f64() / elapsed_s,
            p50_us: quantile_us(0.50),
            p99_us: quantile_us(0.99),
            green: shown.green,
            failed: shown.tally.failed,
        }
    }
}

/// What one peer has cost, by round.
pub(crate) struct Costs {
    /// The peer.
    pub(crate) kind: Kind,
    /// CPU time for each unit of work.
    pub(crate) cpu_us: Vec<f64>,
}

impl Costs {
    /// CPU time for each unit.
    pub(crate) fn cpu_us(&self) -> f64 {
        median(self.cpu_us.iter().copied())
    }

    /// The same over that of `base`: the median of the rounds' ratios.
    pub(crate) fn ratio(&self, base: &Self) -> f64 {
        median(self.cpu_us.iter().zip(&base.cpu_us).map(|(own, base)| own / base))
    }
}

/// Plays `rounds` in which every peer does `work` of so many units, the first of them another one each time. A round that is not
/// counted, with a tenth of it, warms up.
pub(crate) fn take_turns(
    stage: &mut Stage,
    peers: &[Peer],
    rounds: usize,
    units: usize,
    work: impl Fn(&Peer, usize) -> Result<()> + Sync,
) -> Result<Vec<Costs>> {
    let mut costs: Vec<_> =
        peers.iter().map(|peer| Costs { kind: peer.kind(), cpu_us: Vec::new() }).collect();
    for round in 0..=rounds {
        for turn in 0..peers.len() {
            let at = (round + turn) % peers.len();
            let peer = &peers[at];
            let count = if round == 0 { units.div_ceil(10) } else { units };
            let before = peer.family().cpu()?.ran;
            stage.serve(|| work(peer, count))??;
            let ran = peer.family().cpu()?.ran.saturating_sub(before);
            if round > 0 {
                costs[at].cpu_us.push(ran.as_secs_f64() * 1e6 / count as f64);
            }
        }
    }
    Ok(costs)
}

/// The middle of some values; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

/// Median over rounds of `one`'s value over `other`'s of the same round.
pub(crate) fn median_ratio(one: &[Sample], other: &[Sample], value: fn(&Sample) -> f64) -> f64 {
    median(one.iter().zip(other).map(|(one, other)| value(one) / value(other)))
}
