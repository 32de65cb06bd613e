CREATE TABLE runs (
    rollout TEXT NOT NULL,
    number INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (rollout, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE samples (
    rollout TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    baseline_rps REAL NOT NULL,
    baseline_error_rate REAL,
    baseline_p50_us INTEGER,
    baseline_p95_us INTEGER,
    baseline_p99_us INTEGER,
    canary_rps REAL NOT NULL,
    canary_error_rate REAL,
    canary_p50_us INTEGER,
    canary_p95_us INTEGER,
    canary_p99_us INTEGER,
    PRIMARY KEY (rollout, number, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_by_subject ON events (subject, id);
