//! Raising the bound up to which a canary may spend its budget, each time before it may: see [`crate::decision::lease`].
//!
//! Nothing waits for it. A canary that comes to its bound before the disk has taken the next one gets nothing more until
//! then: its requests go to the baseline.

use std::time::Duration;

use super::{
    carry::{Reply, Word},
    drive::Drive,
};
use crate::{
    control::Controller,
    decision::{judge::Spent, lease::Lease},
    domain::RolloutName,
    lifecycle::clock,
};

/// A disk that takes longer than this has not taken it.
const PATIENCE: Duration = Duration::from_secs(5);

/// After a disk that did not take it.
const REST: Duration = Duration::from_secs(1);

impl Controller {
    /// Has a higher bound written where the present one is nearly reached.
    pub(super) fn tend_lease(&mut self, name: &RolloutName) {
        let Some(drive) = self.drives.get_mut(name) else { return };
        // The record of a move holds the bound as well; while it is on its way, nothing goes over it.
        let may = drive.state().phase.is_running() && !drive.state().is_moving();
        if !may || drive.is_stand_in || clock::now() < drive.lease_rests_until {
            return;
        }
        let (budget, spent) = (drive.plan().budget, drive.spent());
        let Some(bound) = drive.lease.ask(&budget, spent) else { return };
        drive.log.reserved = bound;
        let (number, rollout) = (drive.number, name.clone());
        self.checkpoint(name);
        let (store, replies) = (self.store.clone(), self.replies.clone());
        self.outside.tasks.spawn("rollout budget", async move {
            let written = tokio::time::timeout(PATIENCE, store.flush()).await;
            let word = Word::Reserved(written == Ok(true));
            // Without a receiver the process is ending.
            let _ = replies.send(Reply { rollout, number, word }).await;
        });
    }

    /// The bound that was asked for is durable, or is not.
    pub(super) fn note_reserved(&mut self, name: &RolloutName, durable: bool) {
        let Some(drive) = self.drives.get_mut(name) else { return };
        drive.lease.answered(durable);
        if !durable {
            drive.lease_rests_until = clock::now() + REST;
        }
        drive.set_limits();
    }

    /// At the end of the process: what was reserved and not spent is free again, for nothing more is spent.
    pub(in crate::control) fn give_leases_back(&mut self) {
        let running = self.drives.iter().filter(|(_, drive)| drive.state().phase.is_running());
        for name in running.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            if let Some(drive) = self.drives.get_mut(&name) {
                drive.stop_spending();
            }
            self.checkpoint(&name);
        }
    }
}

impl Drive {
    /// What the canary has used of its budget.
    pub(super) fn spent(&self) -> Spent {
        let spent = self.guard.spent();
        Spent { bad_responses: spent.bad_responses, exposed_keys: spent.exposed_keys }
    }

    /// Whether the canary gets nothing more, for want of a bound in the state file.
    pub(super) fn is_short_of_lease(&self) -> bool {
        self.state().phase.is_running() && self.lease.is_short(&self.plan().budget, self.spent())
    }

    fn stop_spending(&mut self) {
        self.lease = Lease::of_nothing_beyond(self.spent());
        self.set_limits();
        // What was let in before that counts too.
        self.log.reserved = self.spent();
    }
}
