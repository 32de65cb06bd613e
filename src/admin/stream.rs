//! Events as they happen, as server-sent events.
//!
//! A follower is a place in the audit trail, not a queue: a slow one costs nothing and misses nothing that is kept.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::auth::Peer;
use crate::{control::Audit, telemetry::Event};

/// Events read at a time.
const PAGE: usize = 100;
/// A line that means nothing, so that a dead client is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams at once on each socket: the other connections of a socket are for short requests.
pub(super) const MAX_STREAMS: usize = 16;

/// The streams that may be open.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    unix: Arc<Semaphore>,
    tcp: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn new() -> Self {
        let seats = || Arc::new(Semaphore::new(MAX_STREAMS));
        Self { unix: seats(), tcp: seats() }
    }

    /// A seat on the socket by which `peer` came, if one is free.
    pub(super) fn seat(&self, peer: Peer) -> Option<OwnedSemaphorePermit> {
        let seats = match peer {
            Peer::Unix { .. } => &self.unix,
            Peer::Tcp { .. } => &self.tcp,
        };
        seats.clone().try_acquire_owned().ok()
    }
}

/// Everything after event number `after`; without it, everything from now on. `seat` is given back at the end.
pub(super) fn follow(
    audit: Audit,
    after: Option<u64>,
    seat: OwnedSemaphorePermit,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let latest = audit.latest();
    // A number that is yet to come is from another trail, as before the state file was lost.
    let newest = *latest.borrow();
    let place = after.map_or(newest, |after| after.min(newest));
    let follower = Follower { audit, latest, place, page: VecDeque::new(), _seat: seat };
    let events = stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok(written(&event)), follower))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Follower {
    audit: Audit,
    latest: watch::Receiver<u64>,
    place: u64,
    page: VecDeque<Event>,
    _seat: OwnedSemaphorePermit,
}

impl Follower {
    /// The next event, when there is one; `None` at the end of the process.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.place = event.id;
                return Some(event);
            }
            // Seen before the page is read: an event that comes meanwhile ends the wait below.
            self.latest.mark_unchanged();
            self.page = self.audit.read(Some(self.place), PAGE).await.into();
            if self.page.is_empty() {
                self.latest.changed().await.ok()?;
            }
        }
    }
}

fn written(event: &Event) -> SseEvent {
    let sse = SseEvent::default().id(event.id.to_string());
    // An event's JSON is one line.
    serde_json::to_string(event).map_or_else(|_| SseEvent::default(), |text| sse.data(text))
}
