//! The next attempt of a request that an endpoint failed before its answer began: at another endpoint of the same backend, or
//! at the same one where that refused it and there is no other.
//!
//! The first attempt is counted as what it was, so that a retry hides no failure from the judge, nor from the endpoint's own
//! record. What is safe to send again is for [`Exchange`] to say; here it is whether the route wants it and can afford it.

use super::{error::ProxyError, forward::Exchange, pipeline::number};
use crate::{config::model::RetryCause, domain::ErrorReason, lifecycle::clock, routing::Asking};

/// How far an attempt that failed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    NoConnection,
    /// No byte of the request was written.
    Unsent,
    /// The endpoint says that it has not looked at it.
    Refused,
    Sent,
}

impl Exchange<'_> {
    /// Moves the request on to another endpoint of the backend after `error`, where the route's rules and the budget let it.
    ///
    /// # Errors
    /// `error`, where it stays with the endpoint that failed it.
    #[cold]
    pub(super) fn goes_elsewhere(
        &mut self,
        error: ProxyError,
        tried: Tried,
    ) -> Result<(), ProxyError> {
        let context = self.context;
        let cause = match tried {
            Tried::NoConnection => RetryCause::Connect,
            Tried::Unsent | Tried::Refused => RetryCause::Refused,
            Tried::Sent => RetryCause::ResetBeforeResponse,
        };
        let is_endpoints = matches!(
            error.reason(),
            ErrorReason::ConnectFailed
                | ErrorReason::ConnectTimeout
                | ErrorReason::TlsFailed
                | ErrorReason::UpstreamReset
        );
        let rules = context.route(self.choice).retry.as_ref();
        let wanted =
            rules.is_some_and(|rules| rules.on.contains(&cause) && self.retried < rules.attempts);
        if !wanted || !is_endpoints || self.is_recalled() {
            return Err(error);
        }
        let now = clock::now();
        let (worker, backend) = (&context.downstream.worker, self.backend());
        let number = number(context, self.choice);
        let asking = Asking { worker: worker.index(), now, number, tried: Some(self.endpoint) };
        let other = backend.pick(asking);
        // One that has not looked may do so the next time.
        let same = || backend.pick(Asking { tried: None, ..asking });
        let other = if tried == Tried::Refused { other.or_else(same) } else { other };
        let other = other.ok_or(error)?;
        if !context.table.retries(self.choice.route).spend(now) {
            return Err(error);
        }
        self.attempt.fail_and_move(error, other);
        worker.shard().retry(context.target(self.choice).series);
        context.tell(|entry| {
            entry.retries();
            entry.tries(self.choice.target, other);
        });
        (self.endpoint, self.begun, self.retried) = (other, now, self.retried + 1);
        Ok(())
    }
}
