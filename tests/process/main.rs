//! The real binary with real clients: what operators and users of a running Tidegate rely on.
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

mod admin;
mod browser;
mod cli;
mod clients;
mod cut;
mod daemon;
mod demo;
mod disk;
mod drain;
mod encrypted;
mod endpoints;
mod follow;
mod grpc_health;
mod http2;
mod load;
mod load_http2;
mod masked;
mod mirror;
mod mortal;
mod outside;
mod python;
mod reload;
mod resources;
mod rollout;
mod rollout_state;
mod service;
mod split;
mod state;
mod steering;
mod stuck;
mod tls;
mod traces;
mod upgrade;
