//! One client connection, from its first byte to its last.
//!
//! ```text
//!            head complete              answered, quiet for a while
//!   asleep ────────────────► awake ─────────────────────────────────► asleep
//!                              │ switch of protocols
//!                              └───────────────────► tunnel
//!      │ preface of HTTP/2
//!      └────────────────────► `http2`
//! ```
//! Asleep, a connection is a socket and a deadline; the HTTP library and its buffers exist only while it is awake.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Sleep,
};

use super::{
    access,
    downstream::{Downstream, DownstreamIo, HeadEnd, Overdue, RawIo},
    error::ProxyError,
    headers::RequestId,
    http2, pipeline, respond,
    tunnel::TunnelClient,
};
use crate::{config::model::Protocol, domain::Moment, lifecycle::clock};

/// Bytes of a body that the library holds for a client that does not take them.
const BUFFER: usize = 128 * 1024;

/// How a connection ends.
enum End {
    /// In order, or because the client left.
    Closed,
    /// With a word to the client about its request.
    Refused(ProxyError),
    /// Within an answer: the client must see that it is not complete.
    Torn,
    /// As a tunnel; what the client sent early.
    Switched(Vec<u8>),
    /// As one that speaks HTTP/2; its first bytes.
    Multiplexed(Vec<u8>),
}

/// Serves the client at the other end of `downstream` until either side has had enough.
pub(super) async fn run(downstream: Rc<Downstream>) {
    let mut end = match downstream.protocol() {
        Some(Protocol::Http1) | None => serve_in_turn(&downstream).await,
        Some(Protocol::Http2) => End::Multiplexed(Vec::new()),
    };
    if let End::Multiplexed(early) = end {
        end = match Box::pin(http2::run(&downstream, early)).await {
            http2::Ended::Closed => End::Closed,
            http2::Ended::Torn => End::Torn,
        };
    }
    Box::pin(finish(&downstream, end)).await;
}

/// One request after the other, as HTTP/1.1 has it.
async fn serve_in_turn(downstream: &Rc<Downstream>) -> End {
    let mut watch = Watch::new(downstream.clone());
    let mut io = DownstreamIo::new(downstream.clone());
    loop {
        match watch.over(poll_fn(|cx| io.poll_head(cx))).await {
            Watched::Done(Ok(true)) => {}
            Watched::Done(Ok(false) | Err(HeadEnd::Io(_))) => return End::Closed,
            Watched::Done(Err(HeadEnd::Refused)) => return refusal(downstream),
            Watched::Done(Err(HeadEnd::Preface(early))) => return End::Multiplexed(early),
            Watched::Late(end) => return end,
        }
        match Box::pin(watch.over(serve(io, downstream))).await {
            Watched::Done(Served::Rests(rested)) => io = rested,
            Watched::Done(Served::Ends(end)) | Watched::Late(end) => return end,
        }
    }
}

enum Served {
    Rests(DownstreamIo),
    Ends(End),
}

/// Lets the library serve requests until the connection ends or has been quiet for a while.
async fn serve(io: DownstreamIo, downstream: &Rc<Downstream>) -> Served {
    let service = service_fn(|request: Request<Incoming>| {
        let downstream = downstream.clone();
        let (mut parts, body) = request.into_parts();
        async move { Ok::<_, Infallible>(pipeline::serve(&downstream, &mut parts, body).await) }
    });
    let mut http = http1::Builder::new();
    // A head is handed over whole, so the buffer must hold the largest.
    http.max_buf_size(BUFFER.max(2 * downstream.listener.max_header_bytes));
    if downstream.listener.max_headers > 100 {
        http.max_headers(downstream.listener.max_headers);
    }
    let mut http = http.serve_connection(io, service);
    // Ends without closing the socket: `DownstreamIo` leaves that to `finish`, which knows how.
    let ended = poll_fn(|cx| match Pin::new(&mut http).poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result.is_ok())),
        Poll::Pending if downstream.may_rest() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    let mut parts = http.into_parts();
    if ended.is_none() {
        parts.io.rest();
        return Served::Rests(parts.io);
    }
    if downstream.has_tunnel() {
        let mut early = parts.read_buf.to_vec();
        early.extend(parts.io.take_carry());
        return Served::Ends(End::Switched(early));
    }
    Served::Ends(refusal(downstream))
}

fn refusal(downstream: &Downstream) -> End {
    match downstream.fault() {
        Some(fault) => End::Refused(fault),
        None if downstream.is_torn() => End::Torn,
        None => End::Closed,
    }
}

async fn finish(downstream: &Rc<Downstream>, end: End) {
    let mut client = RawIo(downstream.client().clone());
    // Whatever fails here fails because the client is gone, and it is the last that is done for it.
    match end {
        End::Torn => downstream.reset(),
        End::Closed | End::Multiplexed(_) => linger(&mut client).await,
        End::Refused(fault) => {
            let worker = &downstream.worker;
            worker.shard().error(fault.reason());
            let id = RequestId::new(|| worker.random());
            let words = respond::last_words(downstream, fault, &id);
            if let Some(entry) = access::refused(downstream, fault.reason(), fault.status(), &id) {
                entry.ends(words.body_bytes(), clock::now());
            }
            if client.write_all(&words.bytes).await.is_ok() {
                linger(&mut client).await;
            }
        }
        End::Switched(early) => {
            if let Some(tunnel) = downstream.take_tunnel() {
                downstream.begin_serving(None);
                let client = TunnelClient::Socket(client, downstream.clone());
                let _ = tunnel.run(client, &early).await;
            }
        }
    }
}

/// Closes without losing the last answer: a socket closed over unread input resets, and the reset overtakes the answer.
async fn linger(client: &mut RawIo) {
    const PATIENCE: Duration = Duration::from_secs(1);
    const MOST: usize = 256 * 1024;
    if client.shutdown().await.is_err() || client.0.has_left() {
        return;
    }
    let drain = async {
        let mut left = MOST;
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = client.read(&mut buffer).await {
            match left.checked_sub(count) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, drain).await;
}

/// What came of a watched future.
enum Watched<T> {
    Done(T),
    /// Its time was up.
    Late(End),
}

/// Keeps the connection's one timer.
///
/// Deadlines move with every request, nearly always to a later time. The timer is therefore left alone until it fires, and
/// only then looks at the deadline; it is set anew only for one that is earlier.
struct Watch {
    downstream: Rc<Downstream>,
    timer: Pin<Box<Sleep>>,
    armed: Moment,
}

impl Watch {
    fn new(downstream: Rc<Downstream>) -> Self {
        let armed = downstream.deadline();
        let timer = Box::pin(tokio::time::sleep_until(clock::instant(armed)));
        let mut watch = Self { downstream, timer, armed };
        // Registered with the timer wheel at its first poll.
        watch.armed = Moment::from_nanos(u64::MAX);
        watch
    }

    async fn over<F: Future>(&mut self, future: F) -> Watched<F::Output> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.downstream.begin_turn(cx);
            if let Some(end) = self.look() {
                return Poll::Ready(Watched::Late(end));
            }
            let polled = future.as_mut().poll(cx);
            self.downstream.client().end_run();
            if let Poll::Ready(output) = polled {
                return Poll::Ready(Watched::Done(output));
            }
            self.arm(cx);
            Poll::Pending
        })
        .await
    }

    /// Acts on a deadline that has passed.
    fn look(&mut self) -> Option<End> {
        if !self.timer.is_elapsed() {
            return None;
        }
        self.armed = Moment::from_nanos(u64::MAX);
        let now = clock::now();
        if self.downstream.deadline() > now {
            return None;
        }
        self.downstream.on_deadline(now).map(|overdue| match overdue {
            Overdue::Quiet => End::Closed,
            Overdue::Torn => End::Torn,
            Overdue::Refused(fault) => End::Refused(fault),
        })
    }

    fn arm(&mut self, cx: &mut Context<'_>) {
        while self.downstream.deadline() < self.armed {
            self.armed = self.downstream.deadline();
            self.timer.as_mut().reset(clock::instant(self.armed));
            if self.timer.as_mut().poll(cx).is_ready() {
                // Already past: the next run of the task looks at it.
                cx.waker().wake_by_ref();
                return;
            }
        }
    }
}
