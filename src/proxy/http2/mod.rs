//! A client's connection that speaks HTTP/2: many requests at once, each with a task of its own.
//!
//! The library reads frames and keeps windows; requests then go the way of all others. What it leaves to us: a budget for
//! frames that ask for nothing, a deadline for each stream, and the connection's own end.

mod budget;
mod io;
mod request;
mod streams;
mod websocket;

use std::{
    error::Error as _,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{server::conn::http2, service::service_fn};
use tokio::{io::AsyncWriteExt, time::Sleep};

#[cfg(fuzzing)]
pub(super) use self::budget::FrameScanner;
pub(super) use self::{budget::Budget, websocket::Accept};

use self::{
    io::{Excess, Http2Io},
    streams::{Spawner, Streams},
};
use super::downstream::{Client, Downstream, Overdue, RawIo};
use crate::{domain::Moment, lifecycle::clock};

/// Requests under way at once over one connection; more are refused, and may be sent again.
const MAX_STREAMS: u32 = 128;
/// What may be on its way to us over one stream before its endpoint takes it; and over all of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What of an answer waits for a client that does not take it, for each stream.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that the client resets before they are looked at, and those that we reset for its faults: beyond, it goes.
const MAX_EARLY_RESETS: usize = 32;
const MAX_FAULTS: usize = 64;
/// How long a client may take to see that an idle connection ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// How a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All that there was to say is said.
    Closed,
    /// The client takes nothing any more.
    Torn,
}

/// Serves the client until either side has had enough; `early` is what has been read of its first bytes.
pub(super) async fn run(main: &Rc<Downstream>, early: Vec<u8>) -> Ended {
    main.multiplex();
    let (client, streams) = (main.client().clone(), Streams::new(main.clone()));
    let excess = Rc::<Excess>::default();
    let io = Http2Io::new(client.clone(), streams.shared.clone(), early, excess.clone());
    let service = service_fn(|request| streams.begin(request));
    let http = settings(&client, Spawner(streams.clone())).serve_connection(io, service);
    let mut http = pin!(http);
    let mut timer = Timer::new(&streams);
    let (mut is_told, mut leaving) = (false, None::<Moment>);
    let ended = poll_fn(|cx| {
        client.begin_turn(cx);
        if main.was_nudged() {
            streams.wake_all();
        }
        if timer.has_fired(&streams) {
            let now = clock::now();
            streams.look(now);
            match idle_end(main, &streams, now) {
                Some(Overdue::Torn) => return Poll::Ready(Err(None)),
                Some(_) => {
                    let since = *leaving.get_or_insert(now);
                    let waited = now.since(since);
                    // The library may still hold the end of an answer whose client makes room by and by.
                    let goes_on = client.came_on() && waited < client.listener.idle_timeout;
                    if !waited.is_zero() && !goes_on {
                        return Poll::Ready(Ok(()));
                    }
                    main.expect_within(now, waited.max(FAREWELL));
                }
                None => {}
            }
        }
        if (leaving.is_some() || client.is_closing()) && !std::mem::replace(&mut is_told, true) {
            http.as_mut().graceful_shutdown();
        }
        let polled = http.as_mut().poll(cx);
        client.end_run();
        if let Poll::Ready(ended) = polled {
            return Poll::Ready(ended.map_err(Some));
        }
        timer.arm(&streams, cx);
        Poll::Pending
    })
    .await;
    match ended {
        Ok(()) => Ended::Closed,
        Err(None) => Ended::Torn,
        Err(Some(error)) => {
            part(&client, &excess, &error).await;
            Ended::Closed
        }
    }
}

fn settings(client: &Client, spawner: Spawner) -> http2::Builder<Spawner> {
    let mut http = http2::Builder::new(spawner);
    let max_head = u32::try_from(client.listener.max_header_bytes).unwrap_or(u32::MAX);
    http.max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_local_error_reset_streams(MAX_FAULTS)
        .max_header_list_size(max_head)
        .enable_connect_protocol();
    http
}

/// Whether the connection as such has had its time: nothing is under way, or nothing moves.
fn idle_end(main: &Downstream, streams: &Streams, now: Moment) -> Option<Overdue> {
    if main.deadline() > now {
        return None;
    }
    if !streams.is_empty() {
        // Each of them has its own deadline.
        main.rest_from(now);
        return None;
    }
    main.on_deadline(now)
}

/// Counts what the client has overdone, and tells it where the library did not.
async fn part(client: &Rc<Client>, excess: &Excess, error: &hyper::Error) {
    /// A GOAWAY frame up to its last stream, and the reason ENHANCE_YOUR_CALM (RFC 9113 §6.8 and §7).
    const HEAD: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];
    const CALM: [u8; 4] = [0, 0, 0, 11];
    let shard = client.worker.shard();
    if let Some(queue) = excess.queue.get() {
        shard.overflow(queue);
        if client.has_sent_all() {
            let last = excess.last_stream.get().to_be_bytes();
            let goaway = [&HEAD[..], &last, &CALM].concat();
            // Whoever floods need not be there to hear it.
            let _ = RawIo(client.clone()).write_all(&goaway).await;
        }
        return;
    }
    let reason = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    if let Some(reason) = reason
        && reason.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
    {
        // The library has limits of its own below ours.
        shard.overflow(excess.of_library.get());
    }
}

/// The connection's one timer, set for the earliest deadline; left alone when that moves to a later time.
struct Timer {
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    fn new(streams: &Streams) -> Self {
        // Registered with the timer wheel at its first poll.
        streams.shared.armed.set(Moment::from_nanos(u64::MAX));
        Self { sleep: Box::pin(tokio::time::sleep_until(clock::instant(streams.deadline()))) }
    }

    fn has_fired(&self, streams: &Streams) -> bool {
        let fired = self.sleep.is_elapsed();
        if fired {
            streams.shared.armed.set(Moment::from_nanos(u64::MAX));
        }
        fired
    }

    fn arm(&mut self, streams: &Streams, cx: &mut Context<'_>) {
        let deadline = streams.deadline();
        if deadline < streams.shared.armed.get() {
            streams.shared.armed.set(deadline);
            self.sleep.as_mut().reset(clock::instant(deadline));
            if self.sleep.as_mut().poll(cx).is_ready() {
                // Already past: the next run of the task looks at it.
                cx.waker().wake_by_ref();
            }
        }
    }
}
