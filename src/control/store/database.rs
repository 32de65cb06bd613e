//! The state file as SQL: schema, rows, and which faults mean that the file is damaged.
//!
//! Everything here blocks and belongs to the store's own thread.

use std::{collections::BTreeMap, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use super::{
    Kept,
    desk::Story,
    runs::{self, KeptSample, UnreadableRun},
};
use crate::{
    control::{
        hand_split::{HandSplit, HandSplits},
        rollouts::Runs,
    },
    domain::{BackendName, RolloutName, RouteName, Split, Weight},
    telemetry::Event,
};

/// Steps from an empty file to the present schema; a file that took the first n of them is of version n.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("schema_rollouts.sql")];
/// Older events are deleted: some tens of megabytes at most.
const MAX_EVENTS: i64 = 100_000;
/// Another program that reads the file, such as a backup, may hold it for so long.
const BUSY: Duration = Duration::from_secs(2);

/// An open state file.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    last_event: i64,
}

/// Why the state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    /// What stands in it cannot be trusted.
    #[error("{0}")]
    Damaged(String),
    /// It cannot be reached or written at present.
    #[error("{0}")]
    Unavailable(String),
    /// A newer Tidegate wrote it.
    #[error("schema {0} is newer than this program's {known}", known = MIGRATIONS.len())]
    Newer(usize),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        let message = error.to_string();
        // `Unknown` is SQLite's own fault in a statement: a table or column that should be there is not.
        let damaged = match error.sqlite_error_code() {
            Some(code) => matches!(
                code,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown
            ),
            None => true,
        };
        if damaged { Self::Damaged(message) } else { Self::Unavailable(message) }
    }
}

/// Work for one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order of their numbers.
    pub(super) events: Vec<Event>,
    /// All splits set by hand, when they have changed.
    pub(super) splits: Option<HandSplits>,
    /// Runs that have changed.
    pub(super) runs: Runs,
    /// In the order of their times.
    pub(super) samples: Vec<KeptSample>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.splits.is_none()
            && self.runs.is_empty()
            && self.samples.is_empty()
    }

    /// Puts its events and runs behind those of `kept`, and its splits over those of `kept`.
    pub(super) fn go_on_from(&mut self, kept: &Kept) {
        for event in &mut self.events {
            event.id += kept.last_event;
        }
        if let Some(splits) = &mut self.splits {
            let newer = std::mem::replace(splits, kept.splits.clone());
            splits.extend(newer);
        }
        runs::number_after(kept, &mut self.runs, self.samples.iter_mut());
    }
}

impl Database {
    /// Opens `path`, checks it through, and brings its schema up to date.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // An operator's split is answered once it is in force; a power cut shortly after must not undo it.
        connection.pragma_update(None, "synchronous", "full")?;
        let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if check != "ok" {
            return Err(DatabaseError::Damaged(check));
        }
        migrate(&mut connection)?;
        let last_event =
            connection
                .query_row("SELECT coalesce(max(id), 0) FROM events", [], |row| row.get(0))?;
        Ok(Self { connection, last_event })
    }

    /// Number of the newest event, 0 without any.
    pub(super) fn last_event(&self) -> u64 {
        u64::try_from(self.last_event).unwrap_or(0)
    }

    /// The splits set by hand.
    pub(super) fn splits(&self) -> Result<HandSplits, DatabaseError> {
        let sql = "SELECT route, split, file_split, actor, reason, at FROM splits";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut splits = HandSplits::new();
        while let Some(row) = rows.next()? {
            let (route, split) = hand_split(row)?;
            splits.insert(route, split);
        }
        Ok(splits)
    }

    /// The newest run of each rollout, and those of them that cannot be read.
    pub(super) fn runs(&self) -> Result<(Runs, Vec<UnreadableRun>), DatabaseError> {
        runs::newest(&self.connection)
    }

    /// What happened in a run that began at `since_ms`.
    pub(super) fn story(
        &self,
        rollout: &RolloutName,
        number: u64,
        since_ms: u64,
    ) -> Result<Story, DatabaseError> {
        let events = "SELECT * FROM (SELECT * FROM events WHERE subject = ?1 AND at >= ?2 ORDER BY id DESC LIMIT ?3) \
                      ORDER BY id";
        let since = i64::try_from(since_ms).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(events)?;
        let mut rows = statement.query(params![rollout.as_str(), since, runs::MOST_TOLD])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            events.push(event(row)?);
        }
        Ok(Story { events, samples: runs::samples(&self.connection, rollout, number)? })
    }

    /// The secret of that name.
    pub(super) fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
        let sql = "SELECT value FROM secrets WHERE name = ?1";
        Ok(self.connection.query_row(sql, [name], |row| row.get(0)).optional()?)
    }

    /// Keeps `value` as the secret of that name.
    pub(super) fn set_secret(&self, name: &str, value: &[u8]) -> Result<(), DatabaseError> {
        let sql = "INSERT OR REPLACE INTO secrets (name, value) VALUES (?1, ?2)";
        self.connection.execute(sql, params![name, value])?;
        Ok(())
    }

    /// Writes all of `batch` or, on an error, nothing of it.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), DatabaseError> {
        let transaction = self.connection.transaction()?;
        let mut last_event = self.last_event;
        for event in &batch.events {
            // Another file may have been put in this one's place, and hold these numbers already.
            last_event = i64::try_from(event.id).unwrap_or(i64::MAX).max(last_event + 1);
            insert_event(&transaction, last_event, event)?;
        }
        if !batch.events.is_empty() {
            transaction.execute("DELETE FROM events WHERE id <= ?1", [last_event - MAX_EVENTS])?;
        }
        if let Some(splits) = &batch.splits {
            transaction.execute("DELETE FROM splits", [])?;
            for (route, split) in splits {
                insert_split(&transaction, route, split)?;
            }
        }
        for (rollout, run) in &batch.runs {
            runs::insert_run(&transaction, rollout, run)?;
        }
        for sample in &batch.samples {
            runs::insert_sample(&transaction, sample)?;
        }
        transaction.commit()?;
        self.last_event = last_event;
        Ok(())
    }

    /// Moves all that SQLite keeps beside the file into it, so that nothing of this file can be taken for another's that
    /// comes to lie under its name.
    pub(super) fn gather(&self) -> Result<(), DatabaseError> {
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    /// At most `limit` events in the order of their numbers: the first after `after`, or else the newest.
    pub(super) fn events(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Event>, DatabaseError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after_sql = "SELECT * FROM events WHERE id > ?1 ORDER BY id LIMIT ?2";
        let newest_sql = "SELECT * FROM (SELECT * FROM events WHERE id > ?1 ORDER BY id DESC LIMIT ?2) ORDER BY id";
        let sql = if after.is_some() { after_sql } else { newest_sql };
        let floor = i64::try_from(after.unwrap_or(0)).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![floor, limit])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            events.push(event(row)?);
        }
        Ok(events)
    }

    /// Caps the file's size, as a full disk would.
    #[cfg(test)]
    pub(super) fn fill_up(&self) {
        self.connection.query_row("PRAGMA max_page_count = 1", [], |_| Ok(())).unwrap();
    }
}

fn migrate(connection: &mut Connection) -> Result<(), DatabaseError> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT",
    )?;
    let sql = "SELECT value FROM meta WHERE key = 'schema'";
    let found: i64 = transaction.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(0);
    let found =
        usize::try_from(found).map_err(|error| DatabaseError::Damaged(error.to_string()))?;
    let missing = MIGRATIONS.get(found..).ok_or(DatabaseError::Newer(found))?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    if !missing.is_empty() {
        let version = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        transaction
            .execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('schema', ?1)", [version])?;
    }
    transaction.commit()?;
    Ok(())
}

fn insert_event(connection: &Connection, id: i64, event: &Event) -> Result<(), DatabaseError> {
    let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
    connection
        .prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            id,
            i64::try_from(event.at_ms).unwrap_or(i64::MAX),
            event.kind.label(),
            event.actor,
            event.subject,
            json(&event.before),
            json(&event.after),
            event.message,
        ])?;
    Ok(())
}

fn event(row: &Row<'_>) -> Result<Event, DatabaseError> {
    let value = |name: &str| -> Result<Option<serde_json::Value>, DatabaseError> {
        let text: Option<String> = row.get(name)?;
        text.map(|text| from_json(&text)).transpose()
    };
    let kind: String = row.get("kind")?;
    Ok(Event {
        id: u64::try_from(row.get::<_, i64>("id")?).unwrap_or(0),
        at_ms: u64::try_from(row.get::<_, i64>("at")?).unwrap_or(0),
        kind: serde_json::from_value(kind.into()).map_err(damaged)?,
        actor: row.get("actor")?,
        subject: row.get("subject")?,
        before: value("before")?,
        after: value("after")?,
        message: row.get("message")?,
    })
}

fn insert_split(
    connection: &Connection,
    route: &RouteName,
    hand: &HandSplit,
) -> Result<(), DatabaseError> {
    let json = |split: &Split| serde_json::to_string(split).map_err(damaged);
    connection.execute(
        "INSERT INTO splits VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            route.as_str(),
            json(&hand.split)?,
            json(&hand.file_split)?,
            hand.actor,
            hand.reason,
            i64::try_from(hand.at).unwrap_or(i64::MAX),
        ],
    )?;
    Ok(())
}

fn hand_split(row: &Row<'_>) -> Result<(RouteName, HandSplit), DatabaseError> {
    let split = |name: &str| -> Result<Split, DatabaseError> {
        let shares: BTreeMap<BackendName, Weight> = from_json(&row.get::<_, String>(name)?)?;
        Split::new(shares.into_iter().collect()).map_err(damaged)
    };
    let route = RouteName::new(&row.get::<_, String>("route")?).map_err(damaged)?;
    let hand = HandSplit {
        split: split("split")?,
        file_split: split("file_split")?,
        actor: row.get("actor")?,
        reason: row.get("reason")?,
        at: u64::try_from(row.get::<_, i64>("at")?).unwrap_or(0),
    };
    Ok((route, hand))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, DatabaseError> {
    serde_json::from_str(text).map_err(damaged)
}

pub(super) fn damaged(error: impl std::error::Error) -> DatabaseError {
    DatabaseError::Damaged(error.to_string())
}
