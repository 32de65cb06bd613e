//! Tidegate against its peers: CPU time a request, latency, memory of an idle connection.
//!
//! `benches/peers/run` is the way to start it; `benches/README.md` says what is measured and what
//! the figures do not show. This process holds upstream and load on one core (`stage`), starts
//! each peer on another (`peers`), and reads what they cost from the kernel (`measure`).

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

mod configs;
mod handshakes;
mod http1;
mod http2;
mod idle;
mod load;
mod measure;
mod peers;
mod relay;
mod report;
mod rounds;
mod stage;
mod syscalls;
mod upstream;

use std::{
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::{
    peers::{Billing, Kind, Peer},
    rounds::{Contender, Effort},
    stage::Stage,
};

/// Set on the process once it is pinned, so that it is pinned once.
const PINNED: &str = "TIDEGATE_BENCH_PINNED";
/// Idle connections on both sides of a relay, and room.
const OPEN_FILES: &str = "--nofile=16384:";

/// Compares proxies on one core each, in interleaved rounds.
#[derive(Debug, Parser)]
struct Arguments {
    /// Who is compared.
    #[arg(long, value_delimiter = ',', default_value = "relay,nginx,haproxy,tidegate")]
    peers: Vec<Kind>,
    /// What is measured.
    #[arg(long, value_delimiter = ',', default_value = "small,10k,1m,upload,idle,routes,tls,h2")]
    scenario: Vec<Scenario>,
    /// Rounds of each comparison.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Measured seconds of each slice.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests a second of the paced slices; without it, half of what the slowest peer can do.
    #[arg(long)]
    rate: Option<f64>,
    /// Core of the peer under test.
    #[arg(long, default_value_t = 0)]
    peer_core: usize,
    /// Core of load and upstream.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// The tidegate binary.
    #[arg(long, env = "TIDEGATE_BIN")]
    tidegate: Option<PathBuf>,
    /// Also writes the tables into benches/README.md.
    #[arg(long)]
    write: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the byte relay: listen, blue, green.
    #[arg(long, hide = true, num_args = 3)]
    relay: Option<Vec<SocketAddr>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Bodies of 100 bytes.
    Small,
    /// Bodies of 10 KiB.
    #[value(name = "10k")]
    TenKib,
    /// Bodies of 1 MiB.
    #[value(name = "1m")]
    OneMib,
    /// Requests with bodies of 64 KiB.
    Upload,
    /// Memory of an idle connection.
    Idle,
    /// Tidegate alone with 1, 100 and 10 000 routes.
    Routes,
    /// New connections under TLS.
    Tls,
    /// Requests over HTTP/2.
    H2,
    /// System calls a request, by strace.
    Syscalls,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some([listen, blue, green]) = arguments.relay.as_deref() {
        return relay::run(*listen, [*blue, *green]);
    }
    if !arguments.bench {
        println!("peers: nothing to do without --bench; see benches/README.md");
        return Ok(());
    }
    if std::env::var_os(PINNED).is_none() {
        return Err(pin(arguments.load_core));
    }
    ensure!(arguments.rounds > 0 && arguments.seconds > 0.0, "rounds and seconds must be above 0");
    ensure!(arguments.connections > 0, "connections must be above 0");
    ensure!(arguments.peer_core != arguments.load_core, "peer and load need a core each");
    Bench::prepare(arguments)?.run()
}

/// Starts this process anew on its core, with files enough; returns only on failure.
fn pin(core: usize) -> anyhow::Error {
    let bench = match std::env::current_exe() {
        Ok(bench) => bench,
        Err(error) => return error.into(),
    };
    let error = Command::new("taskset")
        .args(["--cpu-list", &core.to_string(), "prlimit", OPEN_FILES])
        .arg(bench)
        .args(std::env::args_os().skip(1))
        .env(PINNED, "1")
        .exec();
    anyhow::Error::new(error).context("cannot start taskset (package util-linux)")
}

struct Bench {
    arguments: Arguments,
    billing: Billing,
    stage: Stage,
}

impl Bench {
    fn prepare(arguments: Arguments) -> Result<Self> {
        let built = option_env!("CARGO_BIN_EXE_tidegate").map(PathBuf::from);
        let tidegate = arguments.tidegate.clone().or(built);
        let tidegate = tidegate.context("where is the tidegate binary? give --tidegate PATH")?;
        let billing = Billing { core: arguments.peer_core, tidegate };
        Ok(Self { arguments, billing, stage: Stage::set()? })
    }

    fn run(mut self) -> Result<()> {
        self.publish("machine", &self.facts())?;
        for scenario in self.arguments.scenario.clone() {
            match scenario {
                Scenario::Small => self.compare("small", "/small")?,
                Scenario::TenKib => self.compare("10k", "/10k")?,
                Scenario::OneMib => self.compare("1m", "/1m")?,
                Scenario::Upload => self.compare("upload", load::UPLOAD)?,
                Scenario::Idle => self.measure_idle()?,
                Scenario::Routes => self.compare_routes()?,
                Scenario::Tls => self.shake_hands()?,
                Scenario::H2 => self.compare_http2()?,
                Scenario::Syscalls => self.count_syscalls()?,
            }
        }
        Ok(())
    }

    fn facts(&self) -> String {
        let mut facts = vec![measure::machine()];
        let kinds = self.arguments.peers.iter();
        facts.extend(kinds.filter_map(|kind| peers::version(*kind, &self.billing)));
        let Arguments { rounds, seconds, connections, .. } = &self.arguments;
        facts.push(format!("{rounds} rounds of {seconds} s slices, {connections} connections"));
        facts.join("; ") + "."
    }

    fn effort(&self) -> Effort {
        Effort {
            rounds: self.arguments.rounds,
            slice: Duration::from_secs_f64(self.arguments.seconds),
            connections: self.arguments.connections,
            rate: self.arguments.rate,
        }
    }

    fn compare(&mut self, scenario: &str, path: &str) -> Result<()> {
        eprintln!("{scenario}:");
        let mut peers = Vec::new();
        for kind in self.arguments.peers.clone() {
            peers.push(Peer::start(kind, &self.billing, 1, &mut self.stage)?);
        }
        let contenders: Vec<Contender<'_>> = peers
            .iter()
            .map(|peer| {
                let name = peer.kind().to_string();
                Contender { name, peer, paths: vec![path.to_owned()] }
            })
            .collect();
        let effort = self.effort();
        let outcome = rounds::play(&mut self.stage, &contenders, effort)?;
        self.publish(scenario, &report::comparison(&outcome, &["Nginx", "HAProxy"])?)
    }

    fn compare_routes(&mut self) -> Result<()> {
        eprintln!("routes:");
        let mut peers = Vec::new();
        for routes in [1, 100, 10_000] {
            peers.push((
                routes,
                Peer::start(Kind::Tidegate, &self.billing, routes, &mut self.stage)?,
            ));
        }
        let mut contenders = Vec::new();
        for (routes, peer) in &peers {
            let name = match routes {
                1 => "1 route".to_owned(),
                _ => format!("{routes} routes, the last"),
            };
            let last = format!("/r{}", routes - 1);
            contenders.push(Contender { name, peer, paths: vec![last] });
            if *routes > 1 {
                let step = (routes / load::SESSIONS).max(1);
                let paths = (0..*routes).step_by(step).map(|number| format!("/r{number}"));
                let name = format!("{routes} routes, by turns");
                contenders.push(Contender { name, peer, paths: paths.collect() });
            }
        }
        let effort = self.effort();
        let outcome = rounds::play(&mut self.stage, &contenders, effort)?;
        self.publish("routes", &report::comparison(&outcome, &["1 route"])?)
    }

    fn measure_idle(&mut self) -> Result<()> {
        eprintln!("idle: {} connections", idle::CONNECTIONS);
        let mut rows = Vec::new();
        for kind in self.arguments.peers.clone() {
            rows.push(idle::measure(&mut self.stage, kind, &self.billing)?);
        }
        self.publish("idle", &report::idle(&rows)?)
    }

    fn shake_hands(&mut self) -> Result<()> {
        eprintln!("tls:");
        let Arguments { peers, rounds, .. } = &self.arguments;
        let shaken = handshakes::measure(&mut self.stage, peers, &self.billing, *rounds)?;
        self.publish("tls", &report::handshakes(&shaken)?)
    }

    fn compare_http2(&mut self) -> Result<()> {
        eprintln!("h2:");
        let Arguments { peers, rounds, .. } = &self.arguments;
        let costs = http2::measure(&mut self.stage, peers, &self.billing, *rounds)?;
        self.publish("h2", &report::http2(&costs)?)
    }

    fn count_syscalls(&mut self) -> Result<()> {
        if !syscalls::available() {
            bail!("syscalls: strace is not installed");
        }
        let mut rows = Vec::new();
        for kind in self.arguments.peers.clone() {
            let connections = self.arguments.connections;
            let calls = syscalls::count(&mut self.stage, kind, &self.billing, connections)?;
            rows.push((kind, calls));
        }
        self.publish("syscalls", &report::syscalls(&rows)?)
    }

    fn publish(&self, scenario: &str, table: &str) -> Result<()> {
        println!("\n## {scenario}\n\n{table}");
        if self.arguments.write {
            let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/README.md");
            report::write_into(&readme, scenario, table)?;
        }
        Ok(())
    }
}
