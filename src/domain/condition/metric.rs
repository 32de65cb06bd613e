//! What a condition can speak of.

use std::{fmt, time::Duration};

use super::Unit;
use crate::domain::{MetricName, duration::format_duration};

/// Whose measurement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The backend under trial; a metric without prefix.
    Canary,
    /// The backend known to be good: `baseline.NAME`.
    Baseline,
}

/// One thing measured: what, of which side, over which time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gauge {
    /// Whose; the canary's for what has no side.
    pub side: Side,
    /// What.
    pub metric: Metric,
    /// Over which time; `None` is the plan's window.
    pub window: Option<Duration>,
}

/// How a metric comes about, and so what can be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Counted over a window, of either side.
    Windowed,
    /// Counted over a window, of the canary alone.
    Own,
    /// True at a moment, of either side.
    State,
    /// True at a moment, of no side.
    Single,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $metric:ident = $name:literal, $unit:ident, $kind:ident;)*) => {
        /// A metric that conditions know.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum Metric {
            $($(#[$doc])* $metric,)*
            /// From outside, as `external.NAME`.
            External(MetricName, ExternalUnit),
        }

        impl Metric {
            /// Every name but those from outside.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The metric with this name, where it is none from outside.
            pub fn of_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$metric),)*
                    _ => None,
                }
            }

            /// What it measures.
            pub const fn unit(&self) -> Unit {
                match self {
                    $(Self::$metric => Unit::$unit,)*
                    Self::External(_, unit) => unit.0,
                }
            }

            const fn kind(&self) -> Kind {
                match self {
                    $(Self::$metric => Kind::$kind,)*
                    Self::External(..) => Kind::Single,
                }
            }
        }

        impl fmt::Display for Metric {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$metric => f.write_str($name),)*
                    Self::External(name, _) => write!(f, "external.{name}"),
                }
            }
        }
    };
}

/// The unit of a metric from outside. Two metrics of one name are the same metric, whatever is known of their unit.
#[derive(Debug, Clone, Copy)]
pub struct ExternalUnit(pub(super) Unit);

impl PartialEq for ExternalUnit {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ExternalUnit {}

impl std::hash::Hash for ExternalUnit {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

metrics! {
    /// Attempts that are judged. Without a window of its own: since the step began.
    Requests = "requests", Count, Windowed;
    /// Judged attempts a second.
    Rps = "rps", Rate, Windowed;
    /// Failures among judged attempts.
    ErrorRate = "error_rate", Share, Windowed;
    /// Successes among judged attempts.
    SuccessRate = "success_rate", Share, Windowed;
    /// Attempts whose client left before the answer began, among those and the judged ones.
    AbandonedRate = "abandoned_rate", Share, Windowed;
    /// Attempts that the baseline answered in the canary's place.
    FallbackRate = "fallback_rate", Share, Own;
    /// Answers from the backend's cache among those that say so.
    CacheHitRate = "cache_hit_rate", Share, Windowed;
    /// Mean latency to the last byte.
    Mean = "mean", Duration, Windowed;
    /// Median latency.
    P50 = "p50", Duration, Windowed;
    /// 90th percentile of the latency.
    P90 = "p90", Duration, Windowed;
    /// 95th percentile of the latency.
    P95 = "p95", Duration, Windowed;
    /// 99th percentile of the latency.
    P99 = "p99", Duration, Windowed;
    /// Endpoints that take requests.
    HealthyEndpoints = "healthy_endpoints", Count, State;
    /// Checks that fail at present.
    ChecksFailed = "checks_failed", Count, Single;
    /// Mirrored answers that differ.
    DifferenceRate = "difference_rate", Share, Own;
    /// Resident memory of Tidegate itself.
    ProcessMemory = "process.memory", Bytes, Single;
    /// Processor time of Tidegate itself, as a share of the cores that it may use.
    ProcessCpu = "process.cpu", Share, Single;
}

impl Metric {
    /// Counted over a window.
    pub fn is_windowed(&self) -> bool {
        matches!(self.kind(), Kind::Windowed | Kind::Own)
    }

    /// Measured on either side.
    pub fn has_sides(&self) -> bool {
        matches!(self.kind(), Kind::Windowed | Kind::State)
    }

    /// Whether it says nothing while there are few requests: a rate or a latency.
    pub fn needs_requests(&self) -> bool {
        self.is_windowed() && matches!(self.unit(), Unit::Share | Unit::Duration)
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.side == Side::Baseline {
            f.write_str("baseline.")?;
        }
        self.metric.fmt(f)?;
        self.window.iter().try_for_each(|window| write!(f, "[{}]", format_duration(*window)))
    }
}
