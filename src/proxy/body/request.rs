//! A request's body on its way to an endpoint.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::BodyProgress;
use crate::{
    domain::ErrorReason,
    lifecycle::clock,
    proxy::{
        downstream::Downstream,
        error::ProxyError,
        headers,
        mirror::{CopiedBody, Tee},
        pace::Pace,
        upstream::Upstream,
    },
};

/// A request's body on its way to an endpoint.
///
/// Most requests have none, and all are moved a good many times within the library: so it is small.
pub(in crate::proxy) struct RequestBody(Option<Box<Source>>);

enum Source {
    Streaming(Streaming),
    /// All of it, kept to be sent more than once.
    Kept(Bytes),
    /// A copy, for the mirror.
    Copied(CopiedBody),
}

struct Streaming {
    incoming: Incoming,
    downstream: Rc<Downstream>,
    progress: Rc<BodyProgress>,
    /// Bytes that may still come.
    allowed: u64,
    /// Longest silence within the body.
    idle: Duration,
    /// Longest silence after it.
    first_byte: Duration,
    hold: Option<Hold>,
    tee: Option<Tee>,
    pace: Pace,
}

/// Holds a body back until the endpoint asks for it (`expect: 100-continue`), or long enough.
struct Hold {
    upstream: Rc<Upstream>,
    patience: Pin<Box<tokio::time::Sleep>>,
}

/// What a body on its way must obey.
pub(in crate::proxy) struct BodyRules {
    pub(in crate::proxy) max_bytes: Option<u64>,
    pub(in crate::proxy) idle: Duration,
    pub(in crate::proxy) first_byte: Duration,
    /// Where it is copied to.
    pub(in crate::proxy) tee: Option<Tee>,
}

impl RequestBody {
    /// No body.
    pub(in crate::proxy) const fn empty() -> Self {
        Self(None)
    }

    /// A body that is here already.
    pub(in crate::proxy) fn kept(bytes: Bytes) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(Source::Kept(bytes))))
    }

    /// A copy of another request's body.
    pub(in crate::proxy) fn copied(body: CopiedBody) -> Self {
        Self(Some(Box::new(Source::Copied(body))))
    }

    /// The client's body as it comes.
    pub(in crate::proxy) fn streaming(
        incoming: Incoming,
        downstream: Rc<Downstream>,
        progress: Rc<BodyProgress>,
        rules: BodyRules,
    ) -> Self {
        Self(Some(Box::new(Source::Streaming(Streaming {
            incoming,
            downstream,
            progress,
            allowed: rules.max_bytes.unwrap_or(u64::MAX),
            idle: rules.idle,
            first_byte: rules.first_byte,
            hold: None,
            tee: rules.tee,
            pace: Pace::default(),
        }))))
    }

    /// Waits with the body until `upstream` has asked for it. RFC 9110 §10.1.1: but not for ever, it may be too old to.
    pub(in crate::proxy) fn hold_for(&mut self, upstream: Rc<Upstream>) {
        const PATIENCE: Duration = Duration::from_secs(1);
        if let Some(Source::Streaming(streaming)) = self.0.as_deref_mut() {
            let patience = Box::pin(tokio::time::sleep(PATIENCE));
            streaming.hold = Some(Hold { upstream, patience });
        }
    }
}

impl Streaming {
    fn is_held(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(hold) = &mut self.hold else { return false };
        if !hold.upstream.has_continued() && hold.patience.as_mut().poll(cx).is_pending() {
            return true;
        }
        self.hold = None;
        false
    }

    fn take_frame(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, ProxyError> {
        self.progress.begun.set(true);
        let size = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(allowed) = self.allowed.checked_sub(size) else {
            return Err(ProxyError::new(ErrorReason::BodyTooLarge, "the body is too large"));
        };
        self.allowed = allowed;
        self.tee.iter().for_each(|tee| tee.copy(&frame));
        let now = clock::now();
        if let Some(least) = self.downstream.listener.min_rate
            && !self.pace.pass(size, now, least)
        {
            let why = "the request's body comes too slowly";
            return Err(ProxyError::new(ErrorReason::BodyTimeout, why));
        }
        // Trailers are the end, which the library does not say of chunks.
        if frame.is_trailers() || self.incoming.is_end_stream() {
            self.tee.iter().for_each(Tee::end);
            self.progress.complete.set(true);
            self.downstream.has_whole_body();
            self.downstream.expect_within(now, self.first_byte);
        } else {
            self.downstream.expect_within(now, self.idle);
        }
        Ok(match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(headers::clean_request_trailers(trailers)),
            Err(data) => data,
        })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = ProxyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let Some(source) = self.0.as_deref_mut() else { return Poll::Ready(None) };
        let body = match source {
            Source::Streaming(body) => body,
            Source::Copied(body) => return Pin::new(body).poll_frame(cx),
            Source::Kept(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = None;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        };
        if body.is_held(cx) {
            return Poll::Pending;
        }
        let frame = match Pin::new(&mut body.incoming).poll_frame(cx) {
            Poll::Pending => {
                if body.downstream.listener.min_rate.is_some() {
                    body.pace.wait(clock::now());
                }
                body.progress.starving.set(true);
                return Poll::Pending;
            }
            Poll::Ready(None) => {
                body.tee.iter().for_each(Tee::end);
                body.progress.complete.set(true);
                body.downstream.has_whole_body();
                body.downstream.expect_within(clock::now(), body.first_byte);
                return Poll::Ready(None);
            }
            Poll::Ready(Some(Ok(frame))) => body.take_frame(frame),
            Poll::Ready(Some(Err(_))) => Err(body.downstream.body_fault().unwrap_or_else(|| {
                ProxyError::new(ErrorReason::ClientGone, "the client went away within its body")
            })),
        };
        body.progress.starving.set(false);
        if let Err(fault) = &frame {
            body.progress.fault.set(Some(*fault));
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        match self.0.as_deref() {
            None => true,
            Some(Source::Streaming(body)) => body.incoming.is_end_stream(),
            Some(Source::Copied(body)) => body.is_end_stream(),
            Some(Source::Kept(_)) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.as_deref() {
            None => SizeHint::with_exact(0),
            Some(Source::Streaming(body)) => body.incoming.size_hint(),
            Some(Source::Copied(body)) => body.size_hint(),
            Some(Source::Kept(bytes)) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}
