//! Connections to endpoints that speak HTTP/2. Many requests share one, and a task of its own drives it.

use std::{
    cell::{Cell, RefCell},
    error::Error as _,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version,
    header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE},
    response,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::{
        TrySendError,
        http2::{self, SendRequest},
    },
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::{connection::SendFault, greeting::Greeting};

use crate::{
    domain::{ErrorReason, Moment},
    lifecycle::{Tasks, clock},
    proxy::{
        body::RequestBody, downstream::Downstream, error::ProxyError, socket::Socket,
        worker::Worker,
    },
    routing::{Endpoint, Home},
    tls::ClientTls,
};

/// Requests under way at once over one connection, if its endpoint takes so many.
const MAX_STREAMS: usize = 100;
/// As many go before an endpoint has said how many it takes: what is one too many it may refuse.
const UNTOLD: usize = 0;
/// What may be on its way to us over one stream before its client takes it; and over all of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What of a request's body waits for an endpoint that does not take it.
const SEND_BUFFER: usize = 128 * 1024;
/// Largest head of an answer.
const MAX_HEAD: u32 = 64 * 1024;
/// An endpoint with requests under way is asked so often whether it is still there, and has so long to say so.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Name of the tasks that drive connections.
const TASK: &str = "upstream connection";

/// What the library drives; nothing once it has ended.
type Driven = Option<http2::Connection<TokioIo<Greeting>, RequestBody, Spawner>>;

/// One connection.
pub(super) struct Http2Connection {
    sender: SendRequest<RequestBody>,
    driven: Rc<RefCell<Driven>>,
    /// What it was encrypted with.
    tls: Option<Arc<ClientTls>>,
    /// Requests under way.
    open: Cell<usize>,
    idle_since: Cell<Moment>,
    /// Where it leads.
    home: RefCell<Home>,
}

impl Http2Connection {
    /// Takes a fresh socket, and waits for the endpoint's word about how many requests it takes: those that came before it would
    /// wait here, whatever that is.
    pub(super) async fn new(
        socket: Socket,
        home: Home,
        tls: Option<Arc<ClientTls>>,
        worker: &Worker,
    ) -> hyper::Result<Rc<Self>> {
        let tasks = worker.tasks().clone();
        let (socket, hearing) = Greeting::of(socket);
        let (sender, http) = http2::Builder::new(Spawner(tasks.clone()))
            .timer(TokioTimer::new())
            .initial_max_send_streams(UNTOLD)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD)
            .keep_alive_interval(ASK_EVERY)
            .keep_alive_timeout(ASK_PATIENCE)
            .handshake(TokioIo::new(socket))
            .await?;
        let driven = Rc::new(RefCell::new(Some(http)));
        let driver = driven.clone();
        tasks.spawn_local(
            TASK,
            poll_fn(move |cx| {
                let mut driven = driver.borrow_mut();
                let Some(http) = driven.as_mut() else { return Poll::Ready(()) };
                // Why it ended, its requests tell.
                let _ = ready!(Pin::new(http).poll(cx));
                *driven = None;
                Poll::Ready(())
            }),
        );
        // Not told where the connection ends without a word.
        let _ = hearing.await;
        let idle_since = Cell::new(clock::now());
        let (open, home) = (Cell::new(0), RefCell::new(home));
        Ok(Rc::new(Self { sender, driven, tls, open, idle_since, home }))
    }

    /// Whether it takes another request.
    pub(super) fn has_room(&self) -> bool {
        self.is_open() && self.open.get() < self.most()
    }

    /// As many requests at once as its endpoint takes, by its last word.
    fn most(&self) -> usize {
        let driven = self.driven.borrow();
        let most = driven.as_ref().map_or(0, http2::Connection::current_max_send_streams);
        most.min(MAX_STREAMS)
    }

    /// Whether it takes requests at all.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Whether the endpoint's name still stands for where it leads.
    pub(super) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        endpoint.addresses().has(&mut self.home.borrow_mut())
    }

    /// What it was encrypted with.
    pub(super) const fn tls(&self) -> Option<&Arc<ClientTls>> {
        self.tls.as_ref()
    }

    /// Whether requests are under way, or were so recently.
    pub(super) fn is_in_use(&self, now: Moment, timeout: Duration) -> bool {
        self.open.get() > 0 || now.since(self.idle_since.get()) < timeout
    }

    /// Takes a place for one request.
    pub(super) fn stream(self: &Rc<Self>, reused: bool) -> Box<Http2Stream> {
        self.open.set(self.open.get() + 1);
        let sender = self.sender.clone();
        let connection = self.clone();
        Box::new(Http2Stream {
            connection,
            sender,
            reused,
            answered: false,
            client: None,
            apart: Vec::new(),
            answer: Answer::Ended,
        })
    }
}

/// One request's place at a connection.
pub(in crate::proxy) struct Http2Stream {
    connection: Rc<Http2Connection>,
    sender: SendRequest<RequestBody>,
    reused: bool,
    answered: bool,
    client: Option<Rc<Downstream>>,
    /// What Tidegate adds to a request that has no client.
    apart: Vec<u8>,
    answer: Answer,
}

/// What comes of a request that was handed over.
type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// An answer as far as it has come.
enum Answer {
    /// Its head is to come.
    Awaited(Pin<Box<dyn Future<Output = Sent>>>),
    /// Its body is.
    Coming(Incoming),
    /// Nothing is, or never was.
    Ended,
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        let open = &self.connection.open;
        open.set(open.get() - 1);
        if open.get() == 0 {
            self.connection.idle_since.set(clock::now());
        }
    }
}

impl Http2Stream {
    pub(super) fn begin(&mut self, client: Rc<Downstream>) {
        self.answered = false;
        self.client = Some(client);
    }

    pub(super) fn begin_apart(&mut self, added: Vec<u8>) {
        self.answered = false;
        self.apart = added;
    }

    pub(super) const fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) const fn has_answered(&self) -> bool {
        self.answered
    }

    pub(super) fn send(&mut self, mut request: Request<RequestBody>) {
        let scheme = if self.connection.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        match &self.client {
            Some(client) => prepare(&mut request, &client.added(), scheme),
            None => prepare(&mut request, &self.apart, scheme),
        }
        self.answer = Answer::Awaited(Box::pin(self.sender.try_send_request(request)));
    }

    pub(super) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, SendFault>> {
        let Answer::Awaited(sent) = &mut self.answer else { return Poll::Pending };
        let sent = ready!(sent.as_mut().poll(cx));
        self.answer = Answer::Ended;
        Poll::Ready(match sent {
            Ok(response) => {
                self.answered = true;
                let (mut parts, body) = response.into_parts();
                trim(&mut parts.headers);
                self.answer = Answer::Coming(body);
                Ok(parts)
            }
            Err(mut failed) => {
                let unsent = failed.take_message().map(Request::into_body);
                let error = failed.error();
                let is_alone = cause(error).is_some_and(h2::Error::is_reset);
                let (error, refused) = (explain(error), is_refused(error));
                Err(SendFault { error, unsent, refused, is_alone })
            }
        })
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        let Answer::Coming(body) = &mut self.answer else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        frame.map(|frame| {
            frame.map(|frame| {
                let mut frame = frame.map_err(|error| explain(&error))?;
                frame.trailers_mut().into_iter().for_each(trim);
                Ok(frame)
            })
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        match &self.answer {
            Answer::Coming(body) => body.is_end_stream(),
            Answer::Awaited(_) | Answer::Ended => true,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.answer {
            Answer::Coming(body) => body.size_hint(),
            Answer::Awaited(_) | Answer::Ended => SizeHint::with_exact(0),
        }
    }
}

/// A request as HTTP/2 has it: the host in the target, no word about the connection, and the added lines among the others.
fn prepare(request: &mut Request<RequestBody>, added: &[u8], scheme: Scheme) {
    let host = request.headers_mut().remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let path = request.uri().path_and_query().cloned();
    if let Some(authority) = authority {
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
        // Built of parts that are valid; without a host the library refuses the request.
        if let Ok(uri) = uri {
            *request.uri_mut() = uri;
        }
    }
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, EXPECT] {
        headers.remove(name);
    }
    headers.extend(lines(added));
}

/// The header lines that Tidegate adds.
fn lines(added: &[u8]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    added.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        let name = HeaderName::from_bytes(name).ok()?;
        Some((name, HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?))
    })
}

/// Takes away the blanks around values: HTTP/2 allows none (RFC 9113 §8.2.1), and of HTTP/1.1 they are no part.
fn trim(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let bytes = value.as_bytes();
        let trimmed = bytes.trim_ascii();
        if trimmed.len() < bytes.len()
            // A part of what is valid.
            && let Ok(trimmed) = HeaderValue::from_bytes(trimmed)
        {
            *value = trimmed;
        }
    }
}

fn cause(error: &hyper::Error) -> Option<&h2::Error> {
    error.source().and_then(|source| source.downcast_ref())
}

/// Whether the endpoint says that it has not looked at the request (RFC 9113 §8.7): then it may be sent again, whatever it is.
fn is_refused(error: &hyper::Error) -> bool {
    cause(error).is_some_and(|cause| {
        let refused = cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        // Of a GOAWAY only those requests learn that come after the last one it names.
        cause.is_remote() && (refused || cause.is_go_away())
    })
}

fn explain(error: &hyper::Error) -> ProxyError {
    let ours = cause(error).filter(|cause| cause.is_library());
    // The library ends by itself what breaks the rules or its bounds, and with NO_ERROR what is over.
    if ours.and_then(h2::Error::reason).is_some_and(|reason| reason != h2::Reason::NO_ERROR) {
        return ProxyError::new(
            ErrorReason::MalformedResponse,
            "the answer breaks HTTP/2, or its head is too large",
        );
    }
    ProxyError::new(ErrorReason::UpstreamReset, "the endpoint ended the request's stream")
}

/// Runs what the library wants run: bodies on their way.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F: Future<Output = ()> + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn_local(TASK, future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_made_into_one_of_http_2() {
        let mut request = Request::builder()
            .uri("/a?b=%20")
            .header(HOST, "example.test:80")
            .header(CONNECTION, "te")
            .header("te", "trailers")
            .header(TRANSFER_ENCODING, "chunked")
            .body(RequestBody::empty())
            .unwrap();
        prepare(&mut request, b"x-a: 1\r\nx-b: 2: 3\r\n", Scheme::HTTP);
        assert_eq!(request.uri(), "http://example.test:80/a?b=%20");
        let headers = request.headers();
        assert_eq!(
            (&headers["te"], &headers["x-a"], &headers["x-b"]),
            (
                &HeaderValue::from_static("trailers"),
                &HeaderValue::from_static("1"),
                &HeaderValue::from_static("2: 3"),
            )
        );
        assert_eq!(headers.len(), 3);
    }
}
