//! A certificate with its key, and what it says of itself.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    Error, InconsistentKeys, RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{files::Files, provider};
use crate::config::model::CertificateFiles;

/// A certificate in use, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Who shows it, as `listener 0.0.0.0:443`.
    pub owner: String,
    /// Its file.
    pub file: PathBuf,
    /// The names that it is good for, in lower case.
    pub names: Vec<String>,
    /// Its first second, since 1970 UTC.
    pub not_before_s: i64,
    /// Its last second, since 1970 UTC.
    pub not_after_s: i64,
    /// Tells it from its successor.
    pub(super) der: CertificateDer<'static>,
}

impl Certificate {
    /// When it ends, as `2027-01-31`.
    pub fn ends(&self) -> String {
        let end = jiff::Timestamp::from_second(self.not_after_s).ok();
        end.map_or_else(|| "a distant day".to_owned(), |end| end.strftime("%Y-%m-%d").to_string())
    }

    /// What is odd about it at `now_s`.
    pub fn warning(&self, now_s: i64) -> Option<String> {
        let file = self.file.display();
        if now_s > self.not_after_s {
            return Some(format!("{file} has expired on {}", self.ends()));
        }
        (now_s < self.not_before_s).then(|| format!("{file} is not valid yet: is the clock right?"))
    }
}

/// The last second of the certificate in `der`, since 1970 UTC.
pub fn not_after_s(der: &[u8]) -> Option<i64> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// A certificate that can be shown.
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) certificate: Certificate,
}

impl Identity {
    /// Reads and checks `of`, which `owner` shows.
    pub(super) fn read(of: &CertificateFiles, owner: &str, files: &Files) -> Result<Self, String> {
        let chain = certificates(&of.cert, files)?;
        let key = private_key(of, files)?;
        let mut key = CertifiedKey::from_der(chain, key, provider()).map_err(|error| {
            let (cert, key) = (of.cert.display(), of.key.display());
            if error == Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
                format!("{key} is not the key of the first certificate in {cert}")
            } else {
                format!("{cert} with {key}: {error}")
            }
        })?;
        if let Some(ocsp) = &of.ocsp {
            let answer = files.get(ocsp)?;
            // RFC 6960 §4.2.1: a sequence, and a first byte that says so.
            if answer.first() != Some(&0x30) {
                return Err(format!("{} is no OCSP answer in DER form", ocsp.display()));
            }
            key.ocsp = Some(answer.to_vec());
        }
        let certificate = describe(of, owner, &key)?;
        Ok(Self { key: Arc::new(key), certificate })
    }
}

/// All certificates in the PEM file at `path`; at least one.
fn certificates(
    path: &std::path::Path,
    files: &Files,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(files.get(path)?).collect();
    let read = read.map_err(|error| format!("{}: {error}", path.display()))?;
    if read.is_empty() {
        return Err(format!(
            "{} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)",
            path.display()
        ));
    }
    Ok(read)
}

fn private_key(of: &CertificateFiles, files: &Files) -> Result<PrivateKeyDer<'static>, String> {
    let (shown, bytes) = (of.key.display(), files.get(&of.key)?);
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
        if !matches!(error, pem::Error::NoItemsFound) {
            format!("{shown}: {error}")
        } else if memchr::memmem::find(bytes, b"ENCRYPTED").is_some() {
            format!("{shown} is locked with a password; write it without: openssl pkey -in {shown}")
        } else {
            format!("{shown} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)")
        }
    })
}

/// The authorities in the PEM file at `path`.
pub(super) fn authorities(path: &std::path::Path, files: &Files) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, files)? {
        roots.add(authority).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
}

fn describe(of: &CertificateFiles, owner: &str, key: &CertifiedKey) -> Result<Certificate, String> {
    let broken = |why: String| format!("{}: {why}", of.cert.display());
    let der = key.end_entity_cert().map_err(|error| broken(error.to_string()))?;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| broken(error.to_string()))?;
    let named = parsed.subject_alternative_name().ok().flatten();
    let names = named.into_iter().flat_map(|named| &named.value.general_names);
    let names = names.filter_map(|name| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    });
    Ok(Certificate {
        owner: owner.to_owned(),
        file: of.cert.clone(),
        names: names.collect(),
        not_before_s: parsed.validity().not_before.timestamp(),
        not_after_s: parsed.validity().not_after.timestamp(),
        der: der.clone().into_owned(),
    })
}
