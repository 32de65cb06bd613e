//! One attempt against one endpoint: take or open a connection, send, wait, hand the answer on.

use std::{future::poll_fn, pin::pin, rc::Rc, task::Poll};

use http::{Request, Response, StatusCode, request, response};
use hyper::body::{Body, Incoming};

use super::{
    body::{BodyProgress, BodyRules, Proxied, RequestBody, ResponseBody},
    context::{Choice, RequestContext},
    downstream::Expiry,
    error::ProxyError,
    headers::{self, Host},
    measure::Attempt,
    replay,
    tunnel::Tunnel,
    upstream::{SendFault, UpstreamConnection, connect},
};
use crate::{
    config::model::Timeouts,
    domain::{ErrorReason, Moment},
    lifecycle::clock,
    routing::{Backend, Endpoint},
};

/// A request and where it goes.
pub(super) struct Exchange<'a> {
    pub(super) context: &'a RequestContext,
    pub(super) choice: &'a Choice,
    pub(super) host: &'a Host,
    /// Place in the backend's endpoints.
    pub(super) endpoint: usize,
}

impl Exchange<'_> {
    /// Sends the request; the attempt ends with the answer's body, or here if there is none.
    pub(super) async fn run(
        &self,
        parts: request::Parts,
        incoming: Incoming,
        mut attempt: Attempt,
    ) -> Result<(response::Parts, ResponseBody), ProxyError> {
        match self.exchange(parts, incoming).await {
            Ok((upstream, answer)) => self.take_answer(upstream, answer, attempt),
            Err(error) => {
                attempt.fail(error);
                Err(error)
            }
        }
    }

    async fn exchange(
        &self,
        parts: request::Parts,
        incoming: Incoming,
    ) -> Result<(Box<UpstreamConnection>, Response<Incoming>), ProxyError> {
        let progress = (!incoming.is_end_stream()).then(Rc::<BodyProgress>::default);
        let body = self.body(incoming, progress.as_ref());
        let mut request = Request::from_parts(parts, body);
        let pooled = self.pooled(progress.is_some());
        let mut now = self.context.begun;
        let mut upstream = match pooled {
            Some(upstream) => upstream,
            None => self.connect(&mut now).await?,
        };
        loop {
            let fault = match self.send(&mut upstream, request, progress.as_deref(), now).await {
                Ok(answer) => return Ok((upstream, answer)),
                Err(fault) => fault,
            };
            let error = progress.as_deref().and_then(BodyProgress::fault).unwrap_or(fault.error);
            request = self.again(&upstream, fault, progress.as_deref()).ok_or(error)?;
            let worker = &self.context.downstream.worker;
            worker.shard().retry(self.context.target(self.choice).series);
            upstream = self.connect(&mut now).await?;
        }
    }

    fn body(&self, incoming: Incoming, progress: Option<&Rc<BodyProgress>>) -> RequestBody {
        let Some(progress) = progress else { return RequestBody::empty() };
        let timeouts = self.timeouts();
        let rules = BodyRules {
            max_bytes: self.context.route(self.choice).max_body,
            idle: timeouts.idle,
            first_byte: timeouts.first_byte,
        };
        let downstream = self.context.downstream.clone();
        RequestBody::streaming(incoming, downstream, progress.clone(), &rules)
    }

    fn pooled(&self, has_body: bool) -> Option<Box<UpstreamConnection>> {
        // What cannot be sent again must not go to a connection that is known to be dead.
        let surely = has_body || !self.context.method.is_idempotent();
        let mut pools = self.context.downstream.worker.pools();
        pools.take(self.backend(), self.live_endpoint(), surely, self.context.begun)
    }

    /// Opens a connection; moves `now` on to when it was open.
    async fn connect(&self, now: &mut Moment) -> Result<Box<UpstreamConnection>, ProxyError> {
        let downstream = &self.context.downstream;
        let patience = self.timeouts().connect;
        // The connection's own watch must not be the one that ends this wait.
        downstream.expect_within(clock::now(), patience * 2);
        let address = self.live_endpoint().address();
        let opened = pin!(connect(&downstream.worker, address, patience));
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
            Some(Expiry::Total) => Poll::Ready(Err(ProxyError::new(
                ErrorReason::TotalTimeout,
                "the request took too long as a whole",
            ))),
            Some(Expiry::Silence) | None => future.as_mut().poll(cx).map(Ok),
        })
        .await
    }

    async fn send(
        &self,
        upstream: &mut UpstreamConnection,
        mut request: Request<RequestBody>,
        progress: Option<&BodyProgress>,
        now: Moment,
    ) -> Result<Response<Incoming>, SendFault> {
        let downstream = &self.context.downstream;
        upstream.shared().begin(downstream.clone());
        if self.context.expects_continue {
            request.body_mut().hold_for(upstream.shared().clone());
        }
        let timeouts = self.timeouts();
        let patience = if request.body().is_empty() { timeouts.first_byte } else { timeouts.idle };
        downstream.expect_within(now, patience);
        let mut answer = pin!(upstream.send(request));
        poll_fn(|cx| match downstream.expiry() {
            Some(expiry) => {
                let error = overdue(expiry, progress);
                Poll::Ready(Err(SendFault { error, unsent: None }))
            }
            None => upstream.poll_response(answer.as_mut(), cx),
        })
        .await
    }

    /// The request once more, where that is safe.
    ///
    /// An idle connection may die while a request is on its way to it, and nothing tells whether the endpoint saw it. If no
    /// byte was written, anything may be sent again; else only what has no body and, by RFC 9110 §9.2.2, may be repeated.
    fn again(
        &self,
        upstream: &UpstreamConnection,
        fault: SendFault,
        progress: Option<&BodyProgress>,
    ) -> Option<Request<RequestBody>> {
        let broke = fault.error.reason() == ErrorReason::UpstreamReset;
        if !upstream.is_reused() || upstream.shared().has_answered() || !broke {
            return None;
        }
        if progress.is_some_and(BodyProgress::has_begun) {
            return None;
        }
        if let Some(unsent) = fault.unsent {
            return Some(*unsent);
        }
        if progress.is_some() || !self.context.method.is_idempotent() {
            return None;
        }
        let mut parts = replay::parts(self.context.downstream.head().bytes())?;
        let mut added = self.context.downstream.added_mut();
        headers::forward(&mut parts, self.context, self.choice, self.host, &mut added).ok()?;
        Some(Request::from_parts(parts, RequestBody::empty()))
    }

    fn take_answer(
        &self,
        upstream: Box<UpstreamConnection>,
        answer: Response<Incoming>,
        mut attempt: Attempt,
    ) -> Result<(response::Parts, ResponseBody), ProxyError> {
        let downstream = self.context.downstream.clone();
        let (parts, incoming) = answer.into_parts();
        let now = clock::now();
        attempt.answered(parts.status.as_u16(), now);
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            self.switch(*upstream, attempt)?;
            return Ok((parts, ResponseBody::empty(downstream)));
        }
        let backend = self.context.target(self.choice).backend;
        let proxied = Proxied {
            incoming,
            upstream,
            attempt,
            home: (self.context.table.clone(), backend, self.endpoint),
            idle: self.timeouts().idle,
        };
        Ok((parts, ResponseBody::proxied(downstream, proxied, now)))
    }

    /// Leaves HTTP: from here on bytes go both ways as they come. Only the change itself is measured.
    fn switch(&self, upstream: UpstreamConnection, mut attempt: Attempt) -> Result<(), ProxyError> {
        if self.context.upgrade.is_none() {
            let why = "the endpoint switches protocols unasked";
            let error = ProxyError::new(ErrorReason::MalformedResponse, why);
            attempt.fail(error);
            return Err(error);
        }
        upstream.shared().end();
        let Some(remains) = upstream.into_remains() else {
            let error = ProxyError::new(ErrorReason::UpstreamReset, "the connection broke");
            attempt.fail(error);
            return Err(error);
        };
        attempt.complete(clock::now());
        self.context.downstream.set_tunnel(Tunnel::new(remains, attempt));
        Ok(())
    }

    fn timeouts(&self) -> Timeouts {
        self.context.route(self.choice).timeouts
    }

    fn backend(&self) -> &Backend {
        &self.context.table.backends()[self.context.target(self.choice).backend]
    }

    fn live_endpoint(&self) -> &Endpoint {
        &self.backend().endpoints[self.endpoint]
    }
}

fn overdue(expiry: Expiry, progress: Option<&BodyProgress>) -> ProxyError {
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
