//! The data plane: from a client's socket to an endpoint's and back.
//!
//! It reads one thing, the routing table, and writes one thing, an outcome per attempt. Modules stand in the order of a
//! request's way: `pipeline` lists its chapters.

mod access;
mod affinity;
mod announced;
mod arrival;
mod body;
mod chunks;
mod clients;
mod connection;
mod context;
mod downstream;
mod edge;
mod error;
mod fallback;
mod forward;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
mod head;
mod headers;
mod hex;
mod http2;
mod interim;
mod listener;
mod measure;
mod mirror;
mod outgoing;
mod pace;
mod pipeline;
pub mod proxy_header;
mod registry;
mod replay;
mod respond;
mod retry;
mod room;
mod scan;
mod socket;
mod switch;
mod trace;
mod tunnel;
mod upstream;
mod variables;
mod worker;
mod workers;

pub use listener::CONNECTION_TASK;
pub use workers::{ListenError, ListenerChanges, Workers, WorkersParts};
