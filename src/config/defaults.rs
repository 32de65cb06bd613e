//! Every default, with its reason.

use std::time::Duration;

use http::Method;

use super::model::{Algorithm, RetryCause};
use crate::domain::Weight;

const KIB: u64 = 1 << 10;

/// Long enough for an ordinary download, short of the 90 s after which systemd kills.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the packages make a directory for the service's user.
pub(super) const ADMIN_SOCKET: &str = "/run/tidegate/admin.sock";

/// The service's user and group operate; nobody else may.
pub(super) const ADMIN_SOCKET_MODE: u32 = 0o660;

/// Beside nothing else, on a disk that survives a reboot.
pub(super) const STATE_FILE: &str = "/var/lib/tidegate/tidegate.db";

/// Two lines a minute tell a reader that all is well and drown nothing.
pub(super) const SUMMARY_EVERY: Duration = Duration::from_secs(30);

/// About 100 MiB of connection state at worst; over it the kernel's backlog waits.
pub(super) const MAX_CONNECTIONS: u64 = 10_000;

/// A head fits one packet: ten seconds are for lossy links, not for slow writers.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Nginx's value, which clients and load balancers are tuned to.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Four of the 8 KiB lines that most servers take; a cookie jar fits.
pub(super) const MAX_HEADER_BYTES: u64 = 32 * KIB;

/// What hyper and most servers take.
pub(super) const MAX_HEADERS: u64 = 100;

/// A handshake takes two round trips and a millisecond of work: ten seconds are for lossy links, as with heads.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// About 30 MiB of handshakes that hang; honest ones end within milliseconds, so that this many are a burst of 100 000 a second.
pub(super) const MAX_HANDSHAKES: u64 = 2_000;

/// Where https is found unless somebody says otherwise.
pub(super) const HTTPS_PORT: u64 = 443;

/// Above what one application process serves at once, below what would bury it.
pub(super) const MAX_IN_FLIGHT: u64 = 1024;

/// Covers the bursts of one worker; more would hold sockets that the application pays for.
pub(super) const POOL_IDLE: u64 = 64;

/// Under the 60 s after which many application servers close, so that we close first and meet no
/// race.
pub(super) const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// The cookie that Tidegate issues.
pub(super) const COOKIE_NAME: &str = "tidegate";

/// Longer than a rollout; a returning visitor finds the same side.
pub(super) const COOKIE_TTL: Duration = Duration::from_hours(30 * 24);

/// A lost SYN is sent again after one second: by then another endpoint is the better choice.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Slow reports finish; a hung process is known for one well before a person gives up.
pub(super) const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(15);

/// Nginx's value for a silent body.
pub(super) const BODY_IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// A form or a small document; kept for as long as the canary takes to answer.
pub(super) const FALLBACK_MAX_BODY: u64 = 64 * KIB;

/// Those that RFC 9110 §9.2.2 lets anybody repeat, but for TRACE.
pub(super) const FALLBACK_METHODS: [Method; 5] =
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];

/// More would be an outage, and bury the baseline under the canary's load.
pub(super) const FALLBACK_BUDGET: Weight = Weight::FIFTH;

/// The smallest first, and what every client knows last.
pub(super) const ALGORITHMS: [Algorithm; 3] = [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];

/// Below, an answer fits one packet either way.
pub(super) const COMPRESS_MIN_SIZE: u64 = KIB;

/// Enough to find a difference that one request in a hundred has within minutes, at little load.
pub(super) const MIRROR_SHARE: Weight = Weight::TWENTIETH;

/// Documents and small uploads; copies of larger ones would only compete with their originals.
pub(super) const MIRROR_MAX_BODY: u64 = 1024 * KIB;

/// Those that RFC 9110 §9.2.1 calls safe: a copy that writes must be asked for.
pub(super) const MIRROR_METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];

/// Half a percent of the requests at the default share: the backend hardly notices.
pub(super) const MIRROR_NOISE: Weight = Weight::TENTH;

/// Twice the default wait for a first byte: whoever takes longer has failed its users.
pub(super) const MIRROR_TIMEOUT: Duration = Duration::from_secs(30);

/// What a healthy mirror needs at thousands of requests a second; a hanging one holds no more.
pub(super) const MIRROR_IN_FLIGHT: u64 = 64;

/// Prometheus itself scrapes every 15 s or more: asking more often would repeat the answer.
pub(super) const METRIC_INTERVAL: Duration = Duration::from_secs(10);

/// An instant query takes milliseconds; three of them fit into the time after which a value is stale.
pub(super) const METRIC_TIMEOUT: Duration = Duration::from_secs(5);

/// Mail servers greet late on purpose, to scare off senders of junk.
pub(super) const NOTIFY_TIMEOUT: Duration = Duration::from_secs(15);

/// Often enough to notice, seldom enough not to be load.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// A transaction that takes longer has failed its users.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// A redeployment fits.
pub(super) const HOOK_TIMEOUT: Duration = Duration::from_mins(5);

/// Long enough for a percentile to mean something, short enough to turn back within minutes.
pub(super) const ROLLOUT_WINDOW: Duration = Duration::from_mins(1);

/// One failure among fifty is 2 %: with fewer a single one would decide.
pub(super) const MIN_REQUESTS: u64 = 50;

/// New connections and cold caches are not the canary's steady state.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// At an error rate of 10 % so many in a row happen once in ten thousand million attempts.
pub(super) const BREAKER_FAILURES: u64 = 10;

/// Whoever fails half of its requests is broken, not unlucky.
pub(super) const BREAKER_SHARE: Weight = Weight::HALF;

/// At an error rate of 10 % half of twenty fail once in a hundred thousand times.
pub(super) const BREAKER_ATTEMPTS: u64 = 20;

/// What happened five seconds ago is still the present.
pub(super) const BREAKER_WITHIN: Duration = Duration::from_secs(5);

/// A dead endpoint is known after some seconds, and a check is no load.
pub(super) const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// Who takes longer to say that it is well is not.
pub(super) const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);

/// One good answer may be chance; two begin the way back.
pub(super) const HEALTHY_AFTER: u64 = 2;

/// One lost packet or one long pause of a collector is no outage.
pub(super) const UNHEALTHY_AFTER: u64 = 3;

/// At an error rate of 10 % so many in a row happen once in a hundred thousand requests.
pub(super) const EJECTION_FAILURES: u64 = 5;

/// A restart of a process fits.
pub(super) const EJECTION_TIME: Duration = Duration::from_secs(10);

/// What comes back should not have to wait for longer than people do.
pub(super) const EJECTION_MAX_TIME: Duration = Duration::from_mins(5);

/// Connections, caches and compilers get warm.
pub(super) const SLOW_START: Duration = Duration::from_secs(10);

/// A name server is asked six times a minute; a record that moved is followed before it is missed.
pub(super) const RESOLVE_EVERY: Duration = Duration::from_secs(10);

/// Another endpoint than the first is well in nearly every outage; a third try is mostly load.
pub(super) const RETRY_ATTEMPTS: u64 = 1;

/// Whatever surely was not done, and what may be done twice.
pub(super) const RETRY_ON: [RetryCause; 3] =
    [RetryCause::Connect, RetryCause::Refused, RetryCause::ResetBeforeResponse];

/// One dead endpoint of five; when more are dead, more requests would bury the rest.
pub(super) const RETRY_BUDGET: Weight = Weight::FIFTH;

/// Enough to see how requests go, at a cost that nobody sees.
pub(super) const TRACE_SAMPLE: Weight = Weight::HUNDREDTH;

/// As OpenTelemetry's own exporters have it.
pub(super) const TRACE_TIMEOUT: Duration = Duration::from_secs(10);

/// As OpenTelemetry's own exporters have it.
pub(super) const TRACE_DELAY: Duration = Duration::from_secs(5);
