//! Encryption: files with certificates and keys, read and checked, and what connections are made with.
//!
//! Everything here is made whole or not at all, away from a request's way, and then only looked at. A new file leads to a
//! new [`Material`] beside the old one, which connections under way keep.

mod certificate;
mod client;
mod files;
mod material;
mod ocsp;
mod server;

pub use certificate::{Certificate, not_after_s};
pub use client::ClientTls;
pub use files::digest;
pub use material::Material;
pub use server::ServerTls;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The one provider of cryptography, whatever a library makes the process's default.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    &PROVIDER
}

#[cfg(test)]
mod tests;
