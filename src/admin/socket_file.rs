//! The unix socket's file: takes over what a dead process left, never what a live one holds, and goes with the process.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// Removes the file when it goes, if it is this process's and still the one that was made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    owner: Owner,
}

/// Whose the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// This process's.
    Us(Identity),
    /// Another process's that still serves.
    Predecessor,
    /// The service manager's.
    Manager,
}

/// Inode and time of making: an inode's number alone may be given again at once.
type Identity = (u64, i64, i64);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("another process answers there; stop it, or give this one its own admin.socket")]
    InUse,
    #[error("there is a file that is no socket; move it away")]
    NotASocket,
    #[error("{0}; let Tidegate's user write to its folder, or name another admin.socket")]
    System(#[from] io::Error),
}

impl SocketFile {
    /// Listens at `path` with permissions `mode`; makes its folder when that is missing.
    pub(super) fn listen(path: &Path, mode: u32) -> Result<(Self, UnixListener), SocketError> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        remove_dead(path)?;
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        let identity = identity(path)?;
        Ok((Self { path: path.to_owned(), owner: Owner::Us(identity) }, listener))
    }

    /// The file of a socket that was passed: by the service manager, who keeps it, or by a predecessor, whose it is for now.
    pub(super) fn passed(path: &Path, by_manager: bool) -> Self {
        let owner = if by_manager { Owner::Manager } else { Owner::Predecessor };
        Self { path: path.to_owned(), owner }
    }

    /// A predecessor has left it.
    pub(super) fn claim(&mut self) {
        if self.owner == Owner::Predecessor
            && let Ok(identity) = identity(&self.path)
        {
            self.owner = Owner::Us(identity);
        }
    }

    /// Whether it is the service manager's.
    pub(super) fn is_managers(&self) -> bool {
        self.owner == Owner::Manager
    }

    /// Leaves the file to another process.
    pub(super) fn leave(mut self) {
        self.owner = Owner::Predecessor;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Owner::Us(made) = self.owner else { return };
        let ours = identity(&self.path).is_ok_and(|found| found == made);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, socket = %self.path.display(), "the socket's file stays behind");
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.ino(), file.mtime(), file.mtime_nsec()))
}

fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket);
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        // Also a listener whose queue is full is alive.
        Ok(_) => Err(SocketError::InUse),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/admin.sock");
        let (file, listener) = SocketFile::listen(&path, 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(SocketFile::listen(&path, 0o600), Err(SocketError::InUse)));

        drop(listener);
        let (second, _listener) = SocketFile::listen(&path, 0o660).unwrap();
        drop(file);
        assert!(path.exists(), "what belongs to the second stays when the first goes");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_outlives_whoever_left_it_and_goes_with_its_heir() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (file, _listener) = SocketFile::listen(&path, 0o600).unwrap();
        drop(SocketFile::passed(&path, false));
        assert!(path.exists(), "an heir that did not get so far");
        let mut heir = SocketFile::passed(&path, file.is_managers());
        file.leave();
        heir.claim();
        assert!(path.exists());
        let mut guest = SocketFile::passed(&path, true);
        guest.claim();
        assert!(guest.is_managers());
        drop(guest);
        assert!(path.exists(), "who made it removes it");
        drop(heir);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(SocketFile::listen(&path, 0o600), Err(SocketError::NotASocket)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
