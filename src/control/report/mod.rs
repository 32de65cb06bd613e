//! The report of a rollout, after it or while it runs: for people, for tickets, and for programs.
//!
//! Pure: what is told comes in as [`Report`], and the same report always makes the same text.

mod chart;
mod html;
mod markdown;
mod story;
mod words;

use serde::{Deserialize, Serialize};

pub(in crate::control) use self::story::recommend;
use super::rollouts::{RolloutStatus, Sample};
use crate::telemetry::Event;

/// Everything that a report tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the program that made it.
    pub version: String,
    /// When it was made, in Unix milliseconds.
    pub made_at_ms: u64,
    /// When the run began, in Unix milliseconds; absent before the first.
    pub started_at_ms: Option<u64>,
    /// When it ended, in Unix milliseconds; absent while it runs.
    pub ended_at_ms: Option<u64>,
    /// What to do next.
    pub recommendation: String,
    /// How it stands, or stood at its end.
    pub rollout: RolloutStatus,
    /// Checks, in the order in which they ended.
    pub checks: Vec<CheckRun>,
    /// Hooks, in the order in which they ended.
    pub hooks: Vec<HookRun>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Both sides over time.
    pub samples: Vec<Sample>,
    /// Whether the state file could be asked for events and samples of long ago.
    pub complete: bool,
}

/// A check, and how it went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckRun {
    /// Its name.
    pub name: String,
    /// One of the six categories.
    pub category: String,
    /// `pre`, `during` or `post`.
    pub stage: String,
    /// Whether it passed.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
    /// Time it took, in milliseconds.
    pub took_ms: u64,
}

/// A hook, and how it went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookRun {
    /// Its name.
    pub name: String,
    /// What it was run at, as in `rollback`.
    pub on: String,
    /// Its rung of the rollback ladder.
    pub level: u8,
    /// Whether it did what it should.
    pub ok: bool,
    /// Time it took, in milliseconds.
    pub took_ms: u64,
    /// Time it was given, in milliseconds.
    pub budget_ms: u64,
    /// What it wrote, shortened.
    pub output: String,
}

/// How a report is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    /// Markdown.
    #[default]
    Md,
    /// One page that needs nothing else, with charts.
    Html,
    /// The whole of [`Report`].
    Json,
}

impl ReportFormat {
    /// The content type of what [`Report::render`] gives.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Md => "text/markdown; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

impl Report {
    /// The report as text.
    ///
    /// # Errors
    /// What the JSON form may say of a number that JSON does not know.
    pub fn render(&self, format: ReportFormat) -> Result<String, serde_json::Error> {
        match format {
            ReportFormat::Md => Ok(markdown::render(self)),
            ReportFormat::Html => Ok(html::render(self)),
            ReportFormat::Json => Ok(serde_json::to_string_pretty(self)? + "\n"),
        }
    }
}

#[cfg(test)]
mod tests;
