//! Memory that an idle keep-alive connection costs: resident memory with many of them, less
//! resident memory before, by their number.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    measure::Family,
    peers::{Billing, Kind, Peer},
    stage::Stage,
};

/// Connections held for each figure.
pub(crate) const CONNECTIONS: usize = 3_000;
const WARM_UP_CONNECTIONS: usize = 64;
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: bench.test\r\nCookie: session=s1\r\n\r\n";
const SETTLED_AFTER: usize = 3;

/// KiB for each idle connection.
pub(crate) struct Idle {
    /// The peer.
    pub(crate) kind: Kind,
    /// Of connections that have had one request answered.
    pub(crate) used_kib: f64,
    /// Of connections that have never sent a byte.
    pub(crate) silent_kib: f64,
}

/// Measures one kind of peer, with a fresh process for each of the two figures.
pub(crate) fn measure(stage: &mut Stage, kind: Kind, billing: &Billing) -> Result<Idle> {
    let used_kib = measure_one(stage, kind, billing, Some(REQUEST))?;
    let silent_kib = measure_one(stage, kind, billing, None)?;
    Ok(Idle { kind, used_kib, silent_kib })
}

fn measure_one(
    stage: &mut Stage,
    kind: Kind,
    billing: &Billing,
    request: Option<&[u8]>,
) -> Result<f64> {
    let peer = Peer::start(kind, billing, 1, stage)?;
    let address = peer.address();
    // What a first request allocates for good is not the connections' to pay.
    drop(stage.serve(|| connect(address, WARM_UP_CONNECTIONS, Some(REQUEST)))??);
    let before = stage.serve(|| settled_bytes(peer.family()))??;
    let held = stage.serve(|| connect(address, CONNECTIONS, request))??;
    let after = stage.serve(|| settled_bytes(peer.family()))??;
    drop(held);
    Ok(after.saturating_sub(before) as f64 / CONNECTIONS as f64 / 1024.0)
}

fn connect(address: SocketAddr, count: usize, request: Option<&[u8]>) -> Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(count);
    let mut buffer = [0; 4096];
    for _ in 0..count {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        if let Some(request) = request {
            stream.write_all(request)?;
            let read_len = stream.read(&mut buffer)?;
            ensure!(crate::http1::is_ok(&buffer[..read_len]), "no good answer while connecting");
        }
        held.push(stream);
    }
    Ok(held)
}

/// Resident memory once it has read the same some times in a row, or after three seconds.
pub(crate) fn settled_bytes(family: &Family) -> Result<u64> {
    let mut last = family.resident_bytes()?;
    let mut same = 0;
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        let now = family.resident_bytes()?;
        same = if now == last { same + 1 } else { 0 };
        last = now;
        if same == SETTLED_AFTER {
            break;
        }
    }
    Ok(last)
}
