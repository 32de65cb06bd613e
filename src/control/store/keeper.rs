//! The store's thread: opens the file, sets a damaged one aside, and lives through outages of the disk.
//!
//! ```text
//! Open ── write fails ──► Away (in memory; retried with growing pauses) ── write succeeds ──► Open
//!   └──── damaged ──► set aside, begin anew with what is in memory ──► Open
//! ```

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Kept, StoreError,
    database::{Batch, Database, DatabaseError},
    desk::{Desk, Read},
};
use crate::{
    control::hand_split::HandSplits,
    domain::Moment,
    lifecycle::clock,
    telemetry::{Event, EventKind, EventSink},
};

const COOKIE_SECRET: &str = "cookie";
const SECRET_BYTES: usize = 32;
const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_secs(60);

/// Owns the file.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
    /// Held for the life of the process; `None` while even the lock cannot be made.
    lock: Option<File>,
    file: FileState,
    /// What the file must hold when it is begun anew.
    splits: HandSplits,
    cookie_secret: Vec<u8>,
    unwritten: Batch,
    events: EventSink,
}

#[derive(Debug)]
enum FileState {
    Open(Database),
    Away { retry_at: Moment, pause: Duration },
}

impl Keeper {
    pub(super) fn open(path: PathBuf, events: EventSink) -> Result<(Self, Kept), StoreError> {
        let away = FileState::Away { retry_at: clock::now() + FIRST_RETRY, pause: FIRST_RETRY };
        let mut keeper = Self {
            path,
            lock: None,
            file: away,
            splits: HandSplits::new(),
            cookie_secret: Vec::new(),
            unwritten: Batch::default(),
            events,
        };
        match keeper.begin() {
            Ok(()) => {}
            Err(OpenError::Unavailable(why)) => keeper.say_write_failed(&why),
            Err(OpenError::InUse) => return Err(StoreError::InUse(keeper.path)),
            Err(OpenError::Newer(why)) => return Err(StoreError::Newer { path: keeper.path, why }),
        }
        if keeper.cookie_secret.is_empty() {
            keeper.cookie_secret = random_secret()?;
            if let Err(error) = keeper.keep_secret() {
                keeper.say_write_failed(&error.to_string());
                keeper.file = FileState::Away { retry_at: clock::now(), pause: FIRST_RETRY };
            }
        }
        let last_event = match &keeper.file {
            FileState::Open(database) => database.last_event(),
            FileState::Away { .. } => 0,
        };
        let (splits, cookie_secret) = (keeper.splits.clone(), keeper.cookie_secret.clone());
        Ok((keeper, Kept { splits, cookie_secret, last_event }))
    }

    /// Works until the desk is closed.
    pub(super) fn work(&mut self, desk: &Desk) {
        let mut flushes = Vec::new();
        loop {
            let errand = desk.take(self.patience(), !self.unwritten.is_empty());
            flushes.extend(errand.flushes);
            self.accept(errand.batch);
            let written = self.settle(!flushes.is_empty() || errand.closed);
            for Read { after, limit, answer } in errand.reads {
                // Nobody hears the answer when whoever asked has left.
                let _ = answer.send(self.read(after, limit));
            }
            if written && errand.more {
                continue;
            }
            if errand.closed {
                self.let_go();
            }
            for flush in flushes.drain(..) {
                let _ = flush.send(written);
            }
            if errand.closed {
                return;
            }
        }
    }

    /// Closes the file and gives up the lock: another process may take over.
    fn let_go(&mut self) {
        self.file = FileState::Away { retry_at: clock::now(), pause: FIRST_RETRY };
        self.lock = None;
    }

    /// Takes over work; the desk hands none out before the last is written.
    fn accept(&mut self, batch: Batch) {
        if let Some(splits) = &batch.splits {
            self.splits.clone_from(splits);
        }
        if !batch.is_empty() {
            self.unwritten = batch;
        }
    }

    fn patience(&self) -> Option<Duration> {
        match self.file {
            FileState::Open(_) => None,
            FileState::Away { retry_at, .. } => Some(retry_at.since(clock::now())),
        }
    }

    /// Writes what waits if the disk may be tried; whether nothing is left to write.
    fn settle(&mut self, asked: bool) -> bool {
        if let FileState::Away { retry_at, pause } = self.file {
            if !asked && clock::now() < retry_at {
                return false;
            }
            if self.reopen().is_err() {
                let pause = (pause * 2).min(SLOWEST_RETRY);
                self.file = FileState::Away { retry_at: clock::now() + pause, pause };
                return false;
            }
            let message = "the state file can be written again";
            self.say(EventKind::StateRecovered, message.to_owned());
        }
        match self.write_or_replace() {
            Ok(()) => {
                self.unwritten = Batch::default();
                true
            }
            Err(why) => {
                let retry_at = clock::now() + FIRST_RETRY;
                self.file = FileState::Away { retry_at, pause: FIRST_RETRY };
                self.say_write_failed(&why);
                false
            }
        }
    }

    /// Writes what waits; a file that turns out damaged is replaced by a fresh one, once.
    fn write_or_replace(&mut self) -> Result<(), String> {
        match self.write() {
            Err(DatabaseError::Damaged(why)) => {
                self.file = FileState::Away { retry_at: clock::now(), pause: FIRST_RETRY };
                self.set_aside(&why).map_err(|error| error.to_string())?;
                self.reopen().map_err(|error| error.to_string())?;
                self.write().map_err(|error| error.to_string())
            }
            written => written.map_err(|error| error.to_string()),
        }
    }

    fn write(&mut self) -> Result<(), DatabaseError> {
        match &mut self.file {
            FileState::Open(_) if self.unwritten.is_empty() => Ok(()),
            FileState::Open(database) => database.write(&self.unwritten),
            FileState::Away { .. } => Err(DatabaseError::Unavailable("not open".to_owned())),
        }
    }

    /// Opens the file again, with what is in memory as its new contents.
    fn reopen(&mut self) -> Result<(), OpenError> {
        let (splits, secret) = (self.splits.clone(), self.cookie_secret.clone());
        let opened = self.begin();
        (self.splits, self.cookie_secret) = (splits, secret);
        opened?;
        self.unwritten.splits = Some(self.splits.clone());
        self.keep_secret()?;
        Ok(())
    }

    /// Opens the file and takes over what it holds, setting it aside first where it is damaged.
    fn begin(&mut self) -> Result<(), OpenError> {
        self.lock()?;
        match self.load() {
            Err(DatabaseError::Damaged(why)) => {
                self.set_aside(&why)?;
                self.load().map_err(OpenError::from)
            }
            loaded => loaded.map_err(OpenError::from),
        }
    }

    fn load(&mut self) -> Result<(), DatabaseError> {
        self.check_readable()?;
        let database = Database::open(&self.path)?;
        self.splits = database.splits()?;
        self.cookie_secret = database.secret(COOKIE_SECRET)?.unwrap_or_default();
        self.file = FileState::Open(database);
        Ok(())
    }

    /// Makes the file when it is missing, for its owner's eyes only: it holds a secret.
    fn check_readable(&self) -> Result<(), DatabaseError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        match options.open(&self.path) {
            Ok(_) => Ok(()),
            Err(error) => {
                let unfit = [io::ErrorKind::PermissionDenied, io::ErrorKind::IsADirectory];
                let why = error.to_string();
                Err(match unfit.contains(&error.kind()) {
                    true => DatabaseError::Damaged(why),
                    false => DatabaseError::Unavailable(why),
                })
            }
        }
    }

    fn lock(&mut self) -> Result<(), OpenError> {
        if self.lock.is_some() {
            return Ok(());
        }
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(beside(&self.path, ".lock"))?;
        match lock.try_lock() {
            Ok(()) => self.lock = Some(lock),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(())
    }

    /// Renames the file, and what SQLite keeps beside it.
    fn set_aside(&self, why: &str) -> io::Result<()> {
        let aside = beside(&self.path, &format!(".damaged-{}", clock::wall_millis() / 1_000));
        fs::rename(&self.path, &aside)?;
        for suffix in ["-wal", "-shm"] {
            let renamed = fs::rename(beside(&self.path, suffix), beside(&aside, suffix));
            if let Err(error) = renamed
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
        }
        let message = format!(
            "the state file was damaged ({why}); it is kept as {}, and a new one begun",
            aside.display()
        );
        self.say(EventKind::StateDamaged, message);
        Ok(())
    }

    fn keep_secret(&self) -> Result<(), DatabaseError> {
        match &self.file {
            FileState::Open(database) => database.set_secret(COOKIE_SECRET, &self.cookie_secret),
            FileState::Away { .. } => Ok(()),
        }
    }

    fn read(&self, after: Option<u64>, limit: usize) -> Option<Vec<Event>> {
        match &self.file {
            FileState::Open(database) => database.events(after, limit).ok(),
            FileState::Away { .. } => None,
        }
    }

    fn say_write_failed(&self, why: &str) {
        let message = format!(
            "the state file cannot be written ({why}); state is kept in memory, and writing is tried again"
        );
        self.say(EventKind::StateWriteFailed, message);
    }

    fn say(&self, kind: EventKind, message: String) {
        let subject = self.path.display().to_string();
        self.events.report(Event::new(kind, clock::wall_millis(), subject, message));
    }
}

/// Why a file could not be opened, after damage has been seen to.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("another process has taken it")]
    InUse,
    #[error("{0}")]
    Newer(String),
    #[error("{0}")]
    Unavailable(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        let why = error.to_string();
        match error {
            DatabaseError::Newer(_) => Self::Newer(why),
            DatabaseError::Damaged(_) | DatabaseError::Unavailable(_) => Self::Unavailable(why),
        }
    }
}

fn random_secret() -> io::Result<Vec<u8>> {
    let mut secret = vec![0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
impl Keeper {
    /// Lets the file grow no more while it stays open.
    pub(super) fn fill_up(&self) {
        let FileState::Open(database) = &self.file else { panic!("the file is away") };
        database.fill_up();
    }

    /// Events in the file.
    pub(super) fn count_events(&self) -> usize {
        self.read(Some(0), usize::MAX).unwrap().len()
    }
}
