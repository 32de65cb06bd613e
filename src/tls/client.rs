//! What connections to a backend's endpoints are made with.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime},
    sign::SingleCertAndKey,
};

use super::{
    certificate::{Certificate, Identity, authorities},
    files::Files,
    provider,
    server::by_name_of,
};
use crate::{
    config::model::{BackendProtocol, BackendTls},
    domain::{EndpointAddress, Location},
};

/// Who is trusted, and what is shown; connections that began keep theirs when it is replaced.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Reads and checks the files of `owner`'s `settings`.
    pub(super) fn read(
        owner: &str,
        settings: &BackendTls,
        protocol: BackendProtocol,
        files: &Files,
    ) -> Result<(Self, Option<Certificate>), Vec<String>> {
        let BackendTls { ca, server_name, client, insecure } = settings;
        let mut errors = Vec::new();
        let mut tell = |key: &str, why: String| errors.push(format!("{owner}: tls.{key}: {why}"));
        let verifier = match (insecure, ca) {
            (true, _) => Ok(TakesAny::verifier()),
            (false, Some(ca)) => authorities(ca, files).and_then(|roots| {
                let built = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    provider().clone(),
                );
                let built = built.build().map_err(|error| format!("{}: {error}", ca.display()))?;
                Ok(built as Arc<dyn ServerCertVerifier>)
            }),
            (false, None) => platform(),
        };
        let verifier = verifier.map_err(|why| tell("ca", why)).ok();
        let identity = client.as_ref().map(|client| Identity::read(client, owner, files));
        let identity = identity.transpose().map_err(|why| tell("client_cert", why)).ok();
        let name = server_name.as_deref().map(parse_name).transpose();
        let name = name.map_err(|error| tell("server_name", error.to_string())).ok();
        let (Some(verifier), Some(identity), Some(server_name)) = (verifier, identity, name) else {
            return Err(errors);
        };
        let builder = ClientConfig::builder_with_provider(provider().clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| vec![format!("{owner}: {error}")])?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &identity {
            Some(Identity { key, .. }) => {
                let shown = SingleCertAndKey::from(key.clone());
                builder.with_client_cert_resolver(Arc::new(shown))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = by_name_of(protocol.versions());
        let certificate = identity.map(|identity| identity.certificate);
        Ok((Self { config: Arc::new(config), server_name }, certificate))
    }

    /// For connections to Tidegate's own listener, by one of its names: whoever has its key is it.
    pub fn to_itself(name: &str) -> Option<Self> {
        let config = ClientConfig::builder_with_provider(provider().clone())
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(TakesAny::verifier())
            .with_no_client_auth();
        Some(Self { config: Arc::new(config), server_name: Some(parse_name(name).ok()?) })
    }

    /// For the library.
    pub const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The name that the certificate of the endpoint at `address` must have.
    ///
    /// # Errors
    /// The endpoint's own name is none that a certificate could have.
    pub fn name_for(
        &self,
        address: &EndpointAddress,
    ) -> Result<ServerName<'static>, InvalidDnsNameError> {
        match (&self.server_name, address.location()) {
            (Some(name), _) => Ok(name.clone()),
            (None, Location::Network { host, .. }) => parse_name(host),
            (None, Location::Unix(_)) => Err(InvalidDnsNameError),
        }
    }
}

fn parse_name(text: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    ServerName::try_from(bare.to_owned())
}

/// Trusts those whom the system trusts.
fn platform() -> Result<Arc<dyn ServerCertVerifier>, String> {
    let verifier = rustls_platform_verifier::Verifier::new(provider().clone());
    let verifier = verifier.map_err(|error| {
        format!(
            "the platform has no authorities ({error}); install ca-certificates, or name a file"
        )
    })?;
    Ok(Arc::new(verifier))
}

/// Takes any certificate, but from nobody who lacks its key.
#[derive(Debug)]
struct TakesAny(WebPkiSupportedAlgorithms);

impl TakesAny {
    fn verifier() -> Arc<dyn ServerCertVerifier> {
        Arc::new(Self(provider().signature_verification_algorithms))
    }
}

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
