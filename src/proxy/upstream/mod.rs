//! The application's side: connections to endpoints, kept per worker. Of HTTP/1.1 each carries one request at a time, of
//! HTTP/2 many.

mod client;
mod connection;
mod connector;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod greeting;
mod http2;
mod io;
mod pool;
mod reader;
mod writer;

pub(super) use connection::{Remains, SendFault, UpstreamConnection};
pub(super) use connector::{NO_WEBSOCKET, connect};
pub(super) use io::Upstream;
pub(super) use pool::Pools;
