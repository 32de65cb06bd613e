//! What the operating system asks of the process.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// A wish that came as a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT for the first time: drain, then end.
    Stop,
    /// TERM or INT once more: end at once.
    StopNow,
    /// HUP: read the configuration again.
    Reload,
}

/// The process's signals, in the order in which they come.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    stopping: bool,
}

impl Signals {
    /// Catches TERM, INT and HUP from now on; needs a runtime with I/O enabled.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            stopping: false,
        })
    }

    /// The next signal. Safe to drop while it waits.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => self.stop(),
            _ = self.interrupt.recv() => self.stop(),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    fn stop(&mut self) -> Signal {
        match std::mem::replace(&mut self.stopping, true) {
            false => Signal::Stop,
            true => Signal::StopNow,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command};

    use super::*;

    fn send(signal: &str) {
        let pid = process::id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    // One test for all: signals reach the whole process, and so every test that would listen.
    #[tokio::test]
    async fn a_second_stop_is_told_from_the_first_and_reload_from_both() {
        let mut signals = Signals::catch().unwrap();
        send("-HUP");
        assert_eq!(signals.next().await, Signal::Reload);
        send("-TERM");
        assert_eq!(signals.next().await, Signal::Stop);
        send("-INT");
        assert_eq!(signals.next().await, Signal::StopNow);
        send("-HUP");
        assert_eq!(signals.next().await, Signal::Reload);
    }
}
