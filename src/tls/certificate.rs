//! A certificate with its key, and what it says of itself.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    Error, InconsistentKeys, RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{
    files::{Files, fault},
    ocsp::{self, Staple},
    provider,
};
use crate::config::{FileFault, model::CertificateFiles};

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
    /// The authority's word on it, and the file of that.
    pub(super) staple: Option<(PathBuf, Option<Staple>)>,
    /// Tells it from its successor.
    pub(super) der: CertificateDer<'static>,
}

impl Certificate {
    /// When it ends, as `2027-01-31`.
    pub fn ends(&self) -> String {
        day(self.not_after_s)
    }

    /// What is odd about it at `now_s`, and about its OCSP answer.
    pub fn warnings(&self, now_s: i64) -> impl Iterator<Item = String> {
        [self.own_warning(now_s), self.staple_warning(now_s)].into_iter().flatten()
    }

    fn own_warning(&self, now_s: i64) -> Option<String> {
        let file = self.file.display();
        if now_s > self.not_after_s {
            return Some(format!("{file} has expired on {}", self.ends()));
        }
        (now_s < self.not_before_s).then(|| format!("{file} is not valid yet: is the clock right?"))
    }

    fn staple_warning(&self, now_s: i64) -> Option<String> {
        let (path, staple) = self.staple.as_ref()?;
        let (file, path) = (self.file.display(), path.display());
        let told = match staple {
            None => "does not speak of it, and is not shown: fetch it anew".to_owned(),
            Some(Staple { is_good: false, .. }) => {
                "does not stand by it: is it revoked?".to_owned()
            }
            Some(Staple { next_update_s: Some(next), .. }) if now_s > *next => {
                format!("is out of date since {}: fetch it anew", day(*next))
            }
            Some(Staple { .. }) => return None,
        };
        Some(format!("{file}: its OCSP answer {path} {told}"))
    }
}

fn day(second: i64) -> String {
    let day = jiff::Timestamp::from_second(second).ok();
    day.map_or_else(|| "a distant day".to_owned(), |day| day.strftime("%Y-%m-%d").to_string())
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
    /// Reads and checks `of`, which `owner` shows; the keys that name its files begin with `at`.
    pub(super) fn read(
        of: &CertificateFiles,
        owner: &str,
        at: &str,
        files: &Files,
    ) -> Result<Self, FileFault> {
        let [cert_at, key_at, ocsp_at] = ["cert", "key", "ocsp"].map(|name| format!("{at}{name}"));
        let chain = certificates(&cert_at, &of.cert, files)?;
        let key = private_key(&key_at, &of.key, files)?;
        let mut key = CertifiedKey::from_der(chain, key, provider()).map_err(|error| {
            let (cert, key) = (of.cert.display(), of.key.display());
            if error == Error::InconsistentKeys(InconsistentKeys::KeyMismatch) {
                let why = format!("{key} is not the key of the first certificate in {cert}");
                let hint = "name the key that the certificate was asked for with; the server's own certificate comes \
                            first in its file, and then those that lead to a root";
                fault(&key_at, why, hint)
            } else {
                let hint = "ask for the certificate anew; its key may be of RSA, or of ECDSA with P-256, P-384 or P-521";
                fault(&cert_at, format!("{cert} with {key}: {error}"), hint)
            }
        })?;
        let broken = |why| fault(&cert_at, why, "ask for the certificate anew");
        let (mut certificate, serial) = describe(of, owner, &key).map_err(broken)?;
        if let Some(ocsp) = &of.ocsp {
            let answer = files.get(&ocsp_at, ocsp)?;
            let staple = ocsp::read(answer, &serial).map_err(|why| {
                let hint = "write it as openssl ocsp -respout does, or leave the key out";
                fault(&ocsp_at, format!("{} {why}", ocsp.display()), hint)
            })?;
            certificate.staple = Some((ocsp.clone(), staple));
            // One about another certificate, as after a renewal, helps nobody, and some clients leave for it.
            key.ocsp = staple.map(|_| answer.to_vec());
        }
        Ok(Self { key: Arc::new(key), certificate })
    }
}

/// All certificates in the PEM file at `path`, which `at` names; at least one.
fn certificates(
    at: &str,
    path: &Path,
    files: &Files,
) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    const HINT: &str = "openssl x509 -in FILE -inform der writes one in DER form as PEM";
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(files.get(at, path)?).collect();
    let read = read.map_err(|error| fault(at, format!("{}: {error}", path.display()), HINT))?;
    if read.is_empty() {
        let shown = path.display();
        let why = format!("{shown} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
        return Err(fault(at, why, HINT));
    }
    Ok(read)
}

fn private_key(at: &str, path: &Path, files: &Files) -> Result<PrivateKeyDer<'static>, FileFault> {
    let (shown, bytes) = (path.display(), files.get(at, path)?);
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| {
        let hint = "openssl pkey -in FILE -inform der writes one in DER form as PEM";
        if !matches!(error, pem::Error::NoItemsFound) {
            fault(at, format!("{shown}: {error}"), hint)
        } else if memchr::memmem::find(bytes, b"ENCRYPTED").is_some() {
            let hint = "write it without: openssl pkey -in FILE";
            fault(at, format!("{shown} is locked with a password"), hint)
        } else {
            let why =
                format!("{shown} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)");
            fault(at, why, hint)
        }
    })
}

/// The authorities in the PEM file at `path`, which `at` names.
pub(super) fn authorities(
    at: &str,
    path: &Path,
    files: &Files,
) -> Result<RootCertStore, FileFault> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(at, path, files)? {
        roots.add(authority).map_err(|error| {
            let hint = "name the certificate of an authority";
            fault(at, format!("{}: {error}", path.display()), hint)
        })?;
    }
    Ok(roots)
}

/// The certificate, and its number as it is written in it.
fn describe(
    of: &CertificateFiles,
    owner: &str,
    key: &CertifiedKey,
) -> Result<(Certificate, Vec<u8>), String> {
    let broken = |why: String| format!("{}: {why}", of.cert.display());
    let der = key.end_entity_cert().map_err(|error| broken(error.to_string()))?;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| broken(error.to_string()))?;
    let named = parsed.subject_alternative_name().ok().flatten();
    let names = named.into_iter().flat_map(|named| &named.value.general_names);
    let names = names.filter_map(|name| {
        if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
    });
    let serial = parsed.raw_serial().to_vec();
    let certificate = Certificate {
        owner: owner.to_owned(),
        file: of.cert.clone(),
        names: names.collect(),
        not_before_s: parsed.validity().not_before.timestamp(),
        not_after_s: parsed.validity().not_after.timestamp(),
        staple: None,
        der: der.clone().into_owned(),
    };
    Ok((certificate, serial))
}
