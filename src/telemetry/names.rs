//! Every metric that Tidegate exports, its labels and its help text.
//!
//! The list is part of the contract with dashboards and alerts: entries may be added, none renamed. Every label value comes
//! from the configuration or from a closed set of our own, none from a client. The `process_*` metrics come from the
//! `prometheus` crate.

/// What a metric's value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bound, with sum and count.
    Histogram,
}

/// One exported metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name, unit last.
    pub name: &'static str,
    /// What it says, in one sentence.
    pub help: &'static str,
    /// Kind of value.
    pub kind: MetricKind,
    /// Labels in the order of their values.
    pub labels: &'static [&'static str],
}

/// Attempts, by how they count.
pub const REQUESTS: Metric = Metric {
    name: "tidegate_requests_total",
    help: "Attempts against a backend, by class: success, failure (the backend's), excluded (says nothing about it).",
    kind: MetricKind::Counter,
    labels: &["route", "backend", "class"],
};

/// Answers of backends, by status code.
pub const RESPONSES: Metric = Metric {
    name: "tidegate_responses_total",
    help: "Answers of a backend, by status code.",
    kind: MetricKind::Counter,
    labels: &["route", "backend", "code"],
};

/// Attempts that clients gave up on.
pub const ABANDONED: Metric = Metric {
    name: "tidegate_abandoned_total",
    help: "Attempts whose client left before the backend's answer began; excluded ones all.",
    kind: MetricKind::Counter,
    labels: &["route", "backend"],
};

/// Requests sent again.
pub const RETRIES: Metric = Metric {
    name: "tidegate_retries_total",
    help: "Requests sent to a backend once more, after an endpoint failed them or the idle connection that took them had died.",
    kind: MetricKind::Counter,
    labels: &["route", "backend"],
};

/// Requests that the baseline answers for the canary.
pub const FALLBACKS: Metric = Metric {
    name: "tidegate_fallbacks_total",
    help: "Requests that one backend failed, or was made to give up, and that were sent on to another.",
    kind: MetricKind::Counter,
    labels: &["route", "from", "to"],
};

/// Copies of requests.
pub const MIRRORED: Metric = Metric {
    name: "tidegate_mirror_requests_total",
    help: "Requests to be mirrored, by outcome: answered, failed, late, too_large, slow, no_room, cut.",
    kind: MetricKind::Counter,
    labels: &["route", "backend", "outcome"],
};

/// Their answers.
pub const MIRROR_COMPARISONS: Metric = Metric {
    name: "tidegate_mirror_comparisons_total",
    help: "Answers of a mirror, by what came of comparing them: same, different, learning, too_large, unanswered.",
    kind: MetricKind::Counter,
    labels: &["route", "backend", "result"],
};

/// Answers that tell of a cache.
pub const CACHE_ANSWERS: Metric = Metric {
    name: "tidegate_cache_answers_total",
    help: "Answers of a backend that have its cache_status_header.",
    kind: MetricKind::Counter,
    labels: &["route", "backend"],
};

/// Those that came from it.
pub const CACHE_HITS: Metric = Metric {
    name: "tidegate_cache_hits_total",
    help: "Answers of a backend whose cache_status_header begins with HIT.",
    kind: MetricKind::Counter,
    labels: &["route", "backend"],
};

/// Latency to the last byte.
pub const DURATION: Metric = Metric {
    name: "tidegate_request_duration_seconds",
    help: "Time from the begin of an attempt to the last byte of its answer, excluded attempts left out.",
    kind: MetricKind::Histogram,
    labels: &["route", "backend"],
};

/// Latency to the first byte.
pub const FIRST_BYTE: Metric = Metric {
    name: "tidegate_first_byte_seconds",
    help: "Time from the begin of an attempt to the first byte of its answer, excluded attempts left out.",
    kind: MetricKind::Histogram,
    labels: &["route", "backend"],
};

/// Answers that Tidegate gave itself.
pub const ERRORS: Metric = Metric {
    name: "tidegate_errors_total",
    help: "Requests answered or cut short by Tidegate itself, by reason.",
    kind: MetricKind::Counter,
    labels: &["reason"],
};

/// Requests over a rate limit.
pub const RATE_LIMITED: Metric = Metric {
    name: "tidegate_rate_limited_total",
    help: "Requests that a rate limit refused.",
    kind: MetricKind::Counter,
    labels: &["route"],
};

/// Shares in force.
pub const SPLIT_WEIGHT: Metric = Metric {
    name: "tidegate_split_weight",
    help: "Share of a route's requests that goes to a backend, 0 to 1.",
    kind: MetricKind::Gauge,
    labels: &["route", "backend"],
};

/// Whether endpoints take requests.
pub const ENDPOINT_HEALTHY: Metric = Metric {
    name: "tidegate_endpoint_healthy",
    help: "Whether an endpoint takes requests: 1 or 0.",
    kind: MetricKind::Gauge,
    labels: &["backend", "endpoint"],
};

/// Endpoints taken out, and those that were not.
pub const EJECTIONS: Metric = Metric {
    name: "tidegate_endpoint_ejections_total",
    help: "Times that an endpoint failed often enough to be ejected, by result: ejected, withheld (by a limit).",
    kind: MetricKind::Counter,
    labels: &["backend", "endpoint", "result"],
};

/// Load of endpoints.
pub const ENDPOINT_IN_FLIGHT: Metric = Metric {
    name: "tidegate_endpoint_in_flight",
    help: "Requests under way at an endpoint.",
    kind: MetricKind::Gauge,
    labels: &["backend", "endpoint"],
};

/// Connections of clients.
pub const CONNECTIONS: Metric = Metric {
    name: "tidegate_connections",
    help: "Connections of clients that are open on a listener.",
    kind: MetricKind::Gauge,
    labels: &["listener"],
};

/// Outcome of the last reload.
pub const RELOAD_SUCCESSFUL: Metric = Metric {
    name: "tidegate_config_last_reload_successful",
    help: "Whether the last reading of the configuration succeeded: 1 or 0.",
    kind: MetricKind::Gauge,
    labels: &[],
};

/// Time of the last good reload.
pub const RELOAD_SUCCESS_AT: Metric = Metric {
    name: "tidegate_config_last_reload_success_timestamp_seconds",
    help: "When the configuration was last read with success, in seconds since 1970 UTC.",
    kind: MetricKind::Gauge,
    labels: &[],
};

/// Overflows of bounded queues.
pub const OVERFLOW: Metric = Metric {
    name: "tidegate_overflow_total",
    help: "Things that a bounded queue or limit did not take.",
    kind: MetricKind::Counter,
    labels: &["queue"],
};

/// TLS handshakes with clients.
pub const HANDSHAKES: Metric = Metric {
    name: "tidegate_tls_handshakes_total",
    help: "TLS handshakes with clients, by result: full, resumed, failed, late.",
    kind: MetricKind::Counter,
    labels: &["result"],
};

/// Clients that came in the clear.
pub const HTTPS_REDIRECTS: Metric = Metric {
    name: "tidegate_https_redirects_total",
    help: "Requests answered with a redirect to https.",
    kind: MetricKind::Counter,
    labels: &[],
};

/// How long certificates last.
pub const CERTIFICATE_EXPIRY: Metric = Metric {
    name: "tidegate_certificate_expiry_timestamp_seconds",
    help: "When a certificate in use expires, in seconds since 1970 UTC.",
    kind: MetricKind::Gauge,
    labels: &["owner", "file"],
};

/// Where rollouts are.
pub const ROLLOUT_PHASE: Metric = Metric {
    name: "tidegate_rollout_phase",
    help: "Phase of a rollout: 1 for the one that it is in, else 0.",
    kind: MetricKind::Gauge,
    labels: &["rollout", "phase"],
};

/// At which step rollouts are.
pub const ROLLOUT_STEP: Metric = Metric {
    name: "tidegate_rollout_step",
    help: "Step of a rollout, counted from 1; 0 outside the steps.",
    kind: MetricKind::Gauge,
    labels: &["rollout"],
};

/// How much canaries get.
pub const ROLLOUT_WEIGHT: Metric = Metric {
    name: "tidegate_rollout_weight",
    help: "Share of its route's requests that a rollout gives to the canary, 0 to 1.",
    kind: MetricKind::Gauge,
    labels: &["rollout"],
};

/// Rollouts that turned back.
pub const ROLLBACKS: Metric = Metric {
    name: "tidegate_rollbacks_total",
    help: "Rollbacks, by what caused them.",
    kind: MetricKind::Counter,
    labels: &["rollout", "cause"],
};

/// What the evidence says.
pub const VERDICT: Metric = Metric {
    name: "tidegate_verdict",
    help: "What the evidence says of a rollout's canary: 1 good, 0 not known, -1 bad.",
    kind: MetricKind::Gauge,
    labels: &["rollout"],
};

/// What became of notifications.
pub const NOTIFICATIONS: Metric = Metric {
    name: "tidegate_notifications_total",
    help: "Notifications of a sink, by result: sent, failed (given up), dropped (by a full queue).",
    kind: MetricKind::Counter,
    labels: &["sink", "result"],
};

/// What became of spans.
pub const TRACE_SPANS: Metric = Metric {
    name: "tidegate_trace_spans_total",
    help: "Spans of traced requests, by result: exported, failed (given up), dropped (by a full queue).",
    kind: MetricKind::Counter,
    labels: &["result"],
};

/// The version that runs.
pub const BUILD: Metric = Metric {
    name: "tidegate_build_info",
    help: "Always 1; the label says which version runs.",
    kind: MetricKind::Gauge,
    labels: &["version"],
};

/// Every metric of our own.
pub const ALL: &[&Metric] = &[
    &REQUESTS,
    &RESPONSES,
    &ABANDONED,
    &RETRIES,
    &FALLBACKS,
    &MIRRORED,
    &MIRROR_COMPARISONS,
    &CACHE_ANSWERS,
    &CACHE_HITS,
    &DURATION,
    &FIRST_BYTE,
    &ERRORS,
    &RATE_LIMITED,
    &SPLIT_WEIGHT,
    &ENDPOINT_HEALTHY,
    &EJECTIONS,
    &ENDPOINT_IN_FLIGHT,
    &CONNECTIONS,
    &RELOAD_SUCCESSFUL,
    &RELOAD_SUCCESS_AT,
    &OVERFLOW,
    &HANDSHAKES,
    &HTTPS_REDIRECTS,
    &CERTIFICATE_EXPIRY,
    &ROLLOUT_PHASE,
    &ROLLOUT_STEP,
    &ROLLOUT_WEIGHT,
    &ROLLBACKS,
    &VERDICT,
    &NOTIFICATIONS,
    &TRACE_SPANS,
    &BUILD,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in ALL {
            let name = metric.name;
            assert!(name.starts_with("tidegate_"), "{name}");
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == MetricKind::Counter, "{name}");
            let timed = metric.kind == MetricKind::Histogram;
            assert!(!timed || name.ends_with("_seconds"), "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn each_name_stands_for_one_metric() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
