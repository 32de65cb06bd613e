//! The log of a successor on its way into ours, until it has its own.
//!
//! Whatever it writes, however much and however fast, is read, so that it is not held up, costs a bounded memory, and holds up
//! nobody here: it goes the way of our own lines, which waits for no reader.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    task::JoinHandle,
};

use crate::telemetry::logging::{LogControl, as_line};

/// Bytes that are read at once: what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// Bytes of a line that are passed on, which is more than a line of Tidegate's needs.
const LONGEST: usize = 4 * 1024;
/// Bytes that are passed on in all; a start takes a thousandth of it.
const MOST: usize = 1024 * 1024;
/// Lines that are told when it fails, and bytes of each.
const LAST_LINES: usize = 10;
const LONGEST_TOLD: usize = 500;

/// What passes a successor's log on.
pub(super) struct SuccessorLog {
    last: Arc<Mutex<VecDeque<String>>>,
    relay: JoinHandle<()>,
}

impl SuccessorLog {
    /// Passes lines of `pipe` to `log` until it ends. Needs a runtime.
    pub(super) fn start(pipe: impl AsyncRead + Unpin + Send + 'static, log: LogControl) -> Self {
        let last = Arc::<Mutex<_>>::default();
        let lines = Lines::new(log, last.clone());
        // Not among the supervised tasks: it ends with the successor or this value's owner, and does not panic.
        #[allow(clippy::disallowed_methods)]
        let relay = tokio::spawn(relay(pipe, lines));
        Self { last, relay }
    }

    /// Waits a moment for the end of the log, and gives its last lines.
    pub(super) async fn last_words(mut self) -> Vec<String> {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
        // What the successor started itself may hold its log open.
        if tokio::time::timeout(PATIENCE, &mut self.relay).await.is_err() {
            self.relay.abort();
        }
        locked(&self.last).drain(..).collect()
    }
}

async fn relay(mut pipe: impl AsyncRead + Unpin, mut lines: Lines) {
    let mut chunk = vec![0; CHUNK];
    loop {
        match pipe.read(&mut chunk).await {
            Ok(0) => break,
            Ok(count) => lines.take(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    lines.end();
}

/// Bytes of a log as lines, each cut at its bound.
struct Lines {
    log: LogControl,
    last: Arc<Mutex<VecDeque<String>>>,
    /// The begin of a line whose end has not come.
    line: Vec<u8>,
    passed: usize,
    is_over: bool,
}

impl Lines {
    fn new(log: LogControl, last: Arc<Mutex<VecDeque<String>>>) -> Self {
        Self { log, last, line: Vec::new(), passed: 0, is_over: false }
    }

    fn take(&mut self, mut chunk: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            self.keep(&chunk[..end]);
            self.pass();
            chunk = &chunk[end + 1..];
        }
        self.keep(chunk);
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.pass();
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LONGEST - self.line.len();
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// Passes the line on, or counts it as lost, and remembers it.
    fn pass(&mut self) {
        let line = as_line(&self.line);
        self.line.clear();
        if self.passed + line.len() <= MOST {
            self.passed += line.len();
            self.log.pass(&line);
        } else {
            if !std::mem::replace(&mut self.is_over, true) {
                tracing::warn!("the new process writes too much; its further lines are lost");
            }
            self.log.lose();
        }
        let mut last = locked(&self.last);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        let told = line.trim_end();
        last.push_back(told[..told.floor_char_boundary(LONGEST_TOLD)].to_owned());
    }
}

fn locked(last: &Mutex<VecDeque<String>>) -> MutexGuard<'_, VecDeque<String>> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Recorder;

    fn lines() -> (Lines, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::new(1));
        let log = LogControl::into_nothing(recorder.clone());
        (Lines::new(log, Arc::default()), recorder)
    }

    fn last(lines: &Lines) -> Vec<String> {
        locked(&lines.last).iter().cloned().collect()
    }

    #[test]
    fn lines_come_together_from_whatever_pieces_and_need_be_no_text() {
        let (mut lines, _) = lines();
        for piece in [&b"one\ntw"[..], b"o\n\n\xff\x1b[31m", b"\n", b"unend"] {
            lines.take(piece);
        }
        lines.take(b"ed");
        assert_eq!(last(&lines), ["one", "two", "", "\u{fffd}\\u001b[31m"]);
        lines.end();
        assert_eq!(last(&lines)[4], "unended");
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_bound_and_the_next_one_is_whole() {
        let (mut lines, _) = lines();
        for _ in 0..1_000 {
            lines.take(&[b'x'; 1_000]);
        }
        assert!(lines.line.capacity() <= 2 * LONGEST, "{}", lines.line.capacity());
        lines.take(b"\nnext\n");
        assert_eq!(last(&lines), ["x".repeat(LONGEST_TOLD), "next".to_owned()]);
    }

    #[test]
    fn beyond_the_whole_bound_lines_are_counted_and_the_last_are_known() {
        let (mut lines, recorder) = lines();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..MOST / 1024 + 5 {
            lines.take(line.as_bytes());
        }
        lines.take(b"the last\n");
        assert!(recorder.snapshot().overflows_of(crate::domain::Queue::Log) >= 6);
        assert_eq!(last(&lines).len(), LAST_LINES);
        assert_eq!(last(&lines).last().unwrap(), "the last");
        assert!(lines.is_over && lines.passed <= MOST);
    }
}
