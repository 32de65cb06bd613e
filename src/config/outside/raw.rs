//! The sections that speak of the world outside, key by key.

use std::{path::PathBuf, time::Duration};

use super::leaf::{
    AttributeKey, HeaderKey, HttpUrl, JsonKey, MailAddress, Method, Pairs, Scalar, SmtpUrl, Text,
};
use crate::{
    config::{
        collection::List,
        defaults,
        leaf::{DurationOrOff, Line, Whole},
        model::{CheckTarget, MetricUnit, StatusSet},
        section::section,
    },
    domain::{CheckCategory, CheckStage, HookPoint, NotificationKind, Severity, Weight},
};

/// Most metrics, and most sinks, of one file.
pub(in crate::config) const MAX_OUTSIDE: usize = 64;

/// A program and its arguments.
pub(in crate::config) type Command = List<Text<4_096>, 1, 64>;

/// How notifications travel, as `kind` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum SinkWord {
    Slack,
    Webhook,
    Email,
    Alertmanager,
}

section! {
    /// A metric that a Prometheus server knows, for conditions: external.NAME.
    Metric {
        /// Address of the Prometheus server.
        required prometheus: HttpUrl;
        /// Instant query in PromQL; its answer is one number.
        required query: Text<4_096>;
        /// What the number is: "share" (1 is all), "duration" (seconds), "count", "bytes".
        default unit: MetricUnit = MetricUnit::Count;
        /// Time between two queries. An answer older than three of them is as good as none.
        default interval: Duration = defaults::METRIC_INTERVAL;
        /// A query that takes longer has no answer.
        default timeout: Duration = defaults::METRIC_TIMEOUT;
        /// File with the bearer token that the server asks for.
        optional token_file: PathBuf;
    }
}

section! {
    /// Where notifications go.
    Notify {
        /// "slack", "webhook", "email" or "alertmanager".
        required kind: SinkWord;
        /// Address of the webhook, or of the Alertmanager.
        optional url: HttpUrl;
        /// File with that address, instead of `url`.
        optional url_file: PathBuf;
        /// Of a webhook: file with the key that signs the body in x-tidegate-signature.
        optional secret_file: PathBuf;
        /// Of e-mail: "smtp://host:25", "starttls://host:587" or "smtps://host:465".
        optional smtp: SmtpUrl;
        /// Of e-mail: sender.
        optional from: MailAddress;
        /// Of e-mail: receivers.
        default to: List<MailAddress, 0, 100> = List::unwritten([]);
        /// Of e-mail: name to log in with.
        optional user: Line;
        /// Of e-mail: file with the password.
        optional password_file: PathBuf;
        /// What is sent.
        default events: List<NotificationKind, 0, 16> = List::unwritten(NotificationKind::ALL);
        /// Nothing below it is sent: "info", "warning" or "critical".
        default min_severity: Severity = Severity::Info;
        /// One attempt at sending ends here.
        default timeout: Duration = defaults::NOTIFY_TIMEOUT;
    }
}

section! {
    /// Traces of requests, for whatever takes OpenTelemetry's protocol (OTLP over HTTP).
    Traces {
        /// Address of the collector. Without a path, /v1/traces is where it takes them; a path is used
        /// as it stands.
        required endpoint: HttpUrl;
        /// Share of requests that are traced, of those whose caller does not say. A trusted proxy
        /// (listener.trusted_proxies) says it by the header traceparent; what anybody else says there
        /// does not count.
        default sample: Weight = defaults::TRACE_SAMPLE;
        /// What this process is called there: service.name.
        default service_name: Line = Line("tidegate".into());
        /// Headers of requests to the collector, such as the key that it asks for.
        default headers: Pairs<HeaderKey, Text<4_096>, 32> = Pairs(Vec::new());
        /// More about this process: attributes of the resource.
        default resource: Pairs<AttributeKey, Line, 32> = Pairs(Vec::new());
        /// One attempt at sending ends here.
        default timeout: Duration = defaults::TRACE_TIMEOUT;
        /// A span waits for others to travel with for no longer than this.
        default max_delay: Duration = defaults::TRACE_DELAY;
    }
}

section! {
    /// A synthetic transaction.
    Check {
        /// Unique name.
        required name: Line;
        /// Part of the system: "api", "database", "performance", "feature", "integration" or
        /// "monitoring".
        default category: CheckCategory = CheckCategory::Api;
        /// When it runs: "pre" before the rollout, "during" it, "post" before it is promoted.
        default stage: List<CheckStage, 1, 3> = List::unwritten([
            CheckStage::Pre,
            CheckStage::During,
            CheckStage::Post,
        ]);
        /// Time between two runs of the stage "during".
        default interval: Duration = defaults::CHECK_INTERVAL;
        /// Who is asked: "canary", "baseline", "both" (their answers must agree), or "proxy"
        /// (Tidegate's listener, as a client would).
        default target: CheckTarget = CheckTarget::Canary;
        /// What is asked.
        optional request: Request;
        /// What must come back.
        optional expect: Expect;
        /// A program with its arguments, instead of a request: exit code 0 passes.
        optional exec: Command;
        /// A run that takes longer has failed.
        default timeout: Duration = defaults::CHECK_TIMEOUT;
        /// Whether the rollout may not go on without it.
        default required: bool = true;
    }
}

section! {
    /// A request.
    Request {
        /// Method.
        default method: Method = Method(http::Method::GET);
        /// Path with query.
        default path: Line = Line("/".into());
        /// Headers beside those that every request has.
        default headers: Pairs<HeaderKey, Line, 32> = Pairs(Vec::new());
        /// Body.
        default body: Text<65_536> = Text("".into());
    }
}

section! {
    /// What an answer must be.
    Expect {
        /// Status codes: "200", "200-399", "200, 301-302".
        default status: StatusSet = StatusSet::ok();
        /// The whole answer is there within this time; "off" for any.
        default max_latency: DurationOrOff = DurationOrOff(None);
        /// A text that the body holds.
        default body_contains: Text<4_096> = Text("".into());
        /// Values at places of a JSON body: `{ "$.items[0].name" = "first" }`.
        default json: Pairs<JsonKey, Scalar, 32> = Pairs(Vec::new());
        /// Headers with their values.
        default header: Pairs<HeaderKey, Line, 32> = Pairs(Vec::new());
    }
}

section! {
    /// A program or address that a rollout calls on its way.
    Hook {
        /// "start", "before_step", "after_step", "promote" or "rollback".
        required on: HookPoint;
        /// On "rollback": 1 (feature flags), 3 (application), 4 (database), called in this order;
        /// 2 is the traffic, which always moves first.
        optional level: Whole<1, 4>;
        /// Unique name.
        required name: Line;
        /// A program with its arguments.
        optional exec: Command;
        /// An address that gets JSON by POST.
        optional url: HttpUrl;
        /// It is ended after this.
        default timeout: Duration = defaults::HOOK_TIMEOUT;
        /// Whether its failure holds the rollout, at "start", "before_step" and "after_step".
        default required: bool = false;
    }
}
