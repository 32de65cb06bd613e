//! Notifications on their way to people: a queue and a task for each sink, so that a dead one delays nothing and nobody.
//!
//! How a rollout ended and critical alerts go before whatever else waits for their sink.
//! What cannot be delivered is tried again with growing pauses, then given up, counted, and reported as an event of its own.
//! A reload changes a sink under its task: what waits is kept.

mod alert_book;
mod courier;
mod delivery;
mod mail;
mod message;
mod queue;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use courier::{Counts, Courier};
use queue::Queue;
use tokio::{sync::watch, task::AbortHandle};

use super::Outbound;
use crate::{
    config::model::Sink,
    domain::{self, Notification, NotificationKind, SinkName},
    lifecycle::Tasks,
    telemetry::{EventSink, NotificationCount, Recorder},
};

/// Brings notifications to the sinks of the configuration; cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifier(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tasks: Tasks,
    outbound: Outbound,
    events: EventSink,
    recorder: Arc<Recorder>,
    served: Mutex<BTreeMap<SinkName, Served>>,
}

/// A sink with its queue and its task, which ends with this value.
#[derive(Debug)]
struct Served {
    sink: watch::Sender<Arc<Sink>>,
    queue: Arc<Queue>,
    counts: Arc<Counts>,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notifier {
    /// No sinks yet. What goes wrong is reported to `events`, and what a full queue drops is counted by `recorder`.
    pub fn new(
        tasks: Tasks,
        outbound: Outbound,
        events: EventSink,
        recorder: Arc<Recorder>,
    ) -> Self {
        let served = Mutex::default();
        Self(Arc::new(Shared { tasks, outbound, events, recorder, served }))
    }

    /// Serves `sinks` from now on, and no others. One that stays keeps what waits for it. Needs a runtime.
    pub fn configure(&self, sinks: &[Sink]) {
        let mut served = self.served();
        served.retain(|name, _| sinks.iter().any(|sink| sink.name == *name));
        for sink in sinks {
            let name = sink.name.clone();
            let known = served.entry(name).or_insert_with(|| self.serve(sink));
            known.sink.send_if_modified(|old| {
                let changed = **old != *sink;
                if changed {
                    *old = Arc::new(sink.clone());
                }
                changed
            });
        }
    }

    /// Puts `notification` into the queue of each sink that wants it. Never waits.
    pub fn notify(&self, notification: &Notification) {
        for served in self.served().values() {
            let sink = served.sink.borrow().clone();
            if is_wanted(&sink, notification)
                && served.queue.push(notification.clone(), is_urgent(&sink, notification))
            {
                served.counts.drop_one();
                self.0.recorder.overflow(domain::Queue::Notifications);
            }
        }
    }

    /// Waits until every notification so far is delivered or given up. A dead sink takes its time: who waits needs a limit.
    pub async fn drained(&self) {
        let open: Vec<_> = self.served().values().map(|served| served.queue.open()).collect();
        for mut open in open {
            // A sink that goes away meanwhile takes what waits for it along.
            let _ = open.wait_for(|open| *open == 0).await;
        }
    }

    /// What became of each sink's notifications.
    pub fn counts(&self) -> Vec<NotificationCount> {
        let served = self.served();
        served.iter().flat_map(|(name, served)| served.counts.read(name)).collect()
    }

    fn serve(&self, sink: &Sink) -> Served {
        let Shared { tasks, outbound, events, .. } = &*self.0;
        let (queue, counts) = (Arc::<Queue>::default(), Arc::<Counts>::default());
        let (sink, watched) = watch::channel(Arc::new(sink.clone()));
        let courier = Courier {
            sink: watched,
            queue: queue.clone(),
            counts: counts.clone(),
            outbound: outbound.clone(),
            events: events.clone(),
            most_time: courier::MOST_TIME,
        };
        let task = tasks.keep("notification sink", move || courier.clone().run());
        Served { sink, queue, counts, task: task.abort_handle() }
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<SinkName, Served>> {
        self.0.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `sink` has to hear of `notification`: an Alertmanager of all, since the unwanted ones may close what the wanted
/// ones opened.
fn is_wanted(sink: &Sink, notification: &Notification) -> bool {
    keeps_a_book(sink) || is_selected(sink, notification)
}

const fn keeps_a_book(sink: &Sink) -> bool {
    matches!(sink.kind, crate::config::model::SinkKind::Alertmanager(_))
}

/// Whether it goes before the rest at `sink`: the end of a rollout, and critical alerts with their ends, so that none is
/// over before it began. An Alertmanager gets all that waits at once, and in its order.
fn is_urgent(sink: &Sink, notification: &Notification) -> bool {
    use NotificationKind::{
        Advanced, Alert, Failed, Held, Paused, Promoted, Resolved, Resumed, RolledBack, Started,
    };
    !keeps_a_book(sink)
        && match notification.kind {
            RolledBack | Promoted | Failed => true,
            Alert | Resolved => notification.severity == domain::Severity::Critical,
            Started | Advanced | Held | Paused | Resumed => false,
        }
}

/// Whether the configuration of `sink` selects `notification`.
fn is_selected(sink: &Sink, notification: &Notification) -> bool {
    let Notification { kind, severity, .. } = notification;
    let kind: &NotificationKind = kind;
    sink.events.contains(kind) && *severity >= sink.min_severity
}

#[cfg(test)]
mod tests;
