//! All that encryption needs, as the files had it at one moment.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use super::{Certificate, ClientTls, ServerTls, files::Files};
use crate::{
    config::{
        Config, FileFault,
        model::{BackendProtocol, BackendTls, Protocol},
    },
    domain::BackendName,
};

/// What connections are made with, by who makes them; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Material(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    listeners: HashMap<SocketAddr, Arc<ServerTls>>,
    backends: HashMap<BackendName, ((BackendTls, BackendProtocol), Arc<ClientTls>)>,
    admin: Option<Arc<ServerTls>>,
    certificates: Vec<Certificate>,
    digest: u64,
}

/// Two are the same when files of the same names had the same content.
impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Material {
    /// Reads and checks every file that `config` names for encryption. What goes on from `previous` are the sessions of clients
    /// and, where nothing has changed, those with endpoints. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn read(config: &Config, previous: Option<&Self>) -> Result<Self, Vec<FileFault>> {
        let files = Files::read(config);
        let mut parts = Parts { digest: files.digest(), ..Parts::default() };
        let unchanged = previous.filter(|previous| previous.0.digest == parts.digest);
        let mut errors = Vec::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            let Some(tls) = &listener.tls else { continue };
            let at = format!("listener[{index}]");
            let owner = format!("listener {}", listener.bind);
            let before = previous.and_then(|previous| previous.listener(listener.bind));
            let auth = tls.client_auth.as_ref();
            let shown = tls.certificates.iter().enumerate();
            let shown: Vec<_> =
                shown.map(|(index, of)| (format!("{at}.certificate[{index}]."), of)).collect();
            let (speaks, before) = (&listener.protocols, before.map(|b| &**b));
            match ServerTls::read(&owner, &at, &shown, auth, speaks, before, &files) {
                Ok((server, certificates)) => {
                    parts.listeners.insert(listener.bind, Arc::new(server));
                    parts.certificates.extend(certificates);
                }
                Err(why) => errors.extend(why),
            }
        }
        for backend in &config.backends {
            let Some(tls) = &backend.tls else { continue };
            let owner = format!("backend {}", backend.name);
            let at = format!("backend.{}.tls", backend.name);
            match ClientTls::read(&owner, &at, tls, backend.protocol, &files) {
                Ok((client, certificate)) => {
                    let before = unchanged.and_then(|same| same.0.backends.get(&backend.name));
                    let settings = (tls.clone(), backend.protocol);
                    let same = before.filter(|(before, _)| *before == settings);
                    let client = same.map_or_else(|| Arc::new(client), |(_, kept)| kept.clone());
                    parts.backends.insert(backend.name.clone(), (settings, client));
                    parts.certificates.extend(certificate);
                }
                Err(why) => errors.extend(why),
            }
        }
        if let Some(own) = &config.admin.tls {
            let before = previous.and_then(Self::admin);
            let (at, speaks) = ("admin.tls", &[Protocol::Http1]);
            let (own, before) = ([(format!("{at}."), own)], before.map(|b| &**b));
            match ServerTls::read("admin", at, &own, None, speaks, before, &files) {
                Ok((server, certificates)) => {
                    parts.admin = Some(Arc::new(server));
                    parts.certificates.extend(certificates);
                }
                Err(why) => errors.extend(why),
            }
        }
        if errors.is_empty() { Ok(Self(Arc::new(parts))) } else { Err(errors) }
    }

    /// What the listener that is configured at `bind` takes connections with.
    pub fn listener(&self, bind: SocketAddr) -> Option<&Arc<ServerTls>> {
        self.0.listeners.get(&bind)
    }

    /// What connections to the endpoints of `backend` are made with.
    pub fn backend(&self, backend: &BackendName) -> Option<&Arc<ClientTls>> {
        self.0.backends.get(backend).map(|(_, client)| client)
    }

    /// What the operator's side takes connections with.
    pub fn admin(&self) -> Option<&Arc<ServerTls>> {
        self.0.admin.as_ref()
    }

    /// Every certificate that is shown to somebody.
    pub fn certificates(&self) -> &[Certificate] {
        &self.0.certificates
    }

    /// A hash of the files, as [`super::digest`] makes it.
    pub fn digest(&self) -> u64 {
        self.0.digest
    }

    /// What certificates `next` has that differ from those here, for people.
    pub fn changes(&self, next: &Self) -> Vec<String> {
        if self == next {
            return Vec::new();
        }
        let known = |new: &Certificate| {
            self.0.certificates.iter().any(|old| (&old.owner, &old.der) == (&new.owner, &new.der))
        };
        let fresh = next.0.certificates.iter().filter(|new| !known(new));
        let mut changes: Vec<_> = fresh
            .map(|new| {
                let (owner, file) = (&new.owner, new.file.display());
                format!("{owner}: certificate {file} is new, and good until {}", new.ends())
            })
            .collect();
        if changes.is_empty() {
            changes.push("files for TLS changed".to_owned());
        }
        changes
    }
}
