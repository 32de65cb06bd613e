//! One attempt against one endpoint: take or open a connection, send, wait, hand the answer on.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use http::{StatusCode, request, response};
use hyper::body::{Body, Incoming};

use super::{
    access::Entry,
    body::{BodyProgress, BodyRules, Proxied, RequestBody, ResponseBody},
    context::{Choice, RequestContext},
    downstream::Expiry,
    error::ProxyError,
    fallback::{Fallback, RECALLED},
    headers::{self, Host},
    measure::Attempt,
    replay,
    retry::Tried,
    upstream::{SendFault, UpstreamConnection, connect},
};
use crate::{
    config::model::Timeouts,
    domain::{ErrorReason, Moment},
    lifecycle::clock,
    routing::{Backend, Endpoint},
};

/// How often a request goes out again to the same endpoint because its connection has died: a pooled one says little about its
/// endpoint, and one that ends with a word about what it has not looked at (GOAWAY) may be followed by another one.
const MOST_DEATHS: u8 = 2;

/// A request and where it goes.
pub(super) struct Exchange<'a> {
    pub(super) context: &'a RequestContext,
    pub(super) choice: &'a Choice,
    pub(super) host: &'a Host,
    /// Place in the backend's endpoints.
    pub(super) endpoint: usize,
    /// When the attempt began.
    pub(super) begun: Moment,
    /// Endpoints that have failed it so far.
    pub(super) retried: u32,
    /// Where it may go on.
    pub(super) fallback: Option<Box<Fallback>>,
    pub(super) attempt: Attempt,
    /// What is to be sent.
    pub(super) parts: &'a mut request::Parts,
}

/// A request's body.
pub(super) enum Sending {
    /// As it comes.
    Streamed(Incoming),
    /// All of it is here; often nothing.
    Kept(Bytes),
}

/// What became of an attempt that has not failed its client.
#[allow(clippy::large_enum_variant, reason = "handed on at once, and nearly always the large one")]
pub(super) enum Attempted {
    /// There is an answer.
    Answered(response::Parts, ResponseBody),
    /// It is counted and over, and another one follows.
    Left(Box<Fallback>),
}

impl Exchange<'_> {
    /// What comes of the request once its answer's head is there, or none comes; the attempt ends with the answer's body, or
    /// here if there is none.
    pub(super) fn settle(
        mut self,
        answer: Result<(UpstreamConnection, response::Parts), ProxyError>,
    ) -> Result<Attempted, ProxyError> {
        let context = self.context;
        let error = match answer {
            Ok((upstream, parts)) => match self.misunderstands(&parts) {
                None => return self.take_answer(upstream, parts),
                Some(error) => error,
            },
            Err(error) => error,
        };
        self.attempt.fail(error);
        match self.fallback.take_if(|fallback| fallback.follows_error(context, error)) {
            Some(fallback) => Ok(leave(fallback, &self.attempt)),
            None => Err(error),
        }
    }

    /// Sends the request, again where that is safe, and waits for the answer's head.
    pub(super) async fn ask(
        &mut self,
        mut sending: Sending,
    ) -> Result<(UpstreamConnection, response::Parts), ProxyError> {
        if let Some(fallback) = &mut self.fallback {
            sending = Box::pin(fallback.keep(self.context, sending)).await?;
        }
        let kept = match &sending {
            Sending::Streamed(_) => Bytes::new(),
            Sending::Kept(bytes) => bytes.clone(),
        };
        let (mut body, progress) = self.body(sending);
        let has_body = !body.is_end_stream();
        let mut pooled = self.pooled(has_body);
        // A body that was kept took the client's time.
        let mut now = if kept.is_empty() { self.begun } else { clock::now() };
        let mut deaths = 0..MOST_DEATHS;
        loop {
            let mut upstream = match pooled.take() {
                Some(upstream) => upstream,
                // Boxed, so that it takes no room in requests that find a connection in the pool.
                None => match Box::pin(self.connect(&mut now)).await {
                    Ok(upstream) => upstream,
                    Err(error) => {
                        self.goes_elsewhere(error, Tried::NoConnection)?;
                        pooled = self.pooled(has_body);
                        now = self.begun;
                        continue;
                    }
                },
            };
            self.send(&mut upstream, body, progress.as_deref(), now);
            let fault = match self.answer(&mut upstream, progress.as_deref()).await {
                Ok(answer) => return Ok((upstream, answer)),
                Err(fault) => fault,
            };
            let error = progress.as_deref().and_then(BodyProgress::fault).unwrap_or(fault.error);
            let tried = fault.tried();
            let died = !fault.is_alone && (upstream.is_reused() || fault.refused);
            body = self.again(&upstream, fault, progress.as_deref(), &kept).ok_or(error)?;
            if !died || deaths.next().is_none() {
                self.goes_elsewhere(error, tried)?;
                pooled = self.pooled(has_body);
                now = self.begun;
                continue;
            }
            if tried == Tried::Sent {
                self.attempt.fail_and_begin_again(error);
            }
            let worker = &self.context.downstream.worker;
            worker.shard().retry(self.context.target(self.choice).series);
            self.context.tell(Entry::retries);
        }
    }

    fn body(&self, sending: Sending) -> (RequestBody, Option<Rc<BodyProgress>>) {
        let incoming = match sending {
            Sending::Kept(bytes) => return (RequestBody::kept(bytes), None),
            Sending::Streamed(incoming) if incoming.is_end_stream() => {
                return (RequestBody::empty(), None);
            }
            Sending::Streamed(incoming) => incoming,
        };
        let progress = Rc::<BodyProgress>::default();
        let timeouts = self.timeouts();
        let rules = BodyRules {
            max_bytes: self.context.route(self.choice).max_body,
            idle: timeouts.idle,
            first_byte: timeouts.first_byte,
            tee: self.context.mirror.tee(),
        };
        let downstream = self.context.downstream.clone();
        let body = RequestBody::streaming(incoming, downstream, progress.clone(), rules);
        (body, Some(progress))
    }

    fn pooled(&self, has_body: bool) -> Option<UpstreamConnection> {
        // What cannot be sent again must not go to a connection that is known to be dead.
        let surely = has_body || !self.context.method.is_idempotent();
        let mut pools = self.context.downstream.worker.pools();
        let (backend, endpoint) = (self.backend(), self.live_endpoint());
        pools.take(backend, endpoint, self.context.speaks(backend), surely, self.begun)
    }

    /// Opens a connection; moves `now` on to when it was open.
    async fn connect(&self, now: &mut Moment) -> Result<UpstreamConnection, ProxyError> {
        let downstream = &self.context.downstream;
        let patience = self.timeouts().connect;
        // The connection's own watch must not be the one that ends this wait.
        downstream.expect_within(clock::now(), patience * 2);
        let endpoint = self.live_endpoint();
        let (backend, speaks) = (self.backend(), self.context.speaks(self.backend()));
        let opened = pin!(connect(&downstream.worker, backend, endpoint, speaks, patience));
        let upstream = self.or_total(opened).await??;
        *now = clock::now();
        Ok(upstream)
    }

    /// Waits for `future`, but no longer than the request as a whole may take.
    async fn or_total<F: Future>(
        &self,
        future: std::pin::Pin<&mut F>,
    ) -> Result<F::Output, ProxyError> {
        let mut future = future;
        poll_fn(|cx| match self.context.downstream.expiry() {
            _ if self.is_recalled() => Poll::Ready(Err(RECALLED)),
            Some(Expiry::Total) => Poll::Ready(Err(ProxyError::new(
                ErrorReason::TotalTimeout,
                "the request took too long as a whole",
            ))),
            Some(Expiry::Silence) | None => future.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    fn send(
        &mut self,
        upstream: &mut UpstreamConnection,
        mut body: RequestBody,
        progress: Option<&BodyProgress>,
        now: Moment,
    ) {
        let downstream = &self.context.downstream;
        upstream.begin(downstream.clone());
        if self.context.expects_continue
            && let Some(continues) = upstream.continues()
        {
            body.hold_for(continues);
        }
        let timeouts = self.timeouts();
        let patience = if progress.is_none() { timeouts.first_byte } else { timeouts.idle };
        downstream.expect_within(now, patience);
        upstream.send(self.parts, body);
    }

    async fn answer(
        &self,
        upstream: &mut UpstreamConnection,
        progress: Option<&BodyProgress>,
    ) -> Result<response::Parts, SendFault> {
        let downstream = &self.context.downstream;
        poll_fn(|cx| match downstream.expiry() {
            _ if self.is_recalled() => Poll::Ready(Err(RECALLED.into())),
            Some(expiry) => Poll::Ready(Err(overdue(expiry, progress).into())),
            None => upstream.poll_response(cx),
        })
        .await
    }

    /// Makes the request ready to go out once more, where that is safe, and gives its body.
    ///
    /// A connection may die while a request is on its way to it, and nothing tells whether the endpoint saw it. If no
    /// byte was written, anything may be sent again, and nothing has been tried; else only what has no body and, by RFC 9110
    /// §9.2.2, may be repeated, and what broke counts: an endpoint that drops what it has read must not look well. An idle
    /// connection that died says little about its endpoint, so that another one to it follows; after that another endpoint may.
    fn again(
        &mut self,
        upstream: &UpstreamConnection,
        fault: SendFault,
        progress: Option<&BodyProgress>,
        kept: &Bytes,
    ) -> Option<RequestBody> {
        let broke = fault.error.reason() == ErrorReason::UpstreamReset;
        if upstream.has_answered() || !broke {
            return None;
        }
        if progress.is_some_and(BodyProgress::has_begun) {
            return None;
        }
        let body = match (fault.unsent, progress) {
            (Some(unsent), Some(_)) => unsent,
            (Some(_), None) => RequestBody::kept(kept.clone()),
            (None, None) if fault.refused || self.context.method.is_idempotent() => {
                RequestBody::kept(kept.clone())
            }
            (None, _) => return None,
        };
        *self.parts = replay::parts(self.context.downstream.head().bytes())?;
        let mut added = self.context.downstream.added_mut();
        headers::forward(self.parts, self.context, self.choice, self.host, &mut added).ok()?;
        Some(body)
    }

    /// Whether a rollback has called the request back.
    pub(super) fn is_recalled(&self) -> bool {
        self.fallback.as_ref().is_some_and(|fallback| fallback.is_recalled(self.context))
    }

    fn take_answer(
        mut self,
        upstream: UpstreamConnection,
        parts: response::Parts,
    ) -> Result<Attempted, ProxyError> {
        let (context, downstream) = (self.context, self.context.downstream.clone());
        let (status, now) = (parts.status.as_u16(), clock::now());
        self.attempt.answered(status, now);
        if downstream.is_call() && headers::is_call(&parts.headers) {
            self.attempt.is_call(&parts.headers);
        }
        context.tell(|entry| entry.hears(now));
        if let Some(header) = &self.backend().cache_status_header
            && let Some(value) = parts.headers.get(header)
        {
            self.attempt.tells_cache(headers::is_hit(value));
        }
        if let Some(fallback) =
            self.fallback.take_if(|fallback| fallback.follows_status(context, status))
        {
            self.attempt.complete(now);
            self.release(upstream, now);
            return Ok(leave(fallback, &self.attempt));
        }
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            self.switch(upstream, &parts)?;
            return Ok(Attempted::Answered(parts, ResponseBody::empty(downstream)));
        }
        let (backend, idle) = (self.context.target(self.choice).backend, self.timeouts().idle);
        let witness = self.context.mirror.witness(context, self.choice, &parts);
        let proxied = Proxied {
            upstream,
            attempt: self.attempt,
            home: (self.context.table.clone(), backend, self.endpoint),
            idle,
            witness,
        };
        Ok(Attempted::Answered(parts, ResponseBody::proxied(downstream, proxied, now)))
    }

    /// Drops an answer that the client does not get; its connection is kept if the rest has come already.
    fn release(&self, mut upstream: UpstreamConnection, now: Moment) {
        /// More than one turn of a connection can bring.
        const FRAMES: usize = 16;
        let mut aside = Context::from_waker(Waker::noop());
        for _ in 0..FRAMES {
            if upstream.is_end_stream() {
                break;
            }
            let Poll::Ready(None | Some(Ok(_))) = upstream.poll_frame(&mut aside) else { return };
        }
        if upstream.is_end_stream() && upstream.finish(now) {
            let mut pools = self.context.downstream.worker.pools();
            pools.put(self.backend(), self.live_endpoint(), upstream);
        }
    }

    fn timeouts(&self) -> Timeouts {
        self.context.route(self.choice).timeouts
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.context.table.backends()[self.context.target(self.choice).backend]
    }

    fn live_endpoint(&self) -> &Endpoint {
        &self.backend().endpoints[self.endpoint]
    }
}

/// Ends an attempt whose request goes on elsewhere.
fn leave(fallback: Box<Fallback>, attempt: &Attempt) -> Attempted {
    attempt.falls_back(fallback.series());
    Attempted::Left(fallback)
}

pub(super) fn overdue(expiry: Expiry, progress: Option<&BodyProgress>) -> ProxyError {
    // Whoever sends slowly is not the endpoint's fault, whatever clock ran out.
    if progress.is_some_and(BodyProgress::is_starving) {
        return ProxyError::new(ErrorReason::BodyTimeout, "the request's body stopped coming");
    }
    match expiry {
        Expiry::Total => {
            ProxyError::new(ErrorReason::TotalTimeout, "the request took too long as a whole")
        }
        Expiry::Silence => {
            ProxyError::new(ErrorReason::FirstByteTimeout, "the endpoint did not answer in time")
        }
    }
}
