//! What a listener's connections are made with.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    ServerConfig, SignatureScheme,
    crypto::aws_lc_rs::Ticketer,
    server::{
        ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
        WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    sign::CertifiedKey,
};

use super::{
    certificate::{Certificate, Identity, authorities},
    files::{Files, fault},
    provider,
};
use crate::config::{
    FileFault,
    model::{CertificateFiles, ClientAuth, Protocol},
};

/// Tickets for later sessions that a client gets at once: browsers open a few connections together, and use each once.
const TICKETS: usize = 2;

/// Certificates and rules of a listener; connections that began keep theirs when it is replaced.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    ticketer: Arc<dyn ProducesTickets>,
    /// Whose clients are taken: the authorities' file as it was read, and whether there is no other way.
    admits: Option<(Vec<u8>, bool)>,
}

impl ServerTls {
    /// Reads and checks the files of `owner`'s `certificates`, each with what the keys that name them begin with; `at` is the
    /// table of all.
    ///
    /// Tickets stay good over a change of certificates, but not over one of `client_auth`: a session that goes on is not asked
    /// for a certificate again.
    pub(super) fn read(
        owner: &str,
        at: &str,
        certificates: &[(String, &CertificateFiles)],
        client_auth: Option<&ClientAuth>,
        protocols: &[Protocol],
        previous: Option<&Self>,
        files: &Files,
    ) -> Result<(Self, Vec<Certificate>), Vec<FileFault>> {
        let mut errors = Vec::new();
        let mut found = Vec::new();
        for (at, of) in certificates {
            match Identity::read(of, owner, at, files) {
                Ok(identity) => found.push(identity),
                Err(why) => errors.push(why),
            }
        }
        let ca = format!("{at}.client_auth.ca");
        let admits = client_auth.map(|auth| admission(&ca, auth, files)).transpose();
        let (verifier, admits) = match admits {
            Ok(admits) => admits.unzip(),
            Err(why) => {
                errors.push(why);
                (None, None)
            }
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let one = |why: String| vec![fault(at, why, "give it a certificate, or report this")];
        let kept = previous.filter(|previous| previous.admits == admits);
        let ticketer = match kept {
            Some(previous) => previous.ticketer.clone(),
            None => Ticketer::new().map_err(|error| one(error.to_string()))?,
        };
        let builder = ServerConfig::builder_with_provider(provider().clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| one(error.to_string()))?;
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let by_name = ByName::new(&found).ok_or_else(|| one("has no certificate".to_owned()))?;
        let mut config = builder.with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols = by_name_of(protocols);
        config.ticketer = ticketer.clone();
        config.send_tls13_tickets = TICKETS;
        // All that a session needs is in its ticket: nothing to keep, and no lock.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let certificates = found.into_iter().map(|identity| identity.certificate).collect();
        Ok((Self { config: Arc::new(config), ticketer, admits }, certificates))
    }

    /// For the library.
    pub const fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }
}

/// The names that a handshake agrees on one of (RFC 7301). The server's order counts: HTTP/2 where both can.
pub(super) fn by_name_of(protocols: &[Protocol]) -> Vec<Vec<u8>> {
    let mut protocols = protocols.to_vec();
    protocols.sort_by_key(|protocol| *protocol != Protocol::Http2);
    protocols.iter().map(|protocol| protocol.name().as_bytes().to_vec()).collect()
}

type Admission = (Arc<dyn ClientCertVerifier>, (Vec<u8>, bool));

fn admission(at: &str, auth: &ClientAuth, files: &Files) -> Result<Admission, FileFault> {
    let roots = Arc::new(authorities(at, &auth.ca, files)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider().clone());
    let verifier = if auth.required { verifier } else { verifier.allow_unauthenticated() };
    let broken = |error| {
        fault(at, format!("{}: {error}", auth.ca.display()), "name the certificate of an authority")
    };
    let verifier = verifier.build().map_err(broken)?;
    Ok((verifier, (files.get(at, &auth.ca)?.to_vec(), auth.required)))
}

/// Chooses a certificate by the name that the client asks for: an exact one before a wildcard, the first for all others.
/// Of several with the same name the first one counts that the client can check.
#[derive(Debug)]
struct ByName {
    first: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows the asterisk, with its dot.
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    fn new(found: &[Identity]) -> Option<Self> {
        let mut by_name = Self {
            first: vec![found.first()?.key.clone()],
            exact: HashMap::new(),
            wildcard: HashMap::new(),
        };
        for Identity { key, certificate } in found {
            for name in &certificate.names {
                let keys = match name.strip_prefix('*') {
                    Some(rest) => by_name.wildcard.entry(rest.to_owned()).or_default(),
                    None => by_name.exact.entry(name.clone()).or_default(),
                };
                keys.push(key.clone());
            }
        }
        // A client that names nobody may still not know the first one's kind of key.
        by_name.first.extend(found.iter().skip(1).map(|identity| identity.key.clone()));
        Some(by_name)
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> &Arc<CertifiedKey> {
        let keys = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            // RFC 6125 §6.4.3: the asterisk stands for one label.
            let rest = || self.wildcard.get(&name[name.find('.')?..]);
            self.exact.get(&name).or_else(rest)
        });
        let keys = keys.unwrap_or(&self.first);
        let known = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        keys.iter().find(known).unwrap_or(&self.first[0])
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name(), hello.signature_schemes()).clone())
    }
}
