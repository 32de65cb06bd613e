//! Is state kept, and can it be?

use super::{Builtin, Finding, holds, stops};
use crate::{
    config::model::Check,
    domain::{CheckCategory, HookPoint, plan::OnFailure},
};

/// Room below which the state file cannot be trusted to be written.
const LEAST_ROOM: u64 = 16 << 20;

/// Room for the events and samples of a long rollout.
const ENOUGH_ROOM: u64 = 256 << 20;

/// Files that the state needs beside it.
const LEAST_FILES: u64 = 16;

/// The rung of the rollback ladder that belongs to the database.
const DATABASE_LEVEL: u8 = 4;

pub(super) const CHECKS: &[Builtin] = &[
    stops("the state file is written", |e| match e.durable {
        true => Finding::pass("the last event is on disk"),
        false => Finding::fail(
            "events and weights are not on disk: a restart would forget the rollout",
            "see the event state_write_failed for the reason",
        ),
    }),
    stops("the state folder is writable", |e| {
        let folder = e.machine.state_folder.display();
        match &e.machine.writable {
            Some(Ok(())) => Finding::pass(folder.to_string()),
            Some(Err(why)) => Finding::fail(
                format!("{folder}: {why}"),
                "give the folder to the user that Tidegate runs as",
            ),
            None => Finding::fail("the disk does not answer", "look at the disk of the state file"),
        }
    }),
    stops("the state disk has room", |e| match e.machine.free_bytes {
        Some(free) if free < LEAST_ROOM => {
            Finding::fail(format!("{} are free", mib(free)), "make room for the state file")
        }
        Some(free) if free < ENOUGH_ROOM => {
            let wanted = mib(ENOUGH_ROOM);
            Finding::warn(format!("{} are free", mib(free)), format!("make room for {wanted}"))
        }
        Some(free) => Finding::pass(format!("{} are free", mib(free))),
        None => Finding::Moot,
    }),
    holds("the state disk takes more files", |e| match e.machine.free_files {
        Some(free) if free < LEAST_FILES => {
            Finding::fail(format!("{free} more"), "delete files on the disk of the state file")
        }
        Some(free) => Finding::pass(format!("{free} more")),
        None => Finding::Moot,
    }),
    holds("data has a check of its own", |e| {
        let own = |check: &&Check| check.category == CheckCategory::Database;
        match e.checks.iter().filter(own).count() {
            0 => Finding::warn(
                "no check of category database: nothing says that both versions work on the same data",
                "add a check that writes on one side and reads on the other",
            ),
            count => Finding::pass(format!("{count} checks")),
        }
    }),
    holds("data has a way back", |e| {
        let rung = |hook: &crate::config::model::Hook| {
            hook.point == HookPoint::Rollback && hook.level == Some(DATABASE_LEVEL)
        };
        match (e.hooks.iter().find(|hook| rung(hook)), e.plan.on_failure) {
            (Some(hook), _) => Finding::pass(format!("hook {}", hook.name)),
            (None, OnFailure::Pause) => {
                Finding::pass("a failure pauses, for what cannot be undone")
            }
            (None, OnFailure::Rollback) => Finding::warn(
                "a rollback moves the traffic and leaves the data as it is",
                "if the canary changes data, add a rollback hook of level 4, or on_failure = \"pause\"",
            ),
        }
    }),
];

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
