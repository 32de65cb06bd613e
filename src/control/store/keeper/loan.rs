//! Lending the file to a successor, and taking it back from one that did not make it.

use tokio::sync::oneshot;

use super::{FileState, Keeper};
use crate::control::store::{desk::Loan, outage::Outage};

impl Keeper {
    /// Takes the file back, or gives the answer that a loan waits for.
    pub(super) fn heed(&mut self, loan: Option<Loan>) -> Option<oneshot::Sender<bool>> {
        match loan? {
            Loan::Lend(answer) => Some(answer),
            Loan::Return => {
                if let FileState::Lent = self.file {
                    self.take_back();
                }
                None
            }
        }
    }

    fn take_back(&mut self) {
        self.file = FileState::Away(Outage::begin());
        // Whoever had it has ended, and what is in memory is the newest.
        if let Err(error) = self.reopen() {
            self.say_write_failed(&error.to_string());
        }
    }

    /// Gives up the file if all of it is `written`: what is in memory alone another process would not know.
    pub(super) fn lend(&mut self, written: bool, answer: oneshot::Sender<bool>) {
        if !written || !matches!(self.file, FileState::Open(..)) {
            let _ = answer.send(false);
            return;
        }
        self.file = FileState::Lent;
        self.place.leave();
        if answer.send(true).is_err() {
            // Whoever asked has gone, so nobody else takes it.
            self.take_back();
        }
    }
}
