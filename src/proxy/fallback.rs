//! The second attempt of a request that the canary failed, or that a rollback called back: on the baseline.
//!
//! It is there only for requests that the split sent to a canary and that can be sent twice. The canary's attempt has been
//! counted as what it was by then, and the second one is no sample of the baseline's traffic: the judge learns the truth.

use std::{future::poll_fn, pin::Pin, rc::Rc, task::ready};

use bytes::{Bytes, BytesMut};
use http::request;
use hyper::body::{Body, Incoming};

use super::{
    body::{BodyProgress, BodyRules, RequestBody},
    context::{Choice, RequestContext},
    error::ProxyError,
    forward::{Sending, overdue},
    replay,
};
use crate::{
    config::model::FallbackCause,
    domain::{ErrorReason, SeriesId},
    routing::Detour,
};

/// How the wait for a canary ends that has been recalled; nobody's failure.
pub(super) const RECALLED: ProxyError =
    ProxyError::new(ErrorReason::Internal, "a rollback called the request back");

/// The way on for one request, should it need one.
pub(super) struct Fallback {
    choice: Choice,
    detour: Detour,
    /// The route's rules let it be sent again when the canary fails.
    on_failure: bool,
    /// It may be sent again when the canary is recalled.
    on_recall: bool,
    kept: Bytes,
}

impl Fallback {
    /// The way on for a request that goes by `choice`; `None` for nearly all.
    pub(super) fn of(
        context: &RequestContext,
        choice: &Choice,
        body: &Incoming,
    ) -> Option<Box<Self>> {
        let route = context.route(choice);
        let detour = route.detour?;
        // Whoever asks for the canary by an override wants to see it as it is. A client that waits for a word before it sends
        // its body would get that word from a buffer.
        if detour.from != choice.target || !choice.is_sample || context.expects_continue {
            return None;
        }
        let length = body.size_hint().exact();
        let on_failure = route.fallback.as_ref().is_some_and(|rules| {
            let fits = length.is_some_and(|length| length <= rules.max_body);
            fits && rules.methods.contains(&context.method)
        });
        let harmless = body.is_end_stream() && context.method.is_idempotent();
        let on_recall = route.rollout.is_some() && (on_failure || harmless);
        let way = Self { choice: *choice, detour, on_failure, on_recall, kept: Bytes::new() };
        (on_failure || on_recall).then(|| Box::new(way))
    }

    /// Takes the whole body in, which [`Fallback::of`] has found small enough, to be sent as often as it takes.
    ///
    /// Within an attempt, so that no more bodies are held than the backend may have requests under way.
    pub(super) async fn keep(
        &mut self,
        context: &RequestContext,
        sending: Sending,
    ) -> Result<Sending, ProxyError> {
        let incoming = match sending {
            Sending::Kept(bytes) => return Ok(Sending::Kept(bytes)),
            Sending::Streamed(incoming) if incoming.is_end_stream() => {
                return Ok(Sending::Kept(Bytes::new()));
            }
            Sending::Streamed(incoming) => incoming,
        };
        let route = context.route(&self.choice);
        let rules = BodyRules {
            max_bytes: route.max_body,
            idle: route.timeouts.idle,
            first_byte: route.timeouts.first_byte,
            tee: context.mirror.tee(),
        };
        let idle = rules.idle;
        let (downstream, progress) = (&context.downstream, Rc::<BodyProgress>::default());
        let mut body =
            RequestBody::streaming(incoming, downstream.clone(), progress.clone(), rules);
        downstream.expect_within(context.begun, idle);
        let mut kept = BytesMut::new();
        poll_fn(|cx| {
            loop {
                if let Some(expiry) = downstream.expiry() {
                    return Err(overdue(expiry, Some(&progress))).into();
                }
                let Some(frame) = ready!(Pin::new(&mut body).poll_frame(cx)) else {
                    return Ok(()).into();
                };
                if let Some(data) = frame?.data_ref() {
                    kept.extend_from_slice(data);
                }
            }
        })
        .await?;
        self.kept = kept.freeze();
        Ok(Sending::Kept(self.kept.clone()))
    }

    /// Whether a rollback has called the request back.
    pub(super) fn is_recalled(&self, context: &RequestContext) -> bool {
        let rollout = context.route(&self.choice).rollout.as_ref();
        self.on_recall && rollout.is_some_and(|rollout| rollout.guard.is_recalled())
    }

    /// Whether the request goes on after `error`, which pays for it.
    pub(super) fn follows_error(&self, context: &RequestContext, error: ProxyError) -> bool {
        let causes = causes(error.reason());
        error == RECALLED
            || (!causes.is_empty() && self.is_recalled(context))
            || causes.iter().any(|cause| self.names(context, *cause)) && self.pay(context)
    }

    /// Whether the request goes on after an answer with `status`, which pays for it.
    pub(super) fn follows_status(&self, context: &RequestContext, status: u16) -> bool {
        status >= 500 && self.names(context, FallbackCause::ServerError) && self.pay(context)
    }

    /// Counts the requests that go this way.
    pub(super) const fn series(&self) -> SeriesId {
        self.detour.series
    }

    /// The request once more, and its new way.
    pub(super) fn follow(
        self,
        context: &RequestContext,
    ) -> Result<(Choice, request::Parts, Sending), ProxyError> {
        let parts = replay::parts(context.downstream.head().bytes());
        let parts = parts.ok_or_else(|| {
            ProxyError::new(ErrorReason::Internal, "the request's head was not read again")
        })?;
        let choice = Choice { target: self.detour.to, is_sample: false, ..self.choice };
        Ok((choice, parts, Sending::Kept(self.kept)))
    }

    fn names(&self, context: &RequestContext, cause: FallbackCause) -> bool {
        let rules = context.route(&self.choice).fallback.as_ref();
        self.on_failure && rules.is_some_and(|rules| rules.on.contains(&cause))
    }

    fn pay(&self, context: &RequestContext) -> bool {
        context.table.allowance(self.choice.route).spend()
    }
}

/// What `fallback.on` calls a failure. Where the request's own time is over, none is left for another attempt.
const fn causes(reason: ErrorReason) -> &'static [FallbackCause] {
    match reason {
        ErrorReason::ConnectFailed | ErrorReason::TlsFailed | ErrorReason::NoEndpoint => {
            &[FallbackCause::Connect]
        }
        ErrorReason::ConnectTimeout => &[FallbackCause::Connect, FallbackCause::Timeout],
        ErrorReason::FirstByteTimeout => &[FallbackCause::Timeout],
        ErrorReason::UpstreamReset | ErrorReason::MalformedResponse => &[FallbackCause::Reset],
        ErrorReason::MalformedRequest
        | ErrorReason::HeadTooLarge
        | ErrorReason::TargetTooLong
        | ErrorReason::WebSocketUnsupported
        | ErrorReason::HeadTimeout
        | ErrorReason::BodyTimeout
        | ErrorReason::BodyTooLarge
        | ErrorReason::NoRoute
        | ErrorReason::TooManyInFlight
        | ErrorReason::IdleTimeout
        | ErrorReason::TotalTimeout
        | ErrorReason::ProxyHeader
        | ErrorReason::RateLimited
        | ErrorReason::ClientGone
        | ErrorReason::Shutdown
        | ErrorReason::Internal => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decision::classify,
        domain::{Blame, Class},
    };

    #[test]
    fn only_what_the_backend_failed_leads_to_another() {
        for reason in ErrorReason::ALL.into_iter().filter(|reason| !causes(*reason).is_empty()) {
            let (class, blame) = classify::of_error(reason);
            assert_eq!((class, blame), (Class::Failure, Some(Blame::Upstream)), "{reason:?}");
        }
    }

    #[test]
    fn a_recall_says_nothing_about_the_canary() {
        assert_eq!(classify::of_error(RECALLED.reason()).0, Class::Excluded);
        assert!(causes(RECALLED.reason()).is_empty());
    }
}
