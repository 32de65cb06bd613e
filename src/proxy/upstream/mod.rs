//! The application's side: connections to endpoints, kept per worker, one request at a time each.

mod client;
mod connector;
mod io;
mod pool;

pub(super) use client::{Remains, SendFault, UpstreamConnection};
pub(super) use connector::connect;
pub(super) use io::Upstream;
pub(super) use pool::Pools;
