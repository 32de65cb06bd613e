//! Rows of rollouts: their runs, and the samples taken of both sides.
//!
//! Bounded: so many runs of a rollout, so many samples of a run; the oldest give way.

use rusqlite::{Connection, Row, params};

use super::database::{DatabaseError, damaged, from_json};
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

/// Numbers what began without knowing of `earlier` runs after those.
pub(super) fn number_after<'s>(
    earlier: &Runs,
    runs: &mut Runs,
    samples: impl Iterator<Item = &'s mut KeptSample>,
) {
    let taken = |rollout: &RolloutName| earlier.get(rollout).map_or(0, |run| run.number);
    for (rollout, run) in runs {
        run.number += taken(rollout);
    }
    for kept in samples {
        kept.number += taken(&kept.rollout);
    }
}

/// The newest run of each rollout.
pub(super) fn newest(connection: &Connection) -> Result<Runs, DatabaseError> {
    // With max() as the only aggregate, SQLite takes the other columns from the row that has it.
    let sql = "SELECT rollout, max(number) AS number, record FROM runs GROUP BY rollout";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut runs = Runs::new();
    while let Some(row) = rows.next()? {
        let rollout = RolloutName::new(&row.get::<_, String>("rollout")?).map_err(damaged)?;
        let number = u64::try_from(row.get::<_, i64>("number")?).map_err(damaged)?;
        let record = from_json(&row.get::<_, String>("record")?)?;
        runs.insert(rollout, Run { number, record });
    }
    Ok(runs)
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
