//! Raw bytes against the real binary: what it refuses, what it passes on, and how it bears broken peers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by a panic, and measures real time"
)]

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "../support/mod.rs"]
mod support;

mod access_log;
mod answers;
mod believed;
mod blame;
mod comparison;
mod compress;
mod edge_rules;
mod fallback;
mod forwarding;
mod framing;
mod gathering;
mod grpc_health;
mod http2;
mod http2_limits;
mod http2_refusals;
mod http2_upstream;
mod http2_websocket;
mod https;
mod limits;
mod malformed;
mod messages;
mod mirror;
mod oracle;
mod pool;
mod proxy_protocol;
mod rate_limit;
mod recall;
mod retry;
mod slow;
mod stage;
mod tls;
mod tls_upstream;
mod trace_sampling;
mod traces;
mod unix_upstream;
mod upgrade;
mod uploads;
mod upstream_faults;
mod valid;
