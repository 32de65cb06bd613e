//! The files that a configuration names, each read once, so that all parts speak of the same moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

use crate::{
    config::{
        Config, FileFault,
        model::{BackendTls, CertificateFiles, ListenerTls},
    },
    lifecycle::read_regular,
};

/// Longest file read; a platform's bundle of authorities has a quarter of it.
const MAX_BYTES: u64 = 1 << 20;

/// Files and what they hold, or why they cannot be read.
pub(super) struct Files(BTreeMap<PathBuf, Result<Vec<u8>, String>>);

impl Files {
    /// Reads every file that `config` names for encryption. Blocks.
    pub(super) fn read(config: &Config) -> Self {
        let read = |path: &Path| read_regular(path, MAX_BYTES).map_err(|error| error.to_string());
        Self(named(config).into_iter().map(|path| (path.to_owned(), read(path))).collect())
    }

    /// What `path` holds, which `key` names.
    pub(super) fn get(&self, key: &str, path: &Path) -> Result<&[u8], FileFault> {
        let why = match self.0.get(path) {
            Some(Ok(bytes)) => return Ok(bytes),
            Some(Err(why)) => why,
            None => "it was not asked for",
        };
        let hint = "name a file that is there, and that Tidegate's user may read";
        Err(fault(key, format!("{} cannot be read: {why}", path.display()), hint))
    }

    /// A hash of names and contents; of a file that cannot be read, that it cannot.
    pub(super) fn digest(&self) -> u64 {
        let mut hash = Xxh3::new();
        for (path, content) in &self.0 {
            hash.update(path.as_os_str().as_encoded_bytes());
            let (mark, bytes) = match content {
                Ok(bytes) => (1, bytes.as_slice()),
                Err(_) => (0, &[][..]),
            };
            hash.update(&[0, mark]);
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        hash.digest()
    }
}

/// What is wrong with the file that `key` names.
pub(super) fn fault(key: &str, message: String, hint: &'static str) -> FileFault {
    FileFault { key: key.to_owned(), message, hint }
}

/// The files that `config` names for encryption, and the hash of what they hold now. Blocks.
pub fn digest(config: &Config) -> (BTreeSet<PathBuf>, u64) {
    let files = Files::read(config);
    let digest = files.digest();
    (files.0.into_keys().collect(), digest)
}

fn named(config: &Config) -> BTreeSet<&Path> {
    let mut named = BTreeSet::new();
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        let ListenerTls { certificates, client_auth, .. } = tls;
        certificates.iter().for_each(|files| add(files, &mut named));
        named.extend(client_auth.iter().map(|auth| auth.ca.as_path()));
    }
    for tls in config.backends.iter().filter_map(|backend| backend.tls.as_ref()) {
        let BackendTls { ca, client, .. } = tls;
        named.extend(ca.as_deref());
        client.iter().for_each(|files| add(files, &mut named));
    }
    config.admin.tls.iter().for_each(|files| add(files, &mut named));
    named
}

fn add<'c>(files: &'c CertificateFiles, named: &mut BTreeSet<&'c Path>) {
    let CertificateFiles { cert, key, ocsp } = files;
    named.extend([cert.as_path(), key.as_path()]);
    named.extend(ocsp.as_deref());
}
