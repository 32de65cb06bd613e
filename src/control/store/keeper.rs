//! The store's thread: opens the file, sets a damaged one aside, and lives through outages of the disk.
//!
//! ```text
//! NeverRead ── read ──► what the file held is handed to the controller ──► Open
//! Open ── write fails ──► Away (in memory; retried with growing pauses) ── write succeeds ──► Open
//!   ├──── damaged ──► set aside, begin anew with what is in memory ──► Open
//!   ├──── deleted or replaced ──► begin anew with what is in memory ──► Open
//!   └──── lent to a successor ──► Lent (in memory, never tried) ── returned ──► Away, tried at once
//! ```
//!
//! Invariant: memory goes over a file only after that file has been read; until then what it holds comes first.

mod loan;

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    Kept, Past, StoreError,
    database::{Batch, Database, DatabaseError},
    desk::{Desk, Errand, Read},
    open_error::OpenError,
    outage::Outage,
    place::{Identity, Place},
};
use crate::{
    control::{hand_split::HandSplits, rollouts::Runs},
    lifecycle::clock,
    telemetry::{Event, EventKind, EventSink},
};

const COOKIE_SECRET: &str = "cookie";
const SECRET_BYTES: usize = 32;

/// Owns the file.
#[derive(Debug)]
pub(super) struct Keeper {
    place: Place,
    file: FileState,
    /// What the file must hold when it is begun anew.
    splits: HandSplits,
    runs: Runs,
    cookie_secret: Vec<u8>,
    unwritten: Batch,
    /// What the file held when it was first read late, as long as the controller does not go on from it.
    late: Option<Kept>,
    late_reads: mpsc::Sender<Kept>,
    events: EventSink,
}

#[derive(Debug)]
enum FileState {
    Open(Database, Identity),
    /// It has been read: what is in memory is newer.
    Away(Outage),
    /// It could not be read yet since the process began.
    NeverRead(Outage),
    /// Another process may have it.
    Lent,
}

impl Keeper {
    /// What a file that can only be read later turns out to hold is sent to `late_reads`, at most once.
    pub(super) fn open(
        path: PathBuf,
        events: EventSink,
        late_reads: mpsc::Sender<Kept>,
    ) -> Result<(Self, Kept), StoreError> {
        let mut keeper = Self {
            place: Place::new(path),
            file: FileState::NeverRead(Outage::begin()),
            splits: HandSplits::new(),
            runs: Runs::new(),
            cookie_secret: Vec::new(),
            unwritten: Batch::default(),
            late: None,
            late_reads,
            events,
        };
        let mut kept = match keeper.begin() {
            Ok((file, kept)) => {
                keeper.file = file;
                kept
            }
            Err(OpenError::Unavailable(why)) => {
                keeper.say_write_failed(&why);
                Kept { past: Past::Unread, ..Kept::default() }
            }
            Err(OpenError::InUse) => return Err(StoreError::InUse(keeper.place.path().into())),
            Err(OpenError::Newer(why)) => {
                return Err(StoreError::Newer { path: keeper.place.path().into(), why });
            }
        };
        if kept.cookie_secret.is_empty() {
            kept.cookie_secret = random_secret()?;
            if let FileState::Open(database, _) = &keeper.file
                && let Err(error) = database.set_secret(COOKIE_SECRET, &kept.cookie_secret)
            {
                keeper.file = FileState::Away(Outage::begin());
                keeper.say_write_failed(&error.to_string());
            }
        }
        keeper.splits.clone_from(&kept.splits);
        keeper.runs.clone_from(&kept.runs);
        keeper.cookie_secret.clone_from(&kept.cookie_secret);
        Ok((keeper, kept))
    }

    /// Works until the desk is closed.
    pub(super) fn work(&mut self, desk: &Desk) {
        let (mut flushes, mut lent) = (Vec::new(), None);
        loop {
            let Errand { batch, adopted, reads, flushes: asked, loan, more, closed } =
                desk.take(self.patience(), !self.unwritten.is_empty());
            flushes.extend(asked);
            lent = self.heed(loan).or(lent);
            self.accept(batch, adopted);
            let written = self.settle(!flushes.is_empty() || lent.is_some() || closed);
            reads.into_iter().for_each(|read| self.answer(read));
            if written && more {
                continue;
            }
            if closed {
                self.let_go();
            }
            if let Some(answer) = lent.take() {
                self.lend(written, answer);
            }
            for flush in flushes.drain(..) {
                let _ = flush.send(written);
            }
            if closed {
                return;
            }
        }
    }

    /// Closes the file and gives up the lock: another process may take over.
    fn let_go(&mut self) {
        self.interrupt();
        self.place.leave();
    }

    /// Closes the file, if it is open.
    fn interrupt(&mut self) {
        if let FileState::Open(..) = self.file {
            self.file = FileState::Away(Outage::begin());
        }
    }

    /// Takes over work; before the last is written, the desk hands out newer runs alone.
    pub(super) fn accept(&mut self, mut batch: Batch, adopted: bool) {
        if adopted {
            self.late = None;
        }
        if let Some(late) = &self.late {
            batch.go_on_from(late);
        }
        if let Some(splits) = &batch.splits {
            self.splits.clone_from(splits);
        }
        self.runs.extend(batch.runs.iter().map(|(name, run)| (name.clone(), run.clone())));
        if self.unwritten.is_empty() {
            self.unwritten = batch;
        } else {
            self.unwritten.runs.extend(batch.runs);
        }
    }

    fn patience(&self) -> Option<Duration> {
        match self.file {
            FileState::Open(..) | FileState::Lent => None,
            FileState::Away(outage) | FileState::NeverRead(outage) => Some(outage.patience()),
        }
    }

    /// Writes what waits if the disk may be tried; whether nothing is left to write.
    pub(super) fn settle(&mut self, asked: bool) -> bool {
        let outage = match &mut self.file {
            FileState::Open(..) => None,
            FileState::Lent => return false,
            FileState::Away(outage) | FileState::NeverRead(outage) => {
                if !outage.ends_pause(asked) {
                    return false;
                }
                let outage = *outage;
                if self.reopen().is_err() {
                    return false;
                }
                Some(outage)
            }
        };
        match (self.write_or_replace(), outage) {
            (Ok(()), outage) => {
                self.unwritten = Batch::default();
                if outage.is_some() {
                    let message = "the state file can be read and written again";
                    self.say(EventKind::StateRecovered, message.to_owned());
                }
                true
            }
            // It can be opened, and no more: the outage goes on.
            (Err(_), Some(outage)) => {
                self.file = FileState::Away(outage);
                false
            }
            (Err(why), None) => {
                self.interrupt();
                self.say_write_failed(&why);
                false
            }
        }
    }

    /// Writes what waits; a file that turns out damaged or gone is replaced by a fresh one, once.
    fn write_or_replace(&mut self) -> Result<(), String> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.replace_lost().map_err(|error| error.to_string())?;
        match self.write() {
            Err(DatabaseError::Damaged(why)) => {
                self.interrupt();
                self.set_aside(&why).map_err(|error| error.to_string())?;
                self.reopen().map_err(|error| error.to_string())?;
                self.write().map_err(|error| error.to_string())
            }
            written => written.map_err(|error| error.to_string()),
        }
    }

    /// Begins anew when the file's name leads to another file, or to none: nobody would find what goes to the old one.
    fn replace_lost(&mut self) -> Result<(), OpenError> {
        match &self.file {
            FileState::Open(database, opened) if !self.place.holds(*opened) => {
                // Should it fail, the next file is found damaged, and begun anew.
                let _ = database.gather();
            }
            FileState::Open(..)
            | FileState::Away(_)
            | FileState::NeverRead(_)
            | FileState::Lent => return Ok(()),
        }
        self.interrupt();
        let message = "the state file was deleted or replaced while in use; the file that has its name now gets all \
                       splits set by hand and the events that were not written yet, older events are lost";
        self.say(EventKind::StateDamaged, message.to_owned());
        self.reopen()
    }

    fn write(&mut self) -> Result<(), DatabaseError> {
        match &mut self.file {
            FileState::Open(database, _) => database.write(&self.unwritten),
            FileState::Away(_) | FileState::NeverRead(_) | FileState::Lent => {
                Err(DatabaseError::Unavailable("not open".to_owned()))
            }
        }
    }

    /// Opens the file again: what is in memory is its new contents, unless it has never been read.
    fn reopen(&mut self) -> Result<(), OpenError> {
        let (file, mut kept) = self.begin()?;
        let late = match self.file {
            FileState::NeverRead(_) => true,
            FileState::Open(..) | FileState::Away(_) | FileState::Lent => false,
        };
        if let FileState::Open(database, _) = &file
            && (!late || kept.cookie_secret.is_empty())
        {
            database.set_secret(COOKIE_SECRET, &self.cookie_secret)?;
            kept.cookie_secret.clone_from(&self.cookie_secret);
        }
        self.file = file;
        self.unwritten.splits = Some(self.splits.clone());
        if late {
            self.inherit(kept);
        } else {
            self.unwritten.runs.clone_from(&self.runs);
        }
        Ok(())
    }

    /// Puts what is in memory behind and over what the file held all the time, and tells the controller.
    fn inherit(&mut self, kept: Kept) {
        self.unwritten.go_on_from(&kept);
        let meanwhile = std::mem::replace(&mut self.runs, kept.runs.clone());
        for (rollout, mut run) in meanwhile {
            run.number += kept.newest_number(&rollout);
            self.runs.insert(rollout, run);
        }
        self.splits = self.unwritten.splits.clone().unwrap_or_default();
        self.cookie_secret.clone_from(&kept.cookie_secret);
        self.late = Some(kept.clone());
        // Without a receiver the process is ending: then what was merged here is all there is to write.
        let _ = self.late_reads.try_send(kept);
    }

    /// Opens the file and reads what it holds, setting it aside first where it is damaged.
    fn begin(&mut self) -> Result<(FileState, Kept), OpenError> {
        let gone = self.place.is_deserted();
        self.place.take()?;
        match self.load() {
            Err(DatabaseError::Damaged(why)) => {
                self.set_aside(&why)?;
                let (file, kept) = self.load()?;
                Ok((file, Kept { past: Past::Lost, ..kept }))
            }
            Ok((file, kept)) if gone => Ok((file, Kept { past: Past::Lost, ..kept })),
            loaded => Ok(loaded?),
        }
    }

    fn load(&self) -> Result<(FileState, Kept), DatabaseError> {
        let identity = self.place.prepare()?;
        let database = Database::open(self.place.path())?;
        let (runs, unreadable) = database.runs()?;
        let kept = Kept {
            splits: database.splits()?,
            runs,
            unreadable,
            cookie_secret: database.secret(COOKIE_SECRET)?.unwrap_or_default(),
            last_event: database.last_event(),
            past: Past::Known,
        };
        Ok((FileState::Open(database, identity), kept))
    }

    fn set_aside(&self, why: &str) -> io::Result<()> {
        let aside = self.place.set_aside()?;
        let message = format!(
            "the state file was damaged ({why}); it is kept as {}, and a new one begun",
            aside.display()
        );
        self.say(EventKind::StateDamaged, message);
        Ok(())
    }

    fn answer(&self, read: Read) {
        let database = match &self.file {
            FileState::Open(database, _) => Some(database),
            FileState::Away(_) | FileState::NeverRead(_) | FileState::Lent => None,
        };
        // Nobody hears the answer when whoever asked has left.
        match read {
            Read::Events { after, limit, answer } => {
                let found = database.and_then(|database| database.events(after, limit).ok());
                let _ = answer.send(found);
            }
            Read::Story { rollout, number, since_ms, answer } => {
                let found =
                    database.and_then(|database| database.story(&rollout, number, since_ms).ok());
                let _ = answer.send(found);
            }
        }
    }

    fn say_write_failed(&self, why: &str) {
        let message = format!(
            "the state file cannot be used ({why}); state is kept in memory, and the file is tried again"
        );
        self.say(EventKind::StateWriteFailed, message);
    }

    fn say(&self, kind: EventKind, message: String) {
        let subject = self.place.path().display().to_string();
        self.events.report(Event::new(kind, clock::wall_millis(), subject, message));
    }
}

fn random_secret() -> io::Result<Vec<u8>> {
    let mut secret = vec![0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

#[cfg(test)]
impl Keeper {
    /// Lets the file grow no more while it stays open.
    pub(super) fn fill_up(&self) {
        let FileState::Open(database, _) = &self.file else { panic!("the file is away") };
        database.fill_up();
    }

    /// Events in the file.
    pub(super) fn count_events(&self) -> usize {
        let FileState::Open(database, _) = &self.file else { panic!("the file is away") };
        database.events(Some(0), usize::MAX).unwrap().len()
    }
}
