//! What counts as whose doing: total functions from a status code, or the reason of a failure, to class and blame.
//!
//! The judge rests on these two tables. In doubt a fault counts against the backend, for an innocent-looking canary that
//! fails its clients is the costlier mistake.

use crate::domain::{Blame, Class, ErrorReason};

/// An attempt answered with `status`: server errors are the backend's failure, everything else is its work done.
pub const fn of_status(status: u16) -> (Class, Option<Blame>) {
    if status >= 500 { (Class::Failure, Some(Blame::Upstream)) } else { (Class::Success, None) }
}

/// An answer of gRPC, whose status comes after its body; `None` where none came.
///
/// The failures are those that OpenTelemetry's semantic conventions call a server's errors: UNKNOWN, DEADLINE_EXCEEDED,
/// UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. The other codes say that the backend did its work and did not like the
/// call, or that the client gave it up. A call without a status has failed, whatever else it was.
pub const fn of_grpc(code: Option<u16>) -> (Class, Option<Blame>) {
    match code {
        None | Some(2 | 4 | 12..=15 | 17..) => (Class::Failure, Some(Blame::Upstream)),
        Some(0 | 1 | 3 | 5..=11 | 16) => (Class::Success, None),
    }
}

/// An attempt cut short, or a request answered without one.
pub const fn of_error(reason: ErrorReason) -> (Class, Option<Blame>) {
    match reason {
        ErrorReason::NoEndpoint
        | ErrorReason::ConnectFailed
        | ErrorReason::ConnectTimeout
        | ErrorReason::TlsFailed
        | ErrorReason::FirstByteTimeout
        | ErrorReason::IdleTimeout
        | ErrorReason::TotalTimeout
        | ErrorReason::UpstreamReset
        | ErrorReason::MalformedResponse => (Class::Failure, Some(Blame::Upstream)),
        ErrorReason::MalformedRequest
        | ErrorReason::HeadTooLarge
        | ErrorReason::TargetTooLong
        | ErrorReason::HeadTimeout
        | ErrorReason::BodyTimeout
        | ErrorReason::BodyTooLarge
        | ErrorReason::NoRoute
        | ErrorReason::ProxyHeader
        | ErrorReason::RateLimited
        | ErrorReason::ClientGone => (Class::Excluded, Some(Blame::Downstream)),
        ErrorReason::TooManyInFlight
        | ErrorReason::WebSocketUnsupported
        | ErrorReason::Shutdown
        | ErrorReason::Internal => (Class::Excluded, Some(Blame::Internal)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_server_errors_count_against_the_backend() {
        for status in 100..=599 {
            let failed = of_status(status) == (Class::Failure, Some(Blame::Upstream));
            assert_eq!(failed, status >= 500, "status {status}");
        }
    }

    #[test]
    fn a_call_fails_by_its_backend_or_not() {
        let failed = |code| of_grpc(code).0 == Class::Failure;
        let failures: Vec<_> = (0..=17).filter(|code| failed(Some(*code))).collect();
        assert_eq!(failures, [2, 4, 12, 13, 14, 15, 17]);
        assert!(failed(None));
    }

    #[test]
    fn a_failure_is_always_the_upstreams_and_only_that_is() {
        for reason in ErrorReason::ALL {
            let (class, blame) = of_error(reason);
            let upstream = blame == Some(Blame::Upstream);
            assert_eq!(class == Class::Failure, upstream, "{reason:?}");
            assert!(blame.is_some() && class != Class::Success, "{reason:?}");
        }
    }

    #[test]
    fn neither_clients_nor_our_own_limits_count_against_the_backend() {
        let excluded = [
            ErrorReason::ClientGone,
            ErrorReason::ProxyHeader,
            ErrorReason::BodyTimeout,
            ErrorReason::MalformedRequest,
            ErrorReason::TooManyInFlight,
            ErrorReason::TargetTooLong,
            ErrorReason::WebSocketUnsupported,
            ErrorReason::Shutdown,
            ErrorReason::Internal,
        ];
        assert!(excluded.iter().all(|reason| of_error(*reason).0 == Class::Excluded));
    }
}
