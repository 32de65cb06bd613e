//! What happened and who did it: the audit trail's entries on their way to the control plane.
//!
//! Any thread may report an event and none ever waits for it: the queue is bounded, and what it does not take is counted.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::Recorder;
use crate::domain::Queue;

/// Events that wait for the control plane at most.
pub const EVENT_QUEUE: usize = 1_024;

/// Actor of what Tidegate does by itself.
pub const SELF_ACTOR: &str = "tidegate";

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $label:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $label)] $kind,)*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The word for it in the API, the log and the state file.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$kind => $label,)*
                }
            }
        }
    };
}

kinds! {
    /// The process serves.
    Started = "started",
    /// The process drains and ends.
    Stopping = "stopping",
    /// A successor was started, to take over.
    UpgradeStarted = "upgrade_started",
    /// No successor took over; this process goes on.
    UpgradeFailed = "upgrade_failed",
    /// A route's weights were set.
    SplitChanged = "split_changed",
    /// Weights set by hand gave way to the configuration's.
    SplitSuperseded = "split_superseded",
    /// An endpoint was taken out of use.
    EndpointDrained = "endpoint_drained",
    /// An endpoint was taken back into use.
    EndpointReady = "endpoint_ready",
    /// An endpoint's checks say that it is well again.
    EndpointHealthy = "endpoint_healthy",
    /// An endpoint's checks say that it is not well.
    EndpointUnhealthy = "endpoint_unhealthy",
    /// An endpoint was taken out because of what became of its own requests.
    EndpointEjected = "endpoint_ejected",
    /// An ejection is over.
    EndpointReadmitted = "endpoint_readmitted",
    /// An endpoint would have been ejected, but a limit kept it in.
    EjectionWithheld = "ejection_withheld",
    /// No endpoint of a backend takes requests.
    BackendUnusable = "backend_unusable",
    /// An endpoint of such a backend takes requests again.
    BackendUsable = "backend_usable",
    /// The name of an endpoint cannot be resolved.
    ResolveFailed = "resolve_failed",
    /// The name of an endpoint is resolved again.
    ResolveRecovered = "resolve_recovered",
    /// A new configuration is in force.
    ReloadApplied = "reload_applied",
    /// The configuration was read and says what it said before.
    ReloadUnchanged = "reload_unchanged",
    /// The configuration was refused; the old one stays in force.
    ReloadRejected = "reload_rejected",
    /// A listener was opened.
    ListenerAdded = "listener_added",
    /// A listener was closed.
    ListenerRemoved = "listener_removed",
    /// The state file was damaged and has been set aside.
    StateDamaged = "state_damaged",
    /// The state file cannot be written.
    StateWriteFailed = "state_write_failed",
    /// The state file can be written again.
    StateRecovered = "state_recovered",
    /// A rollout has begun with its checks.
    RolloutStarted = "rollout_started",
    /// A rollout's next step has begun.
    RolloutAdvanced = "rollout_advanced",
    /// A rollout's step is over and something is missing.
    RolloutHeld = "rollout_held",
    /// A rollout waits for an operator.
    RolloutGateReached = "rollout_gate_reached",
    /// An operator wants a rollout to go on, whatever is missing.
    RolloutAdvanceAsked = "rollout_advance_asked",
    /// A rollout is paused: nothing moves by itself but a rollback.
    RolloutPaused = "rollout_paused",
    /// A rollout's pause is over.
    RolloutResumed = "rollout_resumed",
    /// A rollout has ended with all traffic on the canary.
    RolloutPromoted = "rollout_promoted",
    /// A rollout has ended with all traffic on the baseline.
    RolloutRolledBack = "rollout_rolled_back",
    /// A rollout has ended before the canary got any traffic.
    RolloutFailed = "rollout_failed",
    /// A rollout goes on after a restart where it was.
    RolloutContinued = "rollout_continued",
    /// A rollout was not looked at for a while: that time does not count.
    RolloutUnwatched = "rollout_unwatched",
    /// A threshold of a rollout was changed by hand.
    RolloutThresholdSet = "rollout_threshold_set",
    /// The condition of a rollout's alert has come true.
    RolloutAlertRaised = "rollout_alert_raised",
    /// The condition of a rollout's alert is true no longer.
    RolloutAlertResolved = "rollout_alert_resolved",
    /// A rollout cannot go forward, for its state cannot be kept.
    RolloutNotWritten = "rollout_not_written",
    /// The last byte of a canary that was rolled back went out.
    RolloutLastByte = "rollout_last_byte",
    /// A rollout's route is split by somebody else again.
    RolloutReleased = "rollout_released",
    /// The state of rollouts is lost: all traffic is on the baselines.
    RolloutStateLost = "rollout_state_lost",
    /// A rollout follows another plan than the configuration now has.
    RolloutPlanDiffers = "rollout_plan_differs",
    /// A rollout's hook has ended.
    HookEnded = "hook_ended",
    /// A rollout's check has ended.
    CheckEnded = "check_ended",
    /// A mirror's answers differ from those that clients got.
    MirrorDiffers = "mirror_differs",
    /// A connection ended by a panic; the others go on.
    ConnectionPanicked = "connection_panicked",
    /// Connections could not be accepted for a while.
    AcceptFailed = "accept_failed",
    /// Notifications do not reach a sink.
    NotifyFailed = "notify_failed",
    /// Notifications reach a sink again.
    NotifyRecovered = "notify_recovered",
    /// A task ended that should not have.
    TaskFailed = "task_failed",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Place in the audit trail, counted from 1; 0 until the control plane has numbered it.
    pub id: u64,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// What.
    pub kind: EventKind,
    /// Who: `tidegate`, a signal, or a user of the operator's API.
    pub actor: String,
    /// Which route, backend, endpoint, listener or file it is about; empty for the process itself.
    pub subject: String,
    /// State before a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// State after a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// The same for people.
    pub message: String,
}

impl Event {
    /// An event of Tidegate's own doing at `at_ms`, not yet numbered.
    pub fn new(
        kind: EventKind,
        at_ms: u64,
        subject: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            id: 0,
            at_ms,
            kind,
            actor: SELF_ACTOR.to_owned(),
            subject: subject.into(),
            before: None,
            after: None,
            message: message.into(),
        }
    }

    /// The same event, done by `actor`.
    #[must_use]
    pub fn by(self, actor: impl Into<String>) -> Self {
        Self { actor: actor.into(), ..self }
    }

    /// The same event with the state before and after it.
    #[must_use]
    pub fn with_change(self, before: Option<Value>, after: Option<Value>) -> Self {
        Self { before, after, ..self }
    }
}

/// Where events are reported; cheap to clone.
#[derive(Debug, Clone)]
pub struct EventSink {
    queue: mpsc::Sender<Event>,
    recorder: Arc<Recorder>,
}

impl EventSink {
    /// A sink and the one receiver of its events, which the control plane keeps.
    pub fn new(recorder: Arc<Recorder>) -> (Self, mpsc::Receiver<Event>) {
        let (queue, receiver) = mpsc::channel(EVENT_QUEUE);
        (Self { queue, recorder }, receiver)
    }

    /// Reports `event` without waiting. A full queue drops and counts it; one without receiver, at the process's end, drops it.
    pub fn report(&self, event: Event) {
        match self.queue.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.recorder.overflow(Queue::Events),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_counts_and_never_waits() {
        let recorder = Arc::new(Recorder::new(1));
        let (sink, mut receiver) = EventSink::new(recorder.clone());
        for n in 0..EVENT_QUEUE as u64 + 3 {
            sink.report(Event::new(EventKind::Started, n, "", "serving"));
        }
        assert_eq!(recorder.snapshot().overflows_of(Queue::Events), 3);
        assert_eq!(receiver.try_recv().unwrap().at_ms, 0);
        sink.report(Event::new(EventKind::Stopping, 0, "", "draining"));
        assert_eq!(recorder.snapshot().overflows_of(Queue::Events), 3);
        drop(receiver);
        sink.report(Event::new(EventKind::Stopping, 0, "", "draining"));
        assert_eq!(recorder.snapshot().overflows_of(Queue::Events), 3);
    }

    #[test]
    fn an_event_survives_json_under_its_label() {
        for kind in EventKind::ALL {
            let event = Event::new(*kind, 1_700_000_000_000, "api", "weights set")
                .by("uid:1000")
                .with_change(None, Some(serde_json::json!({ "blue": 50, "green": 50 })));
            let text = serde_json::to_string(&event).unwrap();
            assert!(text.contains(&format!("\"kind\":\"{}\"", kind.label())), "{text}");
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        }
    }
}
