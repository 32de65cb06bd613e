//! What can go wrong on a request's way. Everything that follows from a fault is a total function of its reason.

use std::{fmt, time::Duration};

use http::StatusCode;

use crate::domain::ErrorReason;

/// A fault that ends an attempt or a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProxyError {
    reason: ErrorReason,
    /// For people; never holds anything a client sent.
    detail: &'static str,
    /// Seconds after which the client may come again.
    wait_s: u16,
}

impl ProxyError {
    pub(super) const fn new(reason: ErrorReason, detail: &'static str) -> Self {
        let wait_s = if matches!(reason, ErrorReason::TooManyInFlight | ErrorReason::NoEndpoint) {
            1
        } else {
            0
        };
        Self { reason, detail, wait_s }
    }

    /// The same, for a client that may come again after `wait`.
    pub(super) fn after(self, wait: Duration) -> Self {
        let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { wait_s: u16::try_from(whole).unwrap_or(u16::MAX), ..self }
    }

    /// Seconds for `retry-after`.
    pub(super) const fn wait_s(self) -> Option<u16> {
        if self.wait_s == 0 { None } else { Some(self.wait_s) }
    }

    /// Why; decides status, class and label.
    pub(super) const fn reason(self) -> ErrorReason {
        self.reason
    }

    /// The same in words.
    pub(super) const fn detail(self) -> &'static str {
        self.detail
    }

    /// Status code of the answer.
    pub(super) const fn status(self) -> StatusCode {
        match self.reason {
            ErrorReason::MalformedRequest | ErrorReason::ProxyHeader => StatusCode::BAD_REQUEST,
            ErrorReason::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            ErrorReason::TargetTooLong => StatusCode::URI_TOO_LONG,
            ErrorReason::HeadTimeout | ErrorReason::BodyTimeout | ErrorReason::ClientGone => {
                StatusCode::REQUEST_TIMEOUT
            }
            ErrorReason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorReason::NoRoute => StatusCode::NOT_FOUND,
            ErrorReason::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorReason::NoEndpoint | ErrorReason::TooManyInFlight | ErrorReason::Shutdown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ErrorReason::ConnectFailed
            | ErrorReason::TlsFailed
            | ErrorReason::UpstreamReset
            | ErrorReason::MalformedResponse => StatusCode::BAD_GATEWAY,
            ErrorReason::ConnectTimeout
            | ErrorReason::FirstByteTimeout
            | ErrorReason::IdleTimeout
            | ErrorReason::TotalTimeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorReason::WebSocketUnsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorReason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Code of the answer to a call of gRPC, whose clients know nothing of HTTP's: its own rule for those
    /// (grpc/doc/http-grpc-status-mapping.md), but for what gRPC has a better word for.
    pub(super) const fn grpc_code(self) -> u8 {
        const CANCELLED: u8 = 1;
        const DEADLINE_EXCEEDED: u8 = 4;
        const RESOURCE_EXHAUSTED: u8 = 8;
        const UNIMPLEMENTED: u8 = 12;
        const INTERNAL: u8 = 13;
        const UNAVAILABLE: u8 = 14;
        match self.reason {
            ErrorReason::ClientGone => CANCELLED,
            ErrorReason::HeadTimeout
            | ErrorReason::BodyTimeout
            | ErrorReason::FirstByteTimeout
            | ErrorReason::IdleTimeout
            | ErrorReason::TotalTimeout => DEADLINE_EXCEEDED,
            ErrorReason::HeadTooLarge
            | ErrorReason::TargetTooLong
            | ErrorReason::BodyTooLarge
            | ErrorReason::RateLimited => RESOURCE_EXHAUSTED,
            ErrorReason::NoRoute | ErrorReason::WebSocketUnsupported => UNIMPLEMENTED,
            ErrorReason::MalformedRequest
            | ErrorReason::ProxyHeader
            | ErrorReason::MalformedResponse
            | ErrorReason::Internal => INTERNAL,
            ErrorReason::NoEndpoint
            | ErrorReason::TooManyInFlight
            | ErrorReason::ConnectFailed
            | ErrorReason::ConnectTimeout
            | ErrorReason::TlsFailed
            | ErrorReason::Shutdown
            | ErrorReason::UpstreamReset => UNAVAILABLE,
        }
    }

    /// Whether the client's connection can carry another request: not where it is unclear where this one ends.
    pub(super) const fn closes(self) -> bool {
        match self.reason {
            ErrorReason::MalformedRequest
            | ErrorReason::HeadTooLarge
            | ErrorReason::HeadTimeout
            | ErrorReason::BodyTimeout
            | ErrorReason::BodyTooLarge
            | ErrorReason::ClientGone
            | ErrorReason::ProxyHeader
            | ErrorReason::Shutdown
            | ErrorReason::Internal => true,
            ErrorReason::NoRoute
            | ErrorReason::TargetTooLong
            | ErrorReason::WebSocketUnsupported
            | ErrorReason::RateLimited
            | ErrorReason::NoEndpoint
            | ErrorReason::TooManyInFlight
            | ErrorReason::ConnectFailed
            | ErrorReason::TlsFailed
            | ErrorReason::ConnectTimeout
            | ErrorReason::FirstByteTimeout
            | ErrorReason::IdleTimeout
            | ErrorReason::TotalTimeout
            | ErrorReason::UpstreamReset
            | ErrorReason::MalformedResponse => false,
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.label(), self.detail)
    }
}

impl std::error::Error for ProxyError {}
