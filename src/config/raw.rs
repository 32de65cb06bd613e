//! The file, key by key: names, types, defaults and meanings. What the keys mean together is for
//! `validate` to say.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::Method;
use ipnet::IpNet;

use super::{
    collection::{List, Named},
    defaults,
    edge::raw::{Access, Compress, ErrorPages, Headers, RateLimit, Redirect, Rewrite},
    fallback::HeaderOrNone,
    health_check::HealthCheck,
    leaf::{DurationOrOff, Line, Mode, Size, SizeOrOff, SizeOrUnlimited, Whole, Workers},
    model::{
        BackendProtocol, FallbackCause, HostPattern, LogFormat, LogLevel, PathPattern, Protocol,
    },
    outside::raw::{MAX_OUTSIDE, Metric, Notify, Traces},
    patterns::HostName,
    resilience::{CountOrUnlimited, Ejection, Retry},
    rollout::{
        leaf::CountOrOff,
        raw::{MAX_ROLLOUTS, Rollout},
    },
    section::section,
    tls::raw as tls,
    words::AffinityBy,
};
use crate::domain::{
    BackendName, Balance, EndpointAddress, MetricName, MirrorDepth, RolloutName, RouteName,
    SinkName, Weight,
};

/// Most backends in one file.
pub(super) const MAX_BACKENDS: usize = 1_000;

/// Most routes in one file.
pub(super) const MAX_ROUTES: usize = 20_000;

/// Shares of a route's backends.
pub(super) type Shares = Named<BackendName, Weight, 64>;

section! {
    /// Configuration of Tidegate. Durations are text such as "250ms" or "1m30s", sizes such as
    /// "64KiB". ${NAME} and ${NAME:-default} are taken from the environment in any string and in
    /// place of any bare value.
    File {
        /// Threads and shutdown.
        section process: Process;
        /// The operator's side: the admin API.
        section admin: Admin;
        /// What outlives a restart.
        section state: State;
        /// Log output.
        section log: Log;
        /// Sockets that accept clients.
        required listener: List<Listener, 1, 256>;
        /// Versions of the application, by name.
        required backend: Named<BackendName, Backend, MAX_BACKENDS>;
        /// Rules from host and path to a split. The most specific wins: an exact host before
        /// "*.example.com" before "*"; there an exact path, then regular expressions in the order
        /// of the file, then the longest prefix.
        required route: List<Route, 1, MAX_ROUTES>;
        /// Pages for answers of Tidegate's own, by status such as "404" or class such as "5xx".
        optional error_page: ErrorPages;
        /// Rollouts, by name: each moves the split of one route.
        optional rollout: Named<RolloutName, Rollout, MAX_ROLLOUTS>;
        /// Metrics of Prometheus servers, by name: external.NAME in conditions.
        optional metric: Named<MetricName, Metric, MAX_OUTSIDE>;
        /// Where notifications go, by name.
        optional notify: Named<SinkName, Notify, MAX_OUTSIDE>;
        /// Traces of a share of the requests, sent to an OpenTelemetry collector; none without this section.
        optional traces: Traces;
    }
}

section! {
    /// Threads and shutdown.
    Process {
        /// Data-plane threads; "auto" is the number of cores available, cgroup quota included.
        default workers: Workers = Workers(None);
        /// On shutdown, requests still running after this are cut off.
        default shutdown_timeout: Duration = defaults::SHUTDOWN_TIMEOUT;
    }
}

section! {
    /// The operator's side.
    Admin {
        /// Unix socket of the admin API; who may open the file may operate.
        default socket: PathBuf = defaults::ADMIN_SOCKET.into();
        /// Permission bits of the socket's file.
        default socket_mode: Mode = Mode(defaults::ADMIN_SOCKET_MODE);
        /// Also serve /metrics, /healthz, /readyz and the API here, over TCP. Off
        /// without it.
        optional listen: SocketAddr;
        /// File with the bearer token for writes over TCP; without it TCP is read-only.
        optional token_file: PathBuf;
        /// Further names that a Host header may have over TCP, with any port: those by which
        /// containers and port maps reach it.
        default hosts: List<HostName, 0, 100> = List::unwritten([]);
        /// Encryption over TCP; needed before writes may come from other machines.
        optional tls: tls::AdminTls;
    }
}

section! {
    /// What outlives a restart.
    State {
        /// SQLite file of splits set by hand and of events.
        default file: PathBuf = defaults::STATE_FILE.into();
    }
}

section! {
    /// Log output.
    Log {
        /// Least severe level written.
        default level: LogLevel = LogLevel::Info;
        /// One JSON object a line, or text for people.
        default format: LogFormat = LogFormat::Json;
        /// Time between two summary lines; "off" for none.
        default summary_every: DurationOrOff = DurationOrOff(Some(defaults::SUMMARY_EVERY));
        /// One line a request.
        section access: Access;
    }
}

section! {
    /// A socket that accepts clients.
    Listener {
        /// Address and port; each may be used once.
        required bind: SocketAddr;
        /// Connections open at once, over all workers.
        default max_connections: Whole<1, 1_000_000> = Whole(defaults::MAX_CONNECTIONS);
        /// Connections open at once from one client, which is an IPv4 address or an IPv6 network of
        /// 64 bits; trusted proxies are no clients.
        default max_connections_per_client: CountOrOff = CountOrOff(None);
        /// Networks of peers whose X-Forwarded-* headers are believed, and Forwarded where those are
        /// missing, and whose traceparent decides whether a request is traced.
        default trusted_proxies: List<IpNet, 0, 1_000> = List::unwritten([]);
        /// Each connection begins with a header of the PROXY protocol, version 1 or 2, that names the
        /// client. With trusted_proxies, theirs alone is believed; without, everyone's.
        default proxy_protocol: bool = false;
        /// Tell the backend of the client in the header Forwarded (RFC 7239) as well.
        default forwarded: bool = false;
        /// The head of a request must be complete this long after it began.
        default header_timeout: Duration = defaults::HEADER_TIMEOUT;
        /// A keep-alive connection without a request is closed after this.
        default idle_timeout: Duration = defaults::IDLE_TIMEOUT;
        /// Largest head of a request, request line included.
        default max_header_bytes: Size<1_024, 1_048_576> = Size(defaults::MAX_HEADER_BYTES);
        /// Most header lines of a request.
        default max_headers: Whole<1, 1_000> = Whole(defaults::MAX_HEADERS);
        /// What clients may speak; without TLS, "h2" is for those that begin with it (prior
        /// knowledge).
        default protocols: List<Protocol, 1, 2> = List::unwritten([Protocol::Http1, Protocol::Http2]);
        /// Bytes a second that a client must send of a body that is waited for, and take of an answer
        /// that waits for it; measured over ten seconds of such waiting.
        default min_rate: SizeOrOff = SizeOrOff(None);
        /// Certificates: with one or more the listener speaks TLS 1.2 and 1.3. A client is shown
        /// the one that has the name it asks for, else the first. The files are watched.
        default certificate: List<tls::Certificate, 0, 100> = List::unwritten([]);
        /// Whether clients show a certificate of their own.
        optional client_auth: tls::ClientAuth;
        /// A handshake must be complete this long after the connection came.
        default handshake_timeout: Duration = defaults::HANDSHAKE_TIMEOUT;
        /// Handshakes under way at once, over all workers; over it a new connection is closed.
        default max_handshakes: Whole<1, 1_000_000> = Whole(defaults::MAX_HANDSHAKES);
        /// Answer every request with a redirect (308) to the same address with https.
        default redirect_to_https: bool = false;
        /// The port that it leads to, as clients see it.
        default https_port: Whole<1, 65_535> = Whole(defaults::HTTPS_PORT);
    }
}

section! {
    /// A version of the application: a group of endpoints.
    Backend {
        /// Addresses as "host:port", where a name is one endpoint, however many addresses it has; or
        /// "unix:/path" of a socket.
        required endpoints: List<EndpointAddress, 1, 1_000>;
        /// What they speak: over TLS the handshake agrees on it (ALPN), and "auto" takes what the
        /// endpoint prefers; without TLS, "h2" is by prior knowledge.
        default protocol: BackendProtocol = BackendProtocol::Http1;
        /// How one of them is chosen. "least_in_flight": the less busy of two drawn at random.
        /// "round_robin": one after the other. "ewma": of two drawn at random, the one that answers
        /// sooner. "hash": the same one for the same split key.
        default balance: Balance = Balance::LeastInFlight;
        /// Names among the endpoints are looked up this often; a look-up that fails keeps the last good
        /// answer.
        default resolve_every: Duration = defaults::RESOLVE_EVERY;
        /// Requests under way at once, over all workers; over it the answer is 503 at once.
        default max_in_flight: Whole<1, 1_000_000> = Whole(defaults::MAX_IN_FLIGHT);
        /// Requests under way at once at one endpoint, over all workers; others take what is beyond, and
        /// when all have as many the answer is 503 at once.
        default endpoint_max_in_flight: CountOrUnlimited = CountOrUnlimited(None);
        /// Idle connections kept per endpoint and worker.
        default pool_idle: Whole<0, 10_000> = Whole(defaults::POOL_IDLE);
        /// An idle connection is closed after this.
        default pool_idle_timeout: Duration = defaults::POOL_IDLE_TIMEOUT;
        /// Header of an answer whose value begins with HIT where it came from a cache, such as
        /// "x-cache"; empty: none.
        default cache_status_header: HeaderOrNone = HeaderOrNone(None);
        /// Active checks of each endpoint; none without this section.
        optional health_check: HealthCheck;
        /// Endpoints are taken out for a while because of what became of their own requests.
        section ejection: Ejection;
        /// Encrypted connections to the endpoints; in the clear without it.
        optional tls: tls::BackendTls;
    }
}

section! {
    /// A rule from host and path to a split.
    Route {
        /// Unique name: metric label, and path of the admin API.
        required name: RouteName;
        /// Hosts: exact, "*.example.com", or "*" for any.
        default host: List<HostPattern, 1, 1_000> = List::unwritten([HostPattern::Any]);
        /// A prefix by segment, "= /exact", or "~ regular expression".
        default path: PathPattern = PathPattern::Prefix("".into());
        /// Percentages by backend, at most two decimals; they sum to 100. Required, unless the route
        /// redirects.
        optional split: Shares;
        /// Largest request body; "unlimited" for any.
        default max_body: SizeOrUnlimited = SizeOrUnlimited(None);
        /// Name the backend to the client in the header x-tidegate-backend.
        default expose_backend: bool = false;
        /// What keeps a session on its backend.
        section affinity: Affinity;
        /// Exceptions for testers and A/B groups, looked at in order before the split.
        default r#override: List<Override, 0, 100> = List::unwritten([]);
        /// Waiting times.
        section timeouts: Timeouts;
        /// What becomes of a request that an endpoint fails.
        section retry: Retry;
        /// What becomes of a request that a rollout's canary fails.
        section fallback: Fallback;
        /// What happens to headers on their way.
        section headers: Headers;
        /// Another path for the backend.
        optional rewrite: Rewrite;
        /// Another address for the client.
        optional redirect: Redirect;
        /// How many requests there may be.
        optional rate_limit: RateLimit;
        /// Answers made smaller.
        optional compress: Compress;
        /// Copies of requests for another backend.
        optional mirror: Mirror;
    }
}

section! {
    /// What keeps a session on its backend.
    Affinity {
        /// "cookie": issued and signed by Tidegate. "app_cookie" and "header": a value that the
        /// application or client sends, by `name`. "client_ip": the address, behind trusted
        /// proxies. "none": each request by itself.
        default by: AffinityBy = AffinityBy::Cookie;
        /// The cookie's or header's name. Tidegate's own cookie is called "tidegate" unless this
        /// says otherwise.
        optional name: Line;
        /// Life of Tidegate's cookie.
        default ttl: Duration = defaults::COOKIE_TTL;
        /// File with the key that signs Tidegate's cookie; empty: a random one, kept in the state
        /// file.
        default secret_file: PathBuf = PathBuf::new();
    }
}

section! {
    /// An exception to the split: one of header, cookie, query, and the value it must have.
    Override {
        /// Name of a request header.
        optional header: Line;
        /// Name of a cookie.
        optional cookie: Line;
        /// Name of a query parameter.
        optional query: Line;
        /// The value that must stand there.
        required equals: Line;
        /// Where such a request goes; need not be in the split.
        required backend: BackendName;
    }
}

section! {
    /// Waiting times of a route.
    Timeouts {
        /// To connect to an endpoint.
        default connect: Duration = defaults::CONNECT_TIMEOUT;
        /// From the end of the request to the first byte of the answer.
        default first_byte: Duration = defaults::FIRST_BYTE_TIMEOUT;
        /// Between two reads or writes of a body.
        default idle: Duration = defaults::BODY_IDLE_TIMEOUT;
        /// For the whole request; "off" for no limit.
        default total: DurationOrOff = DurationOrOff(None);
    }
}

section! {
    /// What becomes of a request that a rollout's canary fails before a byte of its answer went out:
    /// the baseline answers it, and the canary is judged by its failure all the same.
    Fallback {
        /// False: none, whatever else stands here.
        default enabled: bool = true;
        /// Failures that lead there: "connect", "timeout", "reset", "5xx"; empty: none.
        default on: List<FallbackCause, 0, 4> = List::unwritten([]);
        /// Largest request body that is kept until the canary has answered; a request with a larger
        /// one, or one of unknown length, is sent once.
        default max_body: Size<0, 16_777_216> = Size(defaults::FALLBACK_MAX_BODY);
        /// Methods of requests that may be sent twice.
        default methods: List<Method, 1, 20> = List::unwritten(defaults::FALLBACK_METHODS);
        /// Largest share of the route's requests that the baseline takes over.
        default budget: Weight = defaults::FALLBACK_BUDGET;
    }
}

section! {
    /// Copies of requests for another backend, whose answers are dropped. Clients never wait for
    /// them, and they are never measured as traffic.
    Mirror {
        /// The backend that gets them; requests that go there anyway are not copied.
        required to: BackendName;
        /// Share of the route's requests, whole sessions where something names them.
        default share: Weight = defaults::MIRROR_SHARE;
        /// Largest request body that is copied; one that turns out larger ends its copy.
        default max_body: Size<0, 1_073_741_824> = Size(defaults::MIRROR_MAX_BODY);
        /// How far answers are compared with the client's: "off", "status", "headers" (and status),
        /// "body" (and both; JSON by its structure).
        default compare: MirrorDepth = MirrorDepth::Off;
        /// Methods of requests that are copied; the mirror carries writes out as well.
        default methods: List<Method, 1, 20> = List::unwritten(defaults::MIRROR_METHODS);
        /// Share of compared requests that are also sent a second time to the backend that answered,
        /// to learn which differences are noise; only requests that change nothing and have no body.
        /// "0%": every difference counts.
        default noise: Weight = defaults::MIRROR_NOISE;
        /// Places that are never compared: "header x-version", or a path such as "$.build" with all
        /// below it.
        default ignore: List<Line, 0, 100> = List::unwritten([]);
        /// A copy ends after this, answered or not.
        default timeout: Duration = defaults::MIRROR_TIMEOUT;
        /// Copies under way at once, on each data-plane thread.
        default max_in_flight: Whole<1, 10_000> = Whole(defaults::MIRROR_IN_FLIGHT);
    }
}
