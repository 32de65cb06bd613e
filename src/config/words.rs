//! Values that are one of a few words.

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::{
    fault::{Refusal, nearest, quote},
    health_check::HealthKind,
    leaf::{Leaf, text},
    model::{
        Algorithm, BackendProtocol, CheckTarget, FallbackCause, LogFormat, LogLevel, MetricUnit,
        Protocol, RetryCause,
    },
    outside::SinkWord,
    reader::not_yet,
    rollout::leaf::GateWord,
};
use crate::domain::{
    Balance, CheckCategory, CheckStage, HookPoint, MirrorDepth, NotificationKind, Severity,
    plan::{ExternalSources, OnFailure, OnThinTraffic},
};

/// What keeps a session on its backend, as `by` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AffinityBy {
    Cookie,
    AppCookie,
    Header,
    ClientIp,
    None,
}

/// One of a few words; those under `later` belong to the format but not to this version.
macro_rules! words {
    ($($type:ty { $($word:literal => $value:path,)+ } later [$($later:literal),*];)*) => {$(
        impl Leaf for $type {
            fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
                const WORDS: &[&str] = &[$($word),+];
                const LATER: &[&str] = &[$($later),*];
                match text(value, &one_of(WORDS))? {
                    $($word => Ok($value),)+
                    word if LATER.contains(&word) => Err(not_yet(&quote(word), None)),
                    word => Err(unknown_word(word, WORDS)),
                }
            }

            fn schema() -> Json {
                json!({ "enum": [$($word),+] })
            }

            fn json(&self) -> Json {
                match self {
                    $($value => $word.into(),)+
                }
            }
        }
    )*};
}

words! {
    Algorithm {
        "zstd" => Algorithm::Zstd,
        "br" => Algorithm::Brotli,
        "gzip" => Algorithm::Gzip,
    } later [];
    LogLevel {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
    } later [];
    LogFormat {
        "json" => LogFormat::Json,
        "text" => LogFormat::Text,
    } later [];
    Balance {
        "least_in_flight" => Balance::LeastInFlight,
        "round_robin" => Balance::RoundRobin,
        "ewma" => Balance::Ewma,
        "hash" => Balance::Hash,
    } later [];
    Protocol {
        "http/1.1" => Protocol::Http1,
        "h2" => Protocol::Http2,
    } later [];
    BackendProtocol {
        "http/1.1" => BackendProtocol::Http1,
        "h2" => BackendProtocol::Http2,
        "auto" => BackendProtocol::Auto,
    } later [];
    FallbackCause {
        "connect" => FallbackCause::Connect,
        "timeout" => FallbackCause::Timeout,
        "reset" => FallbackCause::Reset,
        "5xx" => FallbackCause::ServerError,
    } later [];
    RetryCause {
        "connect" => RetryCause::Connect,
        "refused" => RetryCause::Refused,
        "reset_before_response" => RetryCause::ResetBeforeResponse,
    } later [];
    HealthKind {
        "http" => HealthKind::Http,
        "tcp" => HealthKind::Tcp,
        "grpc" => HealthKind::Grpc,
    } later [];
    MirrorDepth {
        "off" => MirrorDepth::Off,
        "status" => MirrorDepth::Status,
        "headers" => MirrorDepth::Headers,
        "body" => MirrorDepth::Body,
    } later [];
    AffinityBy {
        "cookie" => AffinityBy::Cookie,
        "app_cookie" => AffinityBy::AppCookie,
        "header" => AffinityBy::Header,
        "client_ip" => AffinityBy::ClientIp,
        "none" => AffinityBy::None,
    } later [];
    MetricUnit {
        "share" => MetricUnit::Share,
        "duration" => MetricUnit::Duration,
        "count" => MetricUnit::Count,
        "bytes" => MetricUnit::Bytes,
    } later [];
    SinkWord {
        "slack" => SinkWord::Slack,
        "webhook" => SinkWord::Webhook,
        "email" => SinkWord::Email,
        "alertmanager" => SinkWord::Alertmanager,
    } later [];
    NotificationKind {
        "started" => NotificationKind::Started,
        "advanced" => NotificationKind::Advanced,
        "held" => NotificationKind::Held,
        "alert" => NotificationKind::Alert,
        "resolved" => NotificationKind::Resolved,
        "paused" => NotificationKind::Paused,
        "resumed" => NotificationKind::Resumed,
        "rolled_back" => NotificationKind::RolledBack,
        "promoted" => NotificationKind::Promoted,
        "failed" => NotificationKind::Failed,
    } later [];
    Severity {
        "info" => Severity::Info,
        "warning" => Severity::Warning,
        "critical" => Severity::Critical,
    } later [];
    CheckCategory {
        "api" => CheckCategory::Api,
        "database" => CheckCategory::Database,
        "performance" => CheckCategory::Performance,
        "feature" => CheckCategory::Feature,
        "integration" => CheckCategory::Integration,
        "monitoring" => CheckCategory::Monitoring,
    } later [];
    CheckStage {
        "pre" => CheckStage::Pre,
        "during" => CheckStage::During,
        "post" => CheckStage::Post,
    } later [];
    CheckTarget {
        "canary" => CheckTarget::Canary,
        "baseline" => CheckTarget::Baseline,
        "both" => CheckTarget::Both,
        "proxy" => CheckTarget::Proxy,
    } later [];
    GateWord {
        "none" => GateWord::None,
        "manual" => GateWord::Manual,
    } later [];
    OnThinTraffic {
        "hold" => OnThinTraffic::Hold,
        "advance" => OnThinTraffic::Advance,
    } later [];
    OnFailure {
        "rollback" => OnFailure::Rollback,
        "pause" => OnFailure::Pause,
    } later [];
    ExternalSources {
        "required" => ExternalSources::Required,
        "optional" => ExternalSources::Optional,
    } later [];
    HookPoint {
        "start" => HookPoint::Start,
        "before_step" => HookPoint::BeforeStep,
        "after_step" => HookPoint::AfterStep,
        "promote" => HookPoint::Promote,
        "rollback" => HookPoint::Rollback,
    } later [];
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("one of {}", words.join(", "))
}

fn unknown_word(word: &str, words: &[&str]) -> Refusal {
    let refusal = Refusal::new(format!("expected {}, found {}", one_of(words), quote(word)));
    match nearest(word, words.iter().copied()) {
        Some(meant) => refusal.hint(format!("did you mean \"{meant}\"?")),
        None => refusal,
    }
}
