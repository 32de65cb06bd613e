//! What encryption needs to know; the files themselves are read by `tls`.

use std::{path::PathBuf, time::Duration};

/// A certificate's files, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead from it towards a root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority's word that it is not revoked, in DER form as it came.
    pub ocsp: Option<PathBuf>,
}

/// Encryption of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first answers clients that name no host that another one has.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show certificates.
    pub client_auth: Option<ClientAuth>,
    /// A handshake must be complete this long after the connection came.
    pub handshake_timeout: Duration,
    /// Handshakes under way at once, over all workers.
    pub max_handshakes: u32,
}

/// `[listener.client_auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// Authorities whose clients are taken, in PEM form.
    pub ca: PathBuf,
    /// Without a certificate there is no connection.
    pub required: bool,
}

/// `[backend.NAME.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendTls {
    /// Authorities whose endpoints are taken, in PEM form; `None`: the platform's.
    pub ca: Option<PathBuf>,
    /// The name that certificates must have; `None`: the endpoint's own.
    pub server_name: Option<Box<str>>,
    /// What is shown to endpoints that ask.
    pub client: Option<CertificateFiles>,
    /// Take any certificate.
    pub insecure: bool,
}
