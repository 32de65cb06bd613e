//! A configuration with all that must be read from disk before it can be taken.
//!
//! Whoever asks for a reload reads it; the controller only ever sees it whole, and so never waits for a disk.

use std::{
    collections::HashMap,
    fs::FileType,
    io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::ControlError;
use crate::{
    config::{
        FileFault, Loaded, Unchecked,
        model::{AccessPath, Affinity, Route},
    },
    lifecycle::{clock, read_regular},
    tls::{Certificate, Material},
};

/// Longest secret read.
const MAX_SECRET: u64 = 4 << 10;
/// Longest page read: every worker's answers share it, and a client on a slow line has to fetch it.
const MAX_PAGE: u64 = 256 << 10;
/// Shortest secret taken: 128 bits, if they are random.
const MIN_SECRET: usize = 16;

/// A configuration that may be taken.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) loaded: Loaded,
    pub(super) secrets: Secrets,
}

/// A file that may not be taken.
#[derive(Debug)]
pub(super) struct Refused {
    /// Everything that is wrong, one text each.
    pub(super) errors: Vec<String>,
    /// Hash of the file, unless it could not be read.
    pub(super) hash: Option<String>,
}

/// What the files hold that the configuration names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Secrets {
    /// HMAC keys of cookies by their file.
    pub(super) cookies: HashMap<PathBuf, Vec<u8>>,
    /// Error pages by their file.
    pub(super) pages: HashMap<PathBuf, Bytes>,
    /// Certificates and their keys.
    pub(super) tls: Material,
}

impl Candidate {
    /// Reads `path` and the files that it names; sessions of TLS go on from `previous`. Blocks.
    ///
    /// # Errors
    /// [`Refused`] with everything that is wrong.
    pub(super) fn read(path: &Path, previous: Option<&Material>) -> Result<Self, Refused> {
        let read = Unchecked::read(path);
        let hash = read.as_ref().ok().map(|unchecked| unchecked.hash().to_owned());
        let loaded = read.and_then(Unchecked::check).map_err(|errors| errors.messages());
        let loaded = loaded.and_then(|loaded| Self::complete(loaded, previous));
        loaded.map_err(|errors| Refused { errors, hash })
    }

    /// Reads the files that `loaded` names. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong, one text each.
    pub(super) fn complete(
        loaded: Loaded,
        previous: Option<&Material>,
    ) -> Result<Self, Vec<String>> {
        let (mut cookies, mut pages) = (HashMap::new(), HashMap::new());
        let mut errors = Vec::new();
        for (index, route) in loaded.config.routes.iter().enumerate() {
            let Some(file) = secret_file(route) else { continue };
            if cookies.contains_key(file) {
                continue;
            }
            match read_secret(file) {
                Ok(secret) => drop(cookies.insert(file.clone(), secret)),
                Err(why) => errors.push(FileFault {
                    key: format!("route[{index}].affinity.secret_file"),
                    message: format!("{}: {why}", file.display()),
                    hint: "write at least 16 bytes there, for example with: head -c 32 /dev/urandom | base64",
                }),
            }
        }
        for page in &loaded.config.error_pages {
            match read_regular(&page.file, MAX_PAGE) {
                Ok(text) => drop(pages.insert(page.file.clone(), text.into())),
                Err(why) => errors.push(FileFault {
                    key: format!("error_page.{}", page.status),
                    message: format!("{} cannot be read: {why}", page.file.display()),
                    hint: "name a file that is there, of 256 KiB at most, and that Tidegate's user may read",
                }),
            }
        }
        errors.extend(access_log_fault(&loaded.config.log.access.path));
        match Material::read(&loaded.config, previous) {
            Ok(tls) if errors.is_empty() => {
                Ok(Self { loaded, secrets: Secrets { cookies, pages, tls } })
            }
            Ok(_) => Err(loaded.places.tell(errors)),
            Err(more) => {
                errors.extend(more);
                Err(loaded.places.tell(errors))
            }
        }
    }
}

/// Reads the files that `loaded` names, as a start would, and says what is odd about them. Blocks.
///
/// # Errors
/// [`ControlError::Files`] with everything that is wrong.
pub fn check_files(loaded: Loaded) -> Result<(Loaded, Vec<String>), ControlError> {
    let candidate = Candidate::complete(loaded, None).map_err(ControlError::Files)?;
    let mut warnings = warnings(&candidate.secrets.tls);
    let path = &candidate.loaded.config.log.access.path;
    if is_named_pipe(path) {
        let told = "is a named pipe: where nobody reads it, a start is refused";
        warnings.push(format!("log.access.path {path} {told}"));
    }
    Ok((candidate.loaded, warnings))
}

/// What can never take the access log. It is not opened: the reader of a pipe would take that for a beginning and an end.
fn access_log_fault(path: &AccessPath) -> Option<FileFault> {
    let kind = kind_at(path)?;
    let what = if kind.is_dir() {
        "a folder"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() {
        "a disk"
    } else {
        return None;
    };
    Some(FileFault {
        key: "log.access.path".to_owned(),
        message: format!("{path} is {what}"),
        hint: "name a file, which need not be there yet, \"-\" for standard output, or \"off\"",
    })
}

/// A pipe with a name of its own, as /dev/stdout is none.
fn is_named_pipe(path: &AccessPath) -> bool {
    let AccessPath::File(path) = path else { return false };
    let found = path.canonicalize().and_then(|path| path.metadata());
    found.is_ok_and(|found| found.file_type().is_fifo())
}

/// What is there, if anything is.
fn kind_at(path: &AccessPath) -> Option<FileType> {
    match path {
        AccessPath::File(path) => path.metadata().ok().map(|found| found.file_type()),
        AccessPath::Stdout | AccessPath::Off => None,
    }
}

/// What is odd about the certificates now.
pub(super) fn warnings(tls: &Material) -> Vec<String> {
    let now_s = i64::try_from(clock::wall_millis() / 1_000).unwrap_or(i64::MAX);
    let told = |certificate: &Certificate| {
        let owner = certificate.owner.clone();
        let warnings = certificate.warnings(now_s);
        warnings.map(move |warning| format!("{owner}: certificate {warning}")).collect::<Vec<_>>()
    };
    tls.certificates().iter().flat_map(told).collect()
}

/// The file with the key of the route's cookies, when it has one of its own.
pub(super) fn secret_file(route: &Route) -> Option<&PathBuf> {
    match &route.affinity {
        Affinity::Cookie { secret_file, .. } => secret_file.as_ref(),
        Affinity::AppCookie { .. }
        | Affinity::Header { .. }
        | Affinity::ClientIp
        | Affinity::None => None,
    }
}

fn read_secret(file: &Path) -> io::Result<Vec<u8>> {
    let mut secret = read_regular(file, MAX_SECRET)?;
    let length = secret.trim_ascii_end().len();
    secret.truncate(length);
    if length < MIN_SECRET {
        return Err(io::Error::other(format!(
            "{length} bytes are too short for a key; it takes {MIN_SECRET}"
        )));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn written(folder: &Path, secret_file: &Path) -> PathBuf {
        let path = folder.join("tidegate.toml");
        let text = format!(
            "[[listener]]\nbind = \"127.0.0.1:8080\"\n[backend.blue]\nendpoints = [\"127.0.0.1:9001\"]\n\
             [[route]]\nname = \"api\"\nsplit = {{ blue = 100 }}\n\
             [route.affinity]\nby = \"cookie\"\nsecret_file = {secret_file:?}\n"
        );
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_candidate_comes_with_its_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("key");
        fs::write(&secret, "0123456789abcdef\n").unwrap();
        let candidate = Candidate::read(&written(folder.path(), &secret), None).unwrap();
        assert_eq!(candidate.secrets.cookies[&secret], b"0123456789abcdef");
    }

    #[test]
    fn a_short_or_missing_secret_is_told_with_its_route() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("key");
        let path = written(folder.path(), &secret);
        let refused = Candidate::read(&path, None).unwrap_err();
        let place = format!("{}:10:15: route[0].affinity.secret_file: ", path.display());
        assert!(refused.errors[0].starts_with(&place), "{:?}", refused.errors);
        assert!(refused.errors[0].contains("\n  hint: "), "{:?}", refused.errors);
        fs::write(&secret, "short").unwrap();
        let again = Candidate::read(&path, None).unwrap_err();
        assert!(again.errors[0].contains("too short"));
        assert!(again.hash.is_some() && again.hash == refused.hash, "the file is the same");
        assert_eq!(Candidate::read(folder.path(), None).unwrap_err().hash, None);
    }
}
