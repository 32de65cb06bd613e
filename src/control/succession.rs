//! Handing the control plane's part over to a successor: first the state file is lent, and nothing is judged or changed by
//! this process; then either it comes back and all goes on, or the successor has it for good.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use super::{CommandError, ControlHandle, Controller, audit, mailbox::Command};
use crate::{domain::RolloutName, telemetry::Event};

/// How long a successor waits for the state file.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// Events of a process that drains which its successor has not kept yet.
const EVENTS: usize = 256;

/// The wish for the state.
#[derive(Debug)]
pub(super) struct Loan {
    /// Whether the state file is free.
    lent: oneshot::Sender<Result<(), String>>,
    /// Who hears of events from now on; dropped without a word when the file comes back.
    heir: oneshot::Receiver<mpsc::Sender<Event>>,
}

/// A state file that is out of its process's hands. Dropped, it goes back.
#[derive(Debug)]
pub struct LentState(oneshot::Sender<mpsc::Sender<Event>>);

impl LentState {
    /// Leaves it to the successor. What still happens to this process is told there.
    pub fn give_away(self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(EVENTS);
        // Without a controller the process is ending, and has nothing to tell.
        let _ = self.0.send(sender);
        receiver
    }
}

impl ControlHandle {
    /// Writes all there is to write and lets go of the state file; until it comes back, nothing is judged or changed.
    ///
    /// # Errors
    /// For people: why it cannot be had now.
    pub async fn lend_state(&self) -> Result<LentState, String> {
        let (lent, answer) = oneshot::channel();
        let (giver, heir) = oneshot::channel();
        let stopped = |_| CommandError::Stopped.to_string();
        let loan = Command::Lend(Loan { lent, heir });
        self.mailbox.send(loan).await.map_err(|_| CommandError::Stopped.to_string())?;
        answer.await.map_err(stopped)??;
        Ok(LentState(giver))
    }
}

impl Controller {
    /// Lends the state file. `None` when it is back, and otherwise who hears of events from now on.
    pub(super) async fn lend(&mut self, loan: Loan) -> Option<mpsc::Sender<Event>> {
        let Loan { lent, heir } = loan;
        if let Err(why) = self.let_go().await {
            let _ = lent.send(Err(why));
            return None;
        }
        let mut drain = self.drain.clone();
        let heir = match lent.send(Ok(())) {
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

    async fn let_go(&mut self) -> Result<(), String> {
        while let Ok(reply) = self.heard.try_recv() {
            self.take_reply(reply);
        }
        if Arc::strong_count(&self.hooks) > 1 {
            return Err("hooks of a rollout are running; try again when they have ended".to_owned());
        }
        self.keep_reported();
        let names: Vec<RolloutName> = self.drives.keys().cloned().collect();
        names.iter().for_each(|name| self.checkpoint(name));
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
