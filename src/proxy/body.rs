//! Bodies on their way: never held, only watched.

mod progress;
mod request;

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

pub(super) use self::{
    progress::BodyProgress,
    request::{BodyRules, RequestBody},
};
use super::{
    access::Entry,
    downstream::{Downstream, Expiry},
    edge::encode::Encoder,
    error::ProxyError,
    headers,
    measure::Attempt,
    mirror::Witness,
    upstream::UpstreamConnection,
};
use crate::{
    domain::{ErrorReason, Moment, Queue},
    lifecycle::clock,
    routing::LocalTable,
};

/// An answer's body on its way to the client. Its end, however it comes, is the end of the request.
pub(super) struct ResponseBody {
    kind: Kind,
    downstream: Rc<Downstream>,
    /// The request's line of the access log, told how the body ends.
    pub(super) entry: Option<Rc<Entry>>,
    /// Bytes that were handed over so far.
    given: u64,
    /// Makes it smaller on its way.
    pub(super) encoder: Option<Box<Encoder>>,
}

// One per connection, in a box of the library's already.
#[allow(clippy::large_enum_variant)]
enum Kind {
    /// Words of Tidegate's own.
    Short(Option<Bytes>),
    /// An endpoint's answer.
    Proxied(Proxied),
    /// Nothing more to come.
    Ended,
}

/// An exchange whose answer's head has come.
pub(super) struct Proxied {
    pub(super) upstream: UpstreamConnection,
    pub(super) attempt: Attempt,
    /// Whose pool takes the connection: table, backend and endpoint.
    pub(super) home: (LocalTable, usize, usize),
    /// Longest silence.
    pub(super) idle: Duration,
    /// Sees it for a mirror.
    pub(super) witness: Option<Box<Witness>>,
}

impl ResponseBody {
    const fn new(kind: Kind, downstream: Rc<Downstream>) -> Self {
        Self { kind, downstream, entry: None, given: 0, encoder: None }
    }

    pub(super) const fn short(downstream: Rc<Downstream>, text: Bytes) -> Self {
        Self::new(Kind::Short(Some(text)), downstream)
    }

    pub(super) const fn empty(downstream: Rc<Downstream>) -> Self {
        Self::new(Kind::Ended, downstream)
    }

    /// The body of an answer whose head came at `now`.
    pub(super) fn proxied(downstream: Rc<Downstream>, proxied: Proxied, now: Moment) -> Self {
        let (ended, idle) = (proxied.upstream.is_end_stream(), proxied.idle);
        let mut body = Self::new(Kind::Proxied(proxied), downstream);
        if ended {
            body.complete(now);
        } else {
            body.downstream.expect_within(now, idle);
        }
        body
    }

    /// Counts the attempt and lets the connection go back to its pool.
    fn complete(&mut self, now: Moment) {
        self.downstream.answered_at(now);
        let kind = std::mem::replace(&mut self.kind, Kind::Ended);
        let Kind::Proxied(proxied) = kind else { return };
        let Proxied { mut upstream, mut attempt, home, witness, .. } = proxied;
        attempt.complete(now);
        witness.into_iter().for_each(|witness| witness.complete());
        if upstream.finish(now) {
            let (table, backend, endpoint) = home;
            let backend = &table.backends()[backend];
            self.downstream.worker.pools().put(backend, &backend.endpoints[endpoint], upstream);
        }
    }

    /// Counts as failed an answer that its client does not get, though it may be whole.
    pub(super) fn refuse(&mut self, error: ProxyError) {
        if let Kind::Proxied(proxied) = &mut self.kind {
            proxied.attempt.fail(error);
        }
    }

    fn fail(&mut self, error: ProxyError) -> ProxyError {
        self.refuse(error);
        self.kind = Kind::Ended;
        self.downstream.worker.shard().error(error.reason());
        self.entry.iter().for_each(|entry| entry.fails(error.reason()));
        self.downstream.tear();
        error
    }
}

impl ResponseBody {
    /// The next frame as it came.
    fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        if !self.downstream.asks_for_more() {
            self.downstream.worker.shard().overflow(Queue::Http2Stalled);
            self.downstream.abandon();
            return Poll::Pending;
        }
        let expiry = self.downstream.expiry();
        let frame = match &mut self.kind {
            Kind::Ended => return Poll::Ready(None),
            Kind::Short(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Proxied(proxied) => match expiry {
                Some(expiry) => Poll::Ready(Some(Err(expired(expiry)))),
                None => proxied.upstream.poll_frame(cx),
            },
        };
        match frame {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.complete(clock::now());
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(error)))),
            Poll::Ready(Some(Ok(frame))) => {
                if let Kind::Proxied(proxied) = &mut self.kind {
                    if let Some(trailers) = frame.trailers_ref() {
                        proxied.attempt.tells_call(trailers);
                    }
                    proxied.witness.iter_mut().for_each(|witness| witness.see(&frame));
                    let (ended, idle) = (proxied.upstream.is_end_stream(), proxied.idle);
                    let now = clock::now();
                    if ended {
                        self.complete(now);
                    } else {
                        self.downstream.expect_within(now, idle);
                    }
                }
                let frame = match frame.into_trailers() {
                    Ok(trailers) => Frame::trailers(headers::clean_trailers(trailers)),
                    Err(data) => data,
                };
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ProxyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let frame = match self.encoder.take() {
            None => self.poll_plain(cx),
            Some(mut encoder) => {
                let frame = encoder.poll(|| self.poll_plain(cx)).unwrap_or_else(|_| {
                    let why = "the answer could not be encoded";
                    Poll::Ready(Some(Err(self.fail(ProxyError::new(ErrorReason::Internal, why)))))
                });
                self.encoder = Some(encoder);
                frame
            }
        };
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            // Whatever it is made of: an encoder's last words, or a page, may find no room either.
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.downstream.gave_part(bytes);
            self.given += bytes;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        if let Some(encoder) = &self.encoder {
            return encoder.has_ended();
        }
        match &self.kind {
            Kind::Ended => true,
            Kind::Short(text) => text.is_none(),
            Kind::Proxied(proxied) => proxied.upstream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.encoder.is_some() {
            return SizeHint::default();
        }
        match &self.kind {
            Kind::Ended => SizeHint::with_exact(0),
            Kind::Short(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Proxied(proxied) => proxied.upstream.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let ended = self.downstream.finish_serving();
        let Some(entry) = self.entry.take() else { return };
        if let Kind::Proxied(_) = self.kind {
            let ours = self.downstream.worker.is_cutting();
            entry.fails(if ours { ErrorReason::Internal } else { ErrorReason::ClientGone });
        }
        entry.ends(self.given, ended.unwrap_or_else(clock::now));
    }
}

fn expired(expiry: Expiry) -> ProxyError {
    match expiry {
        Expiry::Silence => {
            ProxyError::new(ErrorReason::IdleTimeout, "the answer stopped within its body")
        }
        Expiry::Total => {
            ProxyError::new(ErrorReason::TotalTimeout, "the request took too long as a whole")
        }
    }
}
