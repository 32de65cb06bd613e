//! The end of the control plane's part, by itself or by a successor. For a successor the state file is lent first, and nothing is
//! judged or changed by this process; then either it comes back and all goes on, or the successor has it for good.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{CommandError, ControlHandle, Controller, audit, mailbox::Command};
use crate::telemetry::Event;

/// How long a disk may take for what waits, while all goes on; that leaves little for the last write.
const FIRST_WRITE: Duration = Duration::from_secs(20);
/// How long it may take for the last write, while nothing is judged.
const LAST_WRITE: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last notifications, and for the state file.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Events of a process that drains which its successor has not kept yet.
const EVENTS: usize = 256;

/// The wish for the state.
#[derive(Debug)]
pub(super) struct Loan {
    /// Whether the state file is free, and what it does not hold.
    lent: oneshot::Sender<Result<Vec<DrainedEndpoint>, String>>,
    /// Who hears of events from now on; dropped without a word when the file comes back.
    heir: oneshot::Receiver<mpsc::Sender<Event>>,
}

/// Backend and address of an endpoint that an operator took out: that lasts as long as somebody serves.
pub type DrainedEndpoint = (String, String);

/// A state file that is out of its process's hands. Dropped, it goes back.
#[derive(Debug)]
pub struct LentState {
    heir: oneshot::Sender<mpsc::Sender<Event>>,
    /// Endpoints that take no requests now.
    pub drained: Vec<DrainedEndpoint>,
}

impl LentState {
    /// Leaves it to the successor. What still happens to this process is told there.
    pub fn give_away(self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        // Without a controller the process is ending, and has nothing to tell.
        let _ = self.heir.send(sender);
        receiver
    }
}

impl ControlHandle {
    /// Writes all there is to write and lets go of the state file; until it comes back, nothing is judged or changed.
    ///
    /// # Errors
    /// For people: why it cannot be had now.
    pub async fn lend_state(&self) -> Result<LentState, String> {
        // What could not be written is found out by the loan itself.
        let _ = tokio::time::timeout(FIRST_WRITE, self.audit.flush()).await;
        let (lent, answer) = oneshot::channel();
        let (giver, heir) = oneshot::channel();
        let stopped = |_| CommandError::Stopped.to_string();
        let loan = Command::Lend(Loan { lent, heir });
        self.mailbox.send(loan).await.map_err(|_| CommandError::Stopped.to_string())?;
        let drained = answer.await.map_err(stopped)??;
        Ok(LentState { heir: giver, drained })
    }
}

impl Controller {
    /// Writes and tells what is left, without a successor.
    pub(super) async fn finish(mut self) {
        self.keep_reported();
        self.give_leases_back();
        let told = tokio::time::timeout(LAST_WORD, self.outside.notifier.drained());
        let kept = tokio::time::timeout(LAST_WORD, self.store.close());
        let (told, kept) = tokio::join!(told, kept);
        if kept != Ok(true) {
            tracing::warn!("the last events and splits could not be written to the state file");
        }
        if told.is_err() {
            tracing::warn!("the last notifications could not be delivered");
        }
    }

    /// Lends the state file. `None` when it is back, and otherwise who hears of events from now on.
    pub(super) async fn lend(&mut self, loan: Loan) -> Option<mpsc::Sender<Event>> {
        let Loan { lent, heir } = loan;
        if let Err(why) = self.let_go().await {
            let _ = lent.send(Err(why));
            return None;
        }
        let mut drain = self.drain.clone();
        let heir = match lent.send(Ok(self.drained_endpoints())) {
            Ok(()) => tokio::select! {
                biased;
                heir = heir => heir.ok(),
                () = drain.over() => None,
            },
            Err(_) => None,
        };
        if heir.is_none() {
            self.store.take_back();
        }
        heir
    }

    fn drained_endpoints(&self) -> Vec<DrainedEndpoint> {
        let table = self.publisher.current();
        let all = table.backends().iter().flat_map(|backend| {
            backend.endpoints.iter().map(move |endpoint| (&backend.name, endpoint))
        });
        let drained = all.filter(|(_, endpoint)| endpoint.is_drained());
        drained.map(|(name, endpoint)| (name.to_string(), endpoint.address().to_string())).collect()
    }

    /// Takes out again what a predecessor's operators took out.
    pub fn keep_drained(&self, drained: &[DrainedEndpoint]) {
        let table = self.publisher.current();
        for (name, address) in drained {
            let backends = table.backends().iter().filter(|known| known.name.as_str() == name);
            let endpoints = backends.flat_map(|backend| &backend.endpoints);
            let same = endpoints.filter(|endpoint| endpoint.address().as_str() == address);
            same.for_each(|endpoint| endpoint.set_drained(true));
        }
    }

    async fn let_go(&mut self) -> Result<(), String> {
        while let Ok(reply) = self.heard.try_recv() {
            self.take_reply(reply);
        }
        if Arc::strong_count(&self.hooks) > 1 {
            return Err("hooks of a rollout are running; try again when they have ended".to_owned());
        }
        self.keep_reported();
        // Keeps what runs, as it is now. Should the file come back, the next look asks for leases anew.
        self.give_leases_back();
        match tokio::time::timeout(LAST_WRITE, self.store.lend()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the state file cannot be written now".to_owned()),
            Err(_) => {
                // It may be lent later, to nobody.
                self.store.take_back();
                Err("the disk takes too long to write the state".to_owned())
            }
        }
    }

    /// What is left to do for a process that only drains: telling `heir` what happens to it.
    pub(super) async fn tell_heir(mut self, heir: mpsc::Sender<Event>) {
        self.mailbox.close();
        let mut drain = self.drain.clone();
        loop {
            tokio::select! {
                Some(event) = self.inbox.recv() => {
                    audit::log(&event);
                    // A successor that does not keep up misses what is in the log of this process.
                    let _ = heir.try_send(event);
                }
                () = drain.over() => return,
            }
        }
    }
}
