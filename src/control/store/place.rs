//! Where the state file lies: who may write it, whether it is still the one that was opened, and its way out.
//!
//! Invariant: nothing that cannot be read is renamed or deleted here, but what is known to be damaged.

use std::{
    ffi::OsString,
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::database::DatabaseError;
use crate::lifecycle::clock;

/// The state file's path and the lock beside it.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Held for the life of the process; `None` while even the lock cannot be made.
    lock: Option<(File, Identity)>,
}

/// Which file a path leads to: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// Another process has it.
    #[error("another process has taken it")]
    InUse,
    /// It could not be tried.
    #[error("{0}")]
    Unavailable(String),
}

impl Place {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, lock: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is gone, though its lock tells that there was one.
    pub(super) fn is_deserted(&self) -> bool {
        let missing = |path: &Path| {
            fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        missing(&self.path) && fs::symlink_metadata(beside(&self.path, ".lock")).is_ok()
    }

    /// Takes the lock; again, if its file was deleted meanwhile and anybody else could take that name.
    pub(super) fn take(&mut self) -> Result<(), LockError> {
        let path = beside(&self.path, ".lock");
        if let Some((_, held)) = &self.lock
            && identity(&path) == Some(*held)
        {
            return Ok(());
        }
        let unavailable = |error| LockError::Unavailable(reason(&path, &error));
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).map_err(unavailable)?;
        }
        let mut options = OpenOptions::new();
        // A pipe would be waited for: that is no place for a lock either.
        let at_once = OFlags::NONBLOCK.bits().cast_signed();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(at_once);
        let lock = options.open(&path).map_err(unavailable)?;
        match lock.try_lock() {
            Ok(()) => {
                let held = Identity::of(&lock.metadata().map_err(unavailable)?);
                self.lock = Some((lock, held));
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(LockError::InUse),
            Err(TryLockError::Error(error)) => Err(unavailable(error)),
        }
    }

    /// Gives up the lock: another process may take over.
    pub(super) fn leave(&mut self) {
        self.lock = None;
    }

    /// Makes the file when it is missing, for its owner's eyes only: it holds a secret.
    pub(super) fn prepare(&self) -> Result<Identity, DatabaseError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let opened = options.open(&self.path).and_then(|file| file.metadata());
        opened.map(|metadata| Identity::of(&metadata)).map_err(|error| {
            let why = reason(&self.path, &error);
            match error.kind() == io::ErrorKind::IsADirectory {
                true => DatabaseError::Damaged(why),
                false => DatabaseError::Unavailable(why),
            }
        })
    }

    /// Whether the path still leads to the file that was opened; so it is while that cannot be seen.
    pub(super) fn holds(&self, opened: Identity) -> bool {
        match fs::metadata(&self.path) {
            Ok(metadata) => Identity::of(&metadata) == opened,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Renames the file, and what SQLite keeps beside it, to a name that nothing has yet.
    pub(super) fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.free_name(clock::wall_millis() / 1_000)?;
        fs::rename(&self.path, &aside)?;
        for suffix in ["-wal", "-shm"] {
            let renamed = fs::rename(beside(&self.path, suffix), beside(&aside, suffix));
            if let Err(error) = renamed
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
        }
        Ok(aside)
    }

    fn free_name(&self, second: u64) -> io::Result<PathBuf> {
        const MOST: u32 = 1_000;
        let first = beside(&self.path, &format!(".damaged-{second}"));
        let others = (2..=MOST).map(|number| beside(&first, &format!("-{number}")));
        let mut names = std::iter::once(first.clone()).chain(others);
        let free = names.find(|name| fs::symlink_metadata(name).is_err());
        free.ok_or_else(|| io::Error::other(format!("{MOST} files were set aside in one second")))
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| Identity::of(&metadata))
}

/// What the system says and, where it is a question of permission, whose file it is and how to mend that.
fn reason(path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let known = path.ancestors().find_map(|part| Some((part, fs::metadata(part).ok()?.uid())));
    let (part, owner) = known.unwrap_or((path, 0));
    let user = rustix::process::geteuid().as_raw();
    format!(
        "{error}: {} belongs to user {owner}, and Tidegate runs as user {user}; let it read and write that, or name \
         another [state] file",
        part.display()
    )
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_in_one_second_has_names_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path().join("state.db"));
        let mut names = Vec::new();
        for text in ["first", "second", "third"] {
            fs::write(place.path(), text).unwrap();
            fs::write(beside(place.path(), "-wal"), text).unwrap();
            let aside = place.set_aside().unwrap();
            names.push((aside, text));
        }
        for (name, text) in names {
            assert_eq!(fs::read_to_string(&name).unwrap(), text);
            assert_eq!(fs::read_to_string(beside(&name, "-wal")).unwrap(), text);
        }
    }

    #[test]
    fn a_lack_of_permission_names_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let owner = fs::metadata(folder.path()).unwrap().uid();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let why = reason(&path, &denied);
        let whose = format!("{} belongs to user {owner}, ", folder.path().display());
        assert!(why.contains(&whose), "the file is missing, so its folder counts: {why}");
        fs::write(&path, "").unwrap();
        assert!(reason(&path, &denied).contains("state.db belongs to user"));
    }

    #[test]
    fn a_pipe_is_no_lock_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let made = std::process::Command::new("mkfifo").arg(beside(&path, ".lock")).status();
        assert!(made.unwrap().success());
        assert!(matches!(Place::new(path).take(), Err(LockError::Unavailable(_))));
    }

    #[test]
    fn a_lock_that_was_deleted_is_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut place = Place::new(path.clone());
        place.take().unwrap();
        fs::remove_file(beside(&path, ".lock")).unwrap();
        place.take().unwrap();
        assert!(matches!(Place::new(path).take(), Err(LockError::InUse)));
    }
}
