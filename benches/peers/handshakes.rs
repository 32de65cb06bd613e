//! What a new connection under TLS costs, and what an idle one: full handshakes one after the other, each followed by one
//! request and an orderly close.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, ensure};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::{
    idle::settled_bytes,
    peers::{self, Billing, Kind, Peer},
    rounds::{Costs, take_turns},
    stage::Stage,
};

/// Connections of one slice.
const SLICE: usize = 500;
/// Idle connections held for the figure of memory.
const IDLE: usize = 1_000;
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: bench.test\r\nCookie: session=s1\r\n\r\n";

/// What a new connection costs each peer, and what an idle one holds, in KiB.
pub(crate) fn measure(
    stage: &mut Stage,
    kinds: &[Kind],
    billing: &Billing,
    rounds: usize,
) -> Result<Vec<(Costs, f64)>> {
    let peers = peers::encrypting(kinds, billing, stage)?;
    let costs = take_turns(stage, &peers, rounds, SLICE, |peer, count| {
        let config = client(peer)?;
        (0..count).try_for_each(|_| open(peer.encrypted(), &config).map(drop))
    })?;
    let idle: Result<Vec<_>> = peers.iter().map(|peer| idle_kib(stage, peer)).collect();
    Ok(costs.into_iter().zip(idle?).collect())
}

/// Memory of an idle connection that has had one request answered.
fn idle_kib(stage: &mut Stage, peer: &Peer) -> Result<f64> {
    let (address, config) = (peer.encrypted(), client(peer)?);
    let before = stage.serve(|| settled_bytes(peer.family()))??;
    let held: Result<Vec<_>> =
        stage.serve(|| (0..IDLE).map(|_| open(address, &config)).collect())?;
    let held = held?;
    let after = stage.serve(|| settled_bytes(peer.family()))??;
    drop(held);
    Ok(after.saturating_sub(before) as f64 / IDLE as f64 / 1024.0)
}

fn client(peer: &Peer) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(peer.certificate())?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// A new session with one request answered; it ends in order when it is dropped.
struct Open(Encrypted);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.conn.send_close_notify();
        // Whoever has gone need not be told.
        let _ = self.0.flush();
    }
}

fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Open> {
    let tcp = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
    let session = ClientConnection::new(config.clone(), ServerName::try_from("bench.test")?)?;
    let mut stream = StreamOwned::new(session, tcp);
    stream.write_all(REQUEST)?;
    let mut buffer = [0; 4096];
    let read_len = stream.read(&mut buffer)?;
    ensure!(crate::http1::is_ok(&buffer[..read_len]), "no good answer under TLS");
    let full = [HandshakeKind::Full, HandshakeKind::FullWithHelloRetryRequest];
    ensure!(stream.conn.handshake_kind().is_some_and(|kind| full.contains(&kind)), "resumed");
    Ok(Open(stream))
}
