//! Why Tidegate answered instead of a backend, and which bounded queue overflowed.

/// Why a request was answered by Tidegate itself, or cut short by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorReason {
    /// The request breaks HTTP, or may be read in two ways.
    MalformedRequest,
    /// The head is larger, or has more lines, than the listener allows.
    HeadTooLarge,
    /// The target is longer than any may be, once the route has written it anew.
    TargetTooLong,
    /// The head was not complete in time.
    HeadTimeout,
    /// The body did not come on in time.
    BodyTimeout,
    /// The body is larger than the route allows.
    BodyTooLarge,
    /// No route fits host and path.
    NoRoute,
    /// The backend has no endpoint that takes requests.
    NoEndpoint,
    /// The backend has `max_in_flight` requests under way.
    TooManyInFlight,
    /// Connecting to the endpoint failed.
    ConnectFailed,
    /// Connecting to the endpoint took too long.
    ConnectTimeout,
    /// The endpoint showed no certificate that is taken, or the handshake failed otherwise.
    TlsFailed,
    /// The answer did not begin in time.
    FirstByteTimeout,
    /// The answer stopped coming.
    IdleTimeout,
    /// The whole request took longer than the route allows.
    TotalTimeout,
    /// The connection to the endpoint broke before the answer was complete.
    UpstreamReset,
    /// The endpoint's answer breaks HTTP.
    MalformedResponse,
    /// The client wants a WebSocket, which HTTP/2 alone does not lead to.
    WebSocketUnsupported,
    /// The client has had its share of the route's rate limit.
    RateLimited,
    /// The client went away.
    ClientGone,
    /// The connection did not begin with a header of the PROXY protocol that is believed.
    ProxyHeader,
    /// It still ran when the process, told to stop, had waited as long as it may.
    Shutdown,
    /// A fault of Tidegate's own.
    Internal,
}

impl ErrorReason {
    /// Every reason, in the order of its index.
    pub const ALL: [Self; 23] = [
        Self::MalformedRequest,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::TooManyInFlight,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::FirstByteTimeout,
        Self::IdleTimeout,
        Self::TotalTimeout,
        Self::UpstreamReset,
        Self::MalformedResponse,
        Self::WebSocketUnsupported,
        Self::RateLimited,
        Self::ClientGone,
        Self::ProxyHeader,
        Self::Shutdown,
        Self::Internal,
    ];

    /// Place in [`ErrorReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The metric label, also the machine-readable word in logs and error answers.
    pub const fn label(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::NoRoute => "no_route",
            Self::NoEndpoint => "no_endpoint",
            Self::TooManyInFlight => "too_many_in_flight",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsFailed => "tls_failed",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::UpstreamReset => "upstream_reset",
            Self::MalformedResponse => "malformed_response",
            Self::WebSocketUnsupported => "websocket_unsupported",
            Self::RateLimited => "rate_limited",
            Self::ClientGone => "client_gone",
            Self::ProxyHeader => "proxy_header",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }
}

/// A bounded queue whose overflow is counted in `tidegate_overflow_total{queue}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Connections of a listener: `max_connections`.
    Connections,
    /// Connections of one client: `max_connections_per_client`.
    ClientConnections,
    /// TLS handshakes of a listener: `max_handshakes`.
    Handshakes,
    /// Requests under way at a backend: `max_in_flight`.
    InFlight,
    /// Events on their way to the audit trail.
    Events,
    /// Writes on their way to the state file.
    State,
    /// Streams of live events at a socket of the admin API.
    EventStream,
    /// Lines on their way to the log.
    Log,
    /// Notifications on their way to a sink.
    Notifications,
    /// Requests to be mirrored, of one worker.
    Mirror,
    /// Frames of HTTP/2 by which a client asks for nothing.
    Http2Control,
    /// Requests of HTTP/2 that a client takes back.
    Http2Resets,
    /// Heads of HTTP/2 that are too large or too long in pieces.
    Http2Heads,
    /// Answers over HTTP/2 that their client does not take.
    Http2Stalled,
    /// Lines on their way to the access log.
    AccessLog,
    /// Clients that a rate limit keeps account of.
    RateLimit,
    /// Spans of traces on their way to the collector.
    Spans,
    /// Encoders at work for one worker.
    Encoders,
}

impl Queue {
    /// Every queue, in the order of its index.
    pub const ALL: [Self; 18] = [
        Self::Connections,
        Self::ClientConnections,
        Self::Handshakes,
        Self::InFlight,
        Self::Events,
        Self::State,
        Self::EventStream,
        Self::Log,
        Self::Notifications,
        Self::Mirror,
        Self::Http2Control,
        Self::Http2Resets,
        Self::Http2Heads,
        Self::Http2Stalled,
        Self::AccessLog,
        Self::RateLimit,
        Self::Spans,
        Self::Encoders,
    ];

    /// Place in [`Queue::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ClientConnections => "client_connections",
            Self::Handshakes => "handshakes",
            Self::InFlight => "in_flight",
            Self::Events => "events",
            Self::State => "state",
            Self::EventStream => "event_stream",
            Self::Log => "log",
            Self::Notifications => "notifications",
            Self::Mirror => "mirror",
            Self::Http2Control => "http2_control",
            Self::Http2Resets => "http2_resets",
            Self::Http2Heads => "http2_heads",
            Self::Http2Stalled => "http2_stalled",
            Self::AccessLog => "access_log",
            Self::RateLimit => "rate_limit",
            Self::Spans => "spans",
            Self::Encoders => "encoders",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_the_place_in_all() {
        assert!(ErrorReason::ALL.iter().enumerate().all(|(at, reason)| reason.index() == at));
        assert!(Queue::ALL.iter().enumerate().all(|(at, queue)| queue.index() == at));
    }
}
