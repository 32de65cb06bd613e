//! The audit trail: gives every event its number, keeps it, and shows it to whoever follows.
//!
//! A follower holds no queue but a place: it waits until there is a newer number, and reads on from its own. So a slow
//! follower costs nothing, and misses nothing that is kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::store::Store;
use crate::{
    domain::Queue,
    telemetry::{Event, EventKind, Recorder},
};

/// Events kept in memory, for followers and for when the disk is away.
const IN_MEMORY: usize = 1_000;

/// The trail, for reading on any thread.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Trail>);

#[derive(Debug)]
struct Trail {
    recent: Mutex<VecDeque<Event>>,
    latest: watch::Sender<u64>,
    store: Store,
    recorder: Arc<Recorder>,
}

impl Audit {
    /// A trail that goes on after event number `last`.
    pub(super) fn new(store: Store, last: u64, recorder: Arc<Recorder>) -> Self {
        let recent = Mutex::default();
        Self(Arc::new(Trail { recent, latest: watch::Sender::new(last), store, recorder }))
    }

    /// Numbers, keeps and logs one event.
    pub(super) fn keep(&self, mut event: Event) {
        let id = *self.0.latest.borrow() + 1;
        event.id = id;
        if !self.0.store.keep_event(event.clone()) {
            self.0.recorder.overflow(Queue::State);
        }
        log(&event);
        let mut recent = self.recent();
        recent.push_back(event);
        if recent.len() > IN_MEMORY {
            recent.pop_front();
        }
        drop(recent);
        self.0.latest.send_replace(id);
    }

    /// At most `limit` events in the order of their numbers: the first after `after`, or else the newest.
    pub async fn read(&self, after: Option<u64>, limit: usize) -> Vec<Event> {
        if let Some(events) = self.read_memory(after, limit) {
            return events;
        }
        let mut events = self.0.store.events(after, limit).await.unwrap_or_default();
        // What the disk has not taken yet is only here.
        let last = events.last().map_or(after.unwrap_or(0), |event| event.id);
        let room = limit - events.len().min(limit);
        events.extend(self.recent().iter().filter(|event| event.id > last).take(room).cloned());
        events
    }

    /// The number of the newest event, as it changes.
    pub fn latest(&self) -> watch::Receiver<u64> {
        self.0.latest.subscribe()
    }

    /// The answer from memory, when memory has all of it.
    fn read_memory(&self, after: Option<u64>, limit: usize) -> Option<Vec<Event>> {
        let recent = self.recent();
        let Some(after) = after else {
            let skip = recent.len().checked_sub(limit)?;
            return Some(recent.iter().skip(skip).cloned().collect());
        };
        if after >= *self.0.latest.borrow() {
            return Some(Vec::new());
        }
        let oldest = recent.front()?.id;
        let newer = recent.iter().filter(|event| event.id > after).take(limit);
        (oldest <= after + 1).then(|| newer.cloned().collect())
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.0.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trail is also in the log, for those who have only that.
fn log(event: &Event) {
    let Event { kind, actor, subject, message, .. } = event;
    match kind {
        EventKind::Started
        | EventKind::Stopping
        | EventKind::SplitChanged
        | EventKind::SplitSuperseded
        | EventKind::EndpointDrained
        | EventKind::EndpointReady
        | EventKind::ReloadApplied
        | EventKind::ReloadUnchanged
        | EventKind::ListenerAdded
        | EventKind::ListenerRemoved
        | EventKind::StateRecovered => tracing::info!(%kind, actor, subject, "{message}"),
        EventKind::ReloadRejected
        | EventKind::StateDamaged
        | EventKind::StateWriteFailed
        | EventKind::ConnectionPanicked
        | EventKind::AcceptFailed
        | EventKind::TaskFailed => tracing::warn!(%kind, actor, subject, "{message}"),
    }
}
