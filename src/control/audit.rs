//! The audit trail: gives every event its number, keeps it, and shows it to whoever follows.
//!
//! A follower holds no queue but a place: it waits until there is a newer number, and reads on from its own. So a slow
//! follower costs nothing, and misses nothing that is kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    hand_split::HandSplits,
    store::{Kept, Store, Story},
};
use crate::{
    domain::{Queue, RolloutName},
    telemetry::{Event, EventKind, Recorder},
};

/// Events kept in memory, for followers and for when the disk is away.
const IN_MEMORY: usize = 1_000;
/// How long a report waits for the disk.
const STORY_PATIENCE: Duration = Duration::from_secs(2);

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
    pub(super) fn keep(&self, event: Event) {
        self.keep_with(event, None);
    }

    /// [`Audit::keep`] for an event that changed the splits set by hand: both are stored together.
    pub(super) fn keep_with(&self, mut event: Event, splits: Option<HandSplits>) {
        let id = *self.0.latest.borrow() + 1;
        event.id = id;
        if !self.0.store.keep(event.clone(), splits) {
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

    /// Goes on from a file that could not be read before and held `kept`: every event so far moves behind its last one.
    pub(super) fn adopt(&self, kept: &Kept, splits: HandSplits) {
        let last_event = kept.last_event;
        let mut recent = self.recent();
        for event in recent.iter_mut() {
            event.id += last_event;
        }
        self.0.store.adopt(kept, splits);
        drop(recent);
        self.0.latest.send_modify(|latest| *latest += last_event);
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

    /// Events and samples of a rollout's run that began at `since_ms`; `None` when the state file cannot be read now.
    pub(super) async fn story(
        &self,
        rollout: &RolloutName,
        number: u64,
        since_ms: u64,
    ) -> Option<Story> {
        // What waits for the disk belongs to the story too; a disk that takes nothing more has the rest.
        let _ = tokio::time::timeout(STORY_PATIENCE, self.flush()).await;
        let story = self.0.store.story(rollout.clone(), number, since_ms);
        tokio::time::timeout(STORY_PATIENCE, story).await.ok().flatten()
    }

    /// Waits until every event so far, and the splits kept with them, are written: `true`, or `false` when the disk did not
    /// take them.
    pub async fn flush(&self) -> bool {
        self.0.store.flush().await
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
pub(super) fn log(event: &Event) {
    let Event { kind, actor, subject, message, .. } = event;
    match kind {
        EventKind::Started
        | EventKind::UpgradeStarted
        | EventKind::Stopping
        | EventKind::SplitChanged
        | EventKind::SplitSuperseded
        | EventKind::EndpointDrained
        | EventKind::EndpointReady
        | EventKind::EndpointHealthy
        | EventKind::EndpointReadmitted
        | EventKind::BackendUsable
        | EventKind::ResolveRecovered
        | EventKind::ReloadApplied
        | EventKind::ReloadUnchanged
        | EventKind::ListenerAdded
        | EventKind::ListenerRemoved
        | EventKind::NotifyRecovered
        | EventKind::RolloutStarted
        | EventKind::RolloutAdvanced
        | EventKind::RolloutGateReached
        | EventKind::RolloutAdvanceAsked
        | EventKind::RolloutResumed
        | EventKind::RolloutPromoted
        | EventKind::RolloutContinued
        | EventKind::RolloutThresholdSet
        | EventKind::RolloutAlertResolved
        | EventKind::RolloutLastByte
        | EventKind::RolloutReleased
        | EventKind::RolloutPlanDiffers
        | EventKind::HookEnded
        | EventKind::CheckEnded
        | EventKind::StateRecovered => tracing::info!(%kind, actor, subject, "{message}"),
        EventKind::ReloadRejected
        | EventKind::UpgradeFailed
        | EventKind::EndpointUnhealthy
        | EventKind::EndpointEjected
        | EventKind::EjectionWithheld
        | EventKind::BackendUnusable
        | EventKind::ResolveFailed
        | EventKind::RolloutHeld
        | EventKind::RolloutPaused
        | EventKind::RolloutRolledBack
        | EventKind::RolloutFailed
        | EventKind::RolloutAlertRaised
        | EventKind::RolloutNotWritten
        | EventKind::RolloutUnwatched
        | EventKind::RolloutStateLost
        | EventKind::StateDamaged
        | EventKind::StateWriteFailed
        | EventKind::MirrorDiffers
        | EventKind::ConnectionPanicked
        | EventKind::AcceptFailed
        | EventKind::NotifyFailed
        | EventKind::TaskFailed => tracing::warn!(%kind, actor, subject, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::telemetry::EventSink;

    fn trail(path: &Path) -> (Audit, Store) {
        let recorder = Arc::new(Recorder::new(1));
        let (events, _inbox) = EventSink::new(recorder.clone());
        let (store, kept, _late) = Store::open(path.to_owned(), events).unwrap();
        (Audit::new(store.clone(), kept.last_event, recorder), store)
    }

    fn keep(audit: &Audit, count: u64) {
        for number in 0..count {
            audit.keep(Event::new(EventKind::SplitChanged, number, "api", "changed"));
        }
    }

    async fn ids(audit: &Audit, after: Option<u64>, limit: usize) -> Vec<u64> {
        audit.read(after, limit).await.iter().map(|event| event.id).collect()
    }

    #[tokio::test]
    async fn a_reader_sees_no_seam_between_memory_and_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (audit, _store) = trail(&folder.path().join("state.db"));
        let count = IN_MEMORY as u64 + 500;
        keep(&audit, count);
        assert_eq!(audit.recent().len(), IN_MEMORY);
        assert_eq!(ids(&audit, Some(0), 2_000).await, (1..=count).collect::<Vec<_>>());
        assert_eq!(ids(&audit, Some(499), 3).await, [500, 501, 502]);
        assert_eq!(ids(&audit, Some(500), 1).await, [501]);
        assert_eq!(ids(&audit, None, 2).await, [count - 1, count]);
        assert_eq!(ids(&audit, None, 1_200).await.first(), Some(&301));
        assert!(ids(&audit, Some(count), 5).await.is_empty());
        assert!(ids(&audit, Some(u64::MAX), 5).await.is_empty());
    }

    #[tokio::test]
    async fn numbers_go_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (audit, store) = trail(&path);
        keep(&audit, 3);
        assert!(store.close().await);
        let (audit, _store) = trail(&path);
        keep(&audit, 1);
        assert_eq!(ids(&audit, None, 10).await, [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn without_a_disk_the_newest_are_still_there() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("file");
        fs::write(&parent, "no folder").unwrap();
        let (audit, _store) = trail(&parent.join("state.db"));
        keep(&audit, IN_MEMORY as u64 + 1);
        assert_eq!(ids(&audit, Some(0), 2).await, [2, 3]);
    }
}
