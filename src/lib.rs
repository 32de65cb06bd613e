//! Tidegate: a reverse proxy that splits traffic between backends, measures each side inline, and moves the weights.
//!
//! Modules stand in layer order; imports only go down (`tests/tidy.rs` enforces it). See ARCHITECTURE.md.

pub mod domain;

pub mod config;
pub mod decision;
pub mod lifecycle;

pub mod tls;

pub mod routing;
pub mod telemetry;

pub mod control;
pub mod proxy;

pub mod admin;

pub mod app;

pub mod cli;
pub mod demo;
