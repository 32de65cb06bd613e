//! A connection to an endpoint as one request sees it: its own for a while, or a stream of one that many share.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, request, response};
use hyper::body::{Frame, SizeHint};

use super::{Upstream, client::Http1Connection, http2::Http2Stream};
use crate::{
    domain::{ErrorReason, Moment},
    proxy::{
        body::RequestBody, downstream::Downstream, error::ProxyError, retry::Tried, socket::Socket,
    },
};

const NO_SWITCH: ProxyError =
    ProxyError::new(ErrorReason::MalformedResponse, "HTTP/2 has no switch of protocols");

/// How a request reaches its endpoint.
pub(in crate::proxy) enum UpstreamConnection {
    /// Over a connection of HTTP/1.1.
    Http1(Box<Http1Connection>),
    /// As a stream of HTTP/2.
    Http2(Box<Http2Stream>),
}

/// A connection that has left HTTP.
pub(in crate::proxy) struct Remains {
    pub(in crate::proxy) socket: Socket,
    /// What the endpoint sent after its head.
    pub(in crate::proxy) read: Vec<u8>,
    /// What it has not been sent of the request.
    pub(in crate::proxy) unsent: Vec<u8>,
}

/// Why no answer came.
pub(in crate::proxy) struct SendFault {
    /// What went wrong.
    pub(in crate::proxy) error: ProxyError,
    /// The request's body, where no byte of the request was written.
    pub(in crate::proxy) unsent: Option<RequestBody>,
    /// The endpoint says that it has not looked at the request.
    pub(in crate::proxy) refused: bool,
    /// It is the request's own end; the connection goes on.
    pub(in crate::proxy) is_alone: bool,
}

impl SendFault {
    /// How far the request has come.
    pub(in crate::proxy) const fn tried(&self) -> Tried {
        match (&self.unsent, self.refused) {
            (_, true) => Tried::Refused,
            (Some(_), false) => Tried::Unsent,
            (None, false) => Tried::Sent,
        }
    }
}

impl From<ProxyError> for SendFault {
    fn from(error: ProxyError) -> Self {
        Self { error, unsent: None, refused: false, is_alone: false }
    }
}

impl UpstreamConnection {
    /// A request of `client` is about to go out, with the lines that Tidegate adds.
    pub(in crate::proxy) fn begin(&mut self, client: Rc<Downstream>) {
        match self {
            Self::Http1(own) => own.begin(client),
            Self::Http2(stream) => stream.begin(client),
        }
    }

    /// A request without a client is about to go out, with the lines that Tidegate adds.
    pub(in crate::proxy) fn begin_apart(&mut self, added: Vec<u8>) {
        match self {
            Self::Http1(own) => own.begin_apart(added),
            Self::Http2(stream) => stream.begin_apart(added),
        }
    }

    /// Who tells when a body that is held back may go, if anybody does.
    pub(in crate::proxy) fn continues(&self) -> Option<Rc<Upstream>> {
        match self {
            Self::Http1(own) => Some(own.shared().clone()),
            Self::Http2(_) => None,
        }
    }

    /// Whether it has carried a request before, and so may have died meanwhile.
    pub(in crate::proxy) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(own) => own.is_reused(),
            Self::Http2(stream) => stream.is_reused(),
        }
    }

    /// Whether any byte of an answer has come.
    pub(in crate::proxy) fn has_answered(&self) -> bool {
        match self {
            Self::Http1(own) => own.shared().has_answered(),
            Self::Http2(stream) => stream.has_answered(),
        }
    }

    /// Hands the request over; [`Self::poll_response`] then moves it on. What is left of `parts` is nothing to rely on.
    pub(in crate::proxy) fn send(&mut self, parts: &mut request::Parts, body: RequestBody) {
        match self {
            Self::Http1(own) => {
                own.send(parts, body);
                // Written already: whoever waits for an answer need not hold them.
                parts.headers = HeaderMap::new();
            }
            Self::Http2(stream) => {
                let (nothing, ()) = Request::new(()).into_parts();
                let parts = std::mem::replace(parts, nothing);
                stream.send(Request::from_parts(parts, body));
            }
        }
    }

    /// Looks whether the answer's head is there.
    pub(in crate::proxy) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, SendFault>> {
        match self {
            Self::Http1(own) => own.poll_response(cx),
            Self::Http2(stream) => stream.poll_response(cx),
        }
    }

    /// Reads the next part of the answer's body.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        match self {
            Self::Http1(own) => own.poll_frame(cx),
            Self::Http2(stream) => stream.poll_frame(cx),
        }
    }

    /// Whether the answer's body has ended.
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(own) => own.is_end_stream(),
            Self::Http2(stream) => stream.is_end_stream(),
        }
    }

    /// How long the rest of the answer's body is.
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(own) => own.size_hint(),
            Self::Http2(stream) => stream.size_hint(),
        }
    }

    /// Ends an exchange whose answer has ended; true when the connection can carry another and has to be kept.
    pub(in crate::proxy) fn finish(&mut self, now: Moment) -> bool {
        match self {
            Self::Http1(own) => own.finish(now),
            Self::Http2(_) => false,
        }
    }

    /// What is left after a switch of protocols.
    ///
    /// # Errors
    /// `MalformedResponse` where there can be none.
    pub(in crate::proxy) fn into_remains(self) -> Result<Remains, ProxyError> {
        match self {
            Self::Http1(own) => own.into_remains(),
            Self::Http2(_) => Err(NO_SWITCH),
        }
    }
}
