//! What a request over HTTP/2 costs, under TLS, with `h2load` for a client.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{
    peers::{self, Billing, Kind, Peer},
    rounds::{Costs, take_turns},
    stage::Stage,
};

/// Connections, and requests under way at once on each.
const CONNECTIONS: usize = 16;
const STREAMS: usize = 16;
/// Requests of one slice.
const SLICE: usize = 60_000;

/// What a request costs each peer.
pub(crate) fn measure(
    stage: &mut Stage,
    kinds: &[Kind],
    billing: &Billing,
    rounds: usize,
) -> Result<Vec<Costs>> {
    let peers = peers::encrypting(kinds, billing, stage)?;
    take_turns(stage, &peers, rounds, SLICE, load)
}

fn load(peer: &Peer, requests: usize) -> Result<()> {
    let mut command = Command::new("h2load");
    command.args(["--threads", "1", "--header", "cookie: session=s1"]);
    command.args(["--clients", &CONNECTIONS.to_string()]);
    command.args(["--max-concurrent-streams", &STREAMS.to_string()]);
    command.args(["--requests", &requests.to_string()]);
    command.arg(format!("https://{}/small", peer.encrypted()));
    let output = command.output().context("cannot start h2load (package nghttp2-client)")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let all_good = said.contains(&format!("status codes: {requests} 2xx"));
    ensure!(said.contains("Application protocol: h2"), "{} speaks no HTTP/2: {said}", peer.kind());
    ensure!(all_good, "{} did not answer all of them: {said}", peer.kind());
    Ok(())
}
