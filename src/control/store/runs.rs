//! Rows of rollouts: their runs, and the samples taken of both sides.
//!
//! Bounded: so many runs of a rollout, so many samples of a run; the oldest give way.

use rusqlite::{Connection, Row, params};

use super::{
    Kept,
    database::{DatabaseError, damaged},
};
use crate::{
    control::rollouts::{Run, Runs, Sample, SideSample},
    domain::{RolloutName, Weight},
};

/// Runs kept of each rollout.
const MAX_RUNS: i64 = 20;
/// Samples kept of each run: some megabytes.
const MAX_SAMPLES: i64 = 20_000;
/// Events that a story tells at most, the newest.
pub(super) const MOST_TOLD: i64 = 2_000;

/// A sample, and of which run it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeptSample {
    pub(super) rollout: RolloutName,
    pub(super) number: u64,
    pub(super) sample: Sample,
}

/// A run whose record says nothing to this program. Its row stays as it is, for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control) struct UnreadableRun {
    /// As it stands there.
    pub(in crate::control) rollout: String,
    /// 0 where that cannot be read either.
    pub(in crate::control) number: u64,
    /// What is wrong with it.
    pub(in crate::control) why: String,
}

/// Numbers what began without knowing of the runs of `earlier` after those.
pub(super) fn number_after<'s>(
    earlier: &Kept,
    runs: &mut Runs,
    samples: impl Iterator<Item = &'s mut KeptSample>,
) {
    for (rollout, run) in runs {
        run.number += earlier.newest_number(rollout);
    }
    for kept in samples {
        kept.number += earlier.newest_number(&kept.rollout);
    }
}

/// The newest run of each rollout, and those of them that cannot be read: one of these costs the others nothing.
pub(super) fn newest(connection: &Connection) -> Result<(Runs, Vec<UnreadableRun>), DatabaseError> {
    // With max() as the only aggregate, SQLite takes the other columns from the row that has it.
    let sql = "SELECT rollout, max(number) AS number, record FROM runs GROUP BY rollout";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let (mut runs, mut unreadable) = (Runs::new(), Vec::new());
    while let Some(row) = rows.next()? {
        // As bytes: what is no text any more must not keep the other rows back.
        let bytes = |column| row.get_ref(column).map(|value| value.as_bytes().unwrap_or_default());
        let rollout = String::from_utf8_lossy(bytes("rollout")?).into_owned();
        let number = unsigned(row.get("number")?);
        let name = RolloutName::new(&rollout).map_err(|error| error.to_string());
        let record = serde_json::from_slice(bytes("record")?).map_err(|error| error.to_string());
        match (name, record) {
            (Ok(name), Ok(record)) => drop(runs.insert(name, Run { number, record })),
            (Err(why), _) | (Ok(_), Err(why)) => {
                unreadable.push(UnreadableRun { rollout, number, why });
            }
        }
    }
    Ok((runs, unreadable))
}

/// Writes a run over its older state, and lets the oldest runs of its rollout go.
pub(super) fn insert_run(
    connection: &Connection,
    rollout: &RolloutName,
    run: &Run,
) -> Result<(), DatabaseError> {
    let number = i64::try_from(run.number).unwrap_or(i64::MAX);
    let record = serde_json::to_string(&run.record).map_err(damaged)?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO runs VALUES (?1, ?2, ?3)")?
        .execute(params![rollout.as_str(), number, record])?;
    for table in ["runs", "samples"] {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE rollout = ?1 AND number <= ?2"))?
            .execute(params![rollout.as_str(), number - MAX_RUNS])?;
    }
    Ok(())
}

/// Writes a sample, and thins out the older half of a run that has very many.
pub(super) fn insert_sample(
    connection: &Connection,
    kept: &KeptSample,
) -> Result<(), DatabaseError> {
    let KeptSample { rollout, number, sample } = kept;
    let Sample { at_ms, weight, baseline, canary } = sample;
    let number = signed(*number);
    let micros = |latency: Option<u64>| latency.map(signed);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO samples VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            rollout.as_str(),
            number,
            signed(*at_ms),
            weight.basis_points(),
            baseline.rps,
            baseline.error_rate,
            micros(baseline.p50_us),
            micros(baseline.p95_us),
            micros(baseline.p99_us),
            canary.rps,
            canary.error_rate,
            micros(canary.p50_us),
            micros(canary.p95_us),
            micros(canary.p99_us),
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM samples WHERE rollout = ?1 AND number = ?2 AND at <= (SELECT at FROM samples \
             WHERE rollout = ?1 AND number = ?2 ORDER BY at DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute(params![rollout.as_str(), number, MAX_SAMPLES])?;
    Ok(())
}

/// The samples of a run, in the order of their times.
pub(super) fn samples(
    connection: &Connection,
    rollout: &RolloutName,
    number: u64,
) -> Result<Vec<Sample>, DatabaseError> {
    let sql = "SELECT * FROM samples WHERE rollout = ?1 AND number = ?2 ORDER BY at";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![rollout.as_str(), signed(number)])?;
    let mut samples = Vec::new();
    while let Some(row) = rows.next()? {
        samples.push(sample(row)?);
    }
    Ok(samples)
}

fn sample(row: &Row<'_>) -> Result<Sample, DatabaseError> {
    let weight = Weight::from_basis_points(row.get("weight")?);
    Ok(Sample {
        at_ms: unsigned(row.get("at")?),
        weight: weight.ok_or_else(|| DatabaseError::Damaged("a weight above 100 %".to_owned()))?,
        baseline: side(row, "baseline")?,
        canary: side(row, "canary")?,
    })
}

fn side(row: &Row<'_>, name: &str) -> Result<SideSample, DatabaseError> {
    let micros = |column: &str| -> Result<Option<u64>, DatabaseError> {
        let latency: Option<i64> = row.get(format!("{name}_{column}_us").as_str())?;
        Ok(latency.map(unsigned))
    };
    Ok(SideSample {
        rps: row.get(format!("{name}_rps").as_str())?,
        error_rate: row.get(format!("{name}_error_rate").as_str())?,
        p50_us: micros("p50")?,
        p95_us: micros("p95")?,
        p99_us: micros("p99")?,
    })
}

/// SQLite knows signed numbers alone.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
