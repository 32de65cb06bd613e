//! What the operating system asks of the process.

use std::io;

use rustix::process::Signal as Number;
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
    /// USR2: start a successor, and hand over to it.
    Upgrade,
    /// USR1: open log files anew, since they were moved away.
    ReopenLogs,
}

/// The process's signals, in the order in which they come.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    user_1: unix::Signal,
    user_2: unix::Signal,
    /// Only held: by it a write beyond a limit for files fails, as on a full disk, where the process would end.
    _too_large: unix::Signal,
    stopping: bool,
}

impl Signals {
    /// Catches TERM, INT, HUP, USR1 and USR2 from now on, and XFSZ, which nobody hears of; needs a runtime with I/O enabled.
    ///
    /// # Errors
    /// When the operating system refuses a handler.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user_1: unix::signal(SignalKind::user_defined1())?,
            user_2: unix::signal(SignalKind::user_defined2())?,
            _too_large: unix::signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?,
            stopping: false,
        })
    }

    /// The next signal. Safe to drop while it waits.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => self.stop(),
            _ = self.interrupt.recv() => self.stop(),
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.user_1.recv() => Signal::ReopenLogs,
            _ = self.user_2.recv() => Signal::Upgrade,
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
        // The shell's own kill: the program is in a package that a bare system lacks.
        let sent = Command::new("sh").args(["-c", "kill \"$0\" \"$1\"", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    // One test for all: signals reach the whole process, and so every test that would listen.
    #[tokio::test]
    async fn a_second_stop_is_told_from_the_first_and_reload_from_both() {
        let mut signals = Signals::catch().unwrap();
        send("-HUP");
        assert_eq!(signals.next().await, Signal::Reload);
        send("-USR1");
        assert_eq!(signals.next().await, Signal::ReopenLogs);
        send("-USR2");
        assert_eq!(signals.next().await, Signal::Upgrade);
        send("-TERM");
        assert_eq!(signals.next().await, Signal::Stop);
        send("-INT");
        assert_eq!(signals.next().await, Signal::StopNow);
        send("-HUP");
        assert_eq!(signals.next().await, Signal::Reload);
    }
}
