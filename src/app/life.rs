//! The life of a process that serves: signals, a successor, and the drain at its end.

use std::{process, time::Duration};

use super::{
    shared_workers::SharedWorkers,
    takeover::Succession,
    upgrade::{self, Estate},
};
use crate::{
    control::{ControlHandle, SIGNAL_ACTOR},
    lifecycle::{Drain, Signal, Tasks, clock},
    telemetry::{Event, EventKind, EventSink},
};

/// Time for workers to cut off what still runs, and to tell of it.
const CUTTING: Duration = Duration::from_secs(1);
/// Time between two looks at whether the workers have ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Says that this process serves now.
pub(super) fn begin(predecessor: Option<Succession>, events: &EventSink, tasks: &Tasks) {
    let ready = sd_notify::NotifyState::Ready;
    // Without systemd there is nobody to tell.
    let Some(predecessor) = predecessor else {
        report(events, EventKind::Started, "serving");
        let _ = sd_notify::notify(&[ready]);
        return;
    };
    let message = format!("serving, taken over from process {}", predecessor.process_id());
    report(events, EventKind::Started, &message);
    let _ = sd_notify::notify(&[ready, sd_notify::NotifyState::MainPid(process::id())]);
    predecessor.listen(events.clone(), tasks);
}

/// Obeys signals until the end.
pub(super) async fn until_stopped(
    mut next_signal: impl AsyncFnMut() -> Signal,
    estate: &Estate,
    drain: &Drain,
    events: &EventSink,
) {
    let workers = &estate.workers;
    let mut over = drain.watch();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut upgrading = None;
    loop {
        tokio::select! {
            signal = next_signal() => match signal {
                Signal::Reload => reload(estate.handle.clone(), &estate.tasks),
                Signal::ReopenLogs => estate.access.reopen(),
                Signal::Upgrade if drain.watch().is_draining() => {
                    tracing::warn!("a process that drains is not upgraded");
                }
                Signal::Upgrade if upgrading.is_some() => {
                    tracing::warn!("an upgrade is under way already");
                }
                Signal::Upgrade => {
                    report(events, EventKind::UpgradeStarted, "starting a successor");
                    upgrading = Some(Box::pin(upgrade::upgrade(estate)));
                }
                // A successor serves: this process ends by itself.
                Signal::Stop if drain.watch().is_draining() => {}
                Signal::Stop => {
                    // A successor that has not taken over ends with it.
                    upgrading = None;
                    report(events, EventKind::Stopping, "draining");
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
                    begin_drain(estate, drain, false);
                }
                Signal::StopNow => return cut_off(workers).await,
            },
            outcome = end_of(&mut upgrading) => match outcome {
                Ok(successor) => {
                    tracing::info!(successor, "handed over, draining");
                    begin_drain(estate, drain, true);
                }
                Err(why) => {
                    let message = format!("no successor took over, and nothing has changed: {why}");
                    report(events, EventKind::UpgradeFailed, &message);
                }
            },
            () = over.over() => return cut_off(workers).await,
            _ = looks.tick(), if drain.watch().is_draining() => {
                if workers.have_ended() {
                    return;
                }
            }
        }
    }
}

/// Waits for the end of what may be under way. Safe to drop while it waits.
async fn end_of<F: Future + Unpin>(under_way: &mut Option<F>) -> F::Output {
    let output = match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    };
    *under_way = None;
    output
}

/// Has the workers end at once, and waits for it: connections that the end of the process closed would look complete.
async fn cut_off(workers: &SharedWorkers) {
    workers.drain(clock::now(), false);
    let ended = async {
        while !workers.have_ended() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // One that does not end is left behind.
    let _ = tokio::time::timeout(CUTTING, ended).await;
}

fn begin_drain(estate: &Estate, drain: &Drain, handed_over: bool) {
    let patience = estate.handle.config().borrow().process.shutdown_timeout;
    let now = clock::now();
    drain.begin(now, patience);
    estate.workers.drain(now + patience, handed_over);
}

fn reload(handle: ControlHandle, tasks: &Tasks) {
    tasks.spawn("reload", async move {
        if let Err(error) = handle.reload(SIGNAL_ACTOR).await {
            tracing::warn!(%error, "the reload asked for by HUP was not done");
        }
    });
}

fn report(events: &EventSink, kind: EventKind, message: &str) {
    events.report(Event::new(kind, clock::wall_millis(), "", message));
}
