//! One HTTP/1.1 connection to an endpoint, driven by the task of the request that uses it.
//!
//! The library expects a connection to run as a task beside the request. Here both are one: whoever waits for the answer, or
//! reads its body, polls the connection, so that an exchange costs no switch between tasks. [`Relay`] stands between the
//! two: what the connection wakes while it is being polled leads to another turn at once instead of another run of the task.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::{
    connection::{Remains, SendFault, Sent},
    io::{Upstream, UpstreamIo},
    pool::same_rules,
};
use crate::{
    domain::{ErrorReason, Moment},
    proxy::{body::RequestBody, error::ProxyError, socket::Socket, worker::Worker},
    routing::Home,
    tls::ClientTls,
};
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http1};

/// Bytes of an answer that the library holds; twice the largest head.
const BUFFER: usize = 128 * 1024;

/// Connection state as polled by the library.
type Http = http1::Connection<UpstreamIo, RequestBody>;

/// A connection to an endpoint that carries one request at a time.
pub(in crate::proxy) struct Http1Connection {
    sender: http1::SendRequest<RequestBody>,
    http: Http,
    shared: Rc<Upstream>,
    relay: Arc<Relay>,
    /// The relay, as the library takes it.
    waker: Waker,
    /// What it was encrypted with.
    tls: Option<Arc<ClientTls>>,
    /// The library is done with the connection.
    ended: bool,
    /// It has carried a request before.
    reused: bool,
    pub(super) idle_since: Moment,
    /// Where it leads.
    pub(super) home: Home,
}

impl Http1Connection {
    /// Takes a fresh socket, encrypted with `tls` if at all.
    pub(super) async fn new(
        socket: Socket,
        home: Home,
        tls: Option<Arc<ClientTls>>,
        worker: Rc<Worker>,
    ) -> hyper::Result<Box<Self>> {
        let (io, shared) = UpstreamIo::new(socket, worker);
        let (sender, http) = http1::Builder::new().max_buf_size(BUFFER).handshake(io).await?;
        let relay = Arc::new(Relay::default());
        Ok(Box::new(Self {
            sender,
            http,
            shared,
            waker: relay.clone().into(),
            relay,
            tls,
            ended: false,
            reused: false,
            idle_since: Moment::default(),
            home,
        }))
    }

    /// What is known of the answer before the library knows it.
    pub(in crate::proxy) fn shared(&self) -> &Rc<Upstream> {
        &self.shared
    }

    /// Whether a new connection would be made with the same certificates and rules.
    pub(super) fn is_made_with(&self, tls: Option<&Arc<ClientTls>>) -> bool {
        same_rules(self.tls.as_ref(), tls)
    }

    /// Whether it has carried a request before, and so may have died meanwhile.
    pub(in crate::proxy) const fn is_reused(&self) -> bool {
        self.reused
    }

    /// Hands the request to the connection; [`Self::poll_response`] then writes it.
    pub(in crate::proxy) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Sent> + use<> {
        let _aside = self.relay.aside();
        self.sender.try_send_request(request)
    }

    /// Writes, reads, and looks whether the answer's head is there.
    pub(in crate::proxy) fn poll_response<F>(
        &mut self,
        response: Pin<&mut F>,
        cx: &Context<'_>,
    ) -> Poll<Result<Response<Incoming>, SendFault>>
    where
        F: Future<Output = Sent>,
    {
        self.drive(cx);
        // The connection alone moves the response on, and it has just been polled with a waker that lasts.
        match response.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(mut failed)) => {
                let unsent = failed.take_message().map(Box::new);
                let error = self.explain(failed.error());
                Poll::Ready(Err(SendFault { error, unsent, refused: false }))
            }
            Poll::Pending if self.ended => {
                let error = ProxyError::new(ErrorReason::UpstreamReset, "the connection closed");
                Poll::Ready(Err(error.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads the next part of an answer's body.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, ProxyError>>> {
        use hyper::body::Body;
        let mut aside = Context::from_waker(Waker::noop());
        let mut ready = {
            // Asking tells the connection that the body is wanted.
            let _aside = self.relay.aside();
            Pin::new(&mut *body).poll_frame(&mut aside)
        };
        if ready.is_pending() {
            self.drive(cx);
            ready = Pin::new(body).poll_frame(&mut aside);
        }
        ready.map(|frame| frame.map(|frame| frame.map_err(|error| self.explain(&error))))
    }

    /// Gives the connection its turn until it has nothing more to do now.
    pub(in crate::proxy) fn drive(&mut self, cx: &Context<'_>) {
        /// More turns than an exchange can need; beyond, others get theirs first.
        const TURNS: usize = 8;
        self.relay.parent.register(cx.waker());
        let mut own = Context::from_waker(&self.waker);
        for _ in 0..TURNS {
            if self.ended {
                return;
            }
            if self.relay.stirred.swap(false, Relaxed) {
                self.shared.wake();
            }
            self.relay.polling.store(true, Relaxed);
            self.ended = self.http.poll_without_shutdown(&mut own).is_ready();
            self.relay.polling.store(false, Relaxed);
            if !self.relay.stirred.load(Relaxed) {
                return;
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Ends an exchange with the rest of its answer; true when the connection can carry another.
    pub(in crate::proxy) fn finish(&mut self, body: Incoming, now: Moment) -> bool {
        {
            let _aside = self.relay.aside();
            drop(body);
        }
        if !self.sender.is_ready() {
            self.drive(&Context::from_waker(Waker::noop()));
        }
        // The task it would wake has nothing to do with it any more.
        drop(self.relay.parent.take());
        self.shared.end();
        self.reused = true;
        self.idle_since = now;
        !self.ended && self.sender.is_ready() && self.shared.is_flushed()
    }

    /// Whether an idle connection is still good, also by the kernel's word: for requests that cannot be sent twice.
    pub(super) fn is_surely_alive(&mut self) -> bool {
        self.is_alive() && self.shared.is_quiet()
    }

    /// Whether an idle connection is still good, as far as is known without asking the kernel.
    pub(super) fn is_alive(&mut self) -> bool {
        // An event on an idle connection is its end, or bytes nobody asked for; the library tells.
        if self.relay.stirred.load(Relaxed) {
            self.drive(&Context::from_waker(Waker::noop()));
        }
        !self.ended && self.sender.is_ready()
    }

    /// What is left after a switch of protocols; `None` if the socket has failed meanwhile.
    pub(in crate::proxy) fn into_remains(self) -> Option<Remains> {
        let parts = self.http.into_parts();
        let (ready, unsent) = parts.io.into_rests();
        let mut read = parts.read_buf.to_vec();
        read.extend(ready);
        Some(Remains { socket: self.shared.take_socket()?, read, unsent })
    }

    fn explain(&self, error: &hyper::Error) -> ProxyError {
        if let Some(fault) = self.shared.fault() {
            return fault;
        }
        if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
            return ProxyError::new(ErrorReason::MalformedResponse, "the answer breaks HTTP");
        }
        let detail = if self.shared.has_answered() {
            "the connection broke within the answer"
        } else {
            "the connection broke before the answer"
        };
        ProxyError::new(ErrorReason::UpstreamReset, detail)
    }
}

/// Takes the connection's wake-ups, and passes them on only where nobody is polling it.
#[derive(Default)]
struct Relay {
    parent: AtomicWaker,
    /// Somebody polls the connection, or is about to.
    polling: AtomicBool,
    /// Something happened since the last poll began.
    stirred: AtomicBool,
}

impl Relay {
    /// What wakes the connection until the guard is dropped is our own doing: it is polled next anyway, or has no need to be.
    fn aside(&self) -> Aside<'_> {
        self.polling.store(true, Relaxed);
        Aside { relay: self, stirred: self.stirred.load(Relaxed) }
    }
}

struct Aside<'a> {
    relay: &'a Relay,
    stirred: bool,
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        self.relay.polling.store(false, Relaxed);
        self.relay.stirred.store(self.stirred, Relaxed);
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.stirred.store(true, Relaxed);
        if !self.polling.load(Relaxed) {
            self.parent.wake();
        }
    }
}
