//! Lines of the log on their way to standard error.
//!
//! Whoever reads the log may stop reading, and a full pipe blocks whoever writes to it. So nobody writes there but one
//! thread of the log's own; everyone else leaves a line in a bounded queue and goes on. A line that finds the queue full
//! is dropped and counted.

use std::{
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

use super::Recorder;
use crate::domain::Queue;

/// Lines that wait at most: the bursts of a busy second, and at most some megabytes.
pub(super) const LOG_QUEUE: usize = 1024;

/// The way to the log's thread, for any thread; never blocks.
#[derive(Debug, Clone)]
pub(super) struct LogQueue {
    lines: SyncSender<Vec<u8>>,
    waiting: Arc<Waiting>,
    recorder: Arc<Recorder>,
}

impl LogQueue {
    /// Starts a thread that writes to `out`; what the queue does not take is counted in `recorder`.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub(super) fn start(
        mut out: impl Write + Send + 'static,
        recorder: Arc<Recorder>,
    ) -> io::Result<Self> {
        let (lines, queued) = sync_channel::<Vec<u8>>(LOG_QUEUE);
        let waiting = Arc::<Waiting>::default();
        let written = waiting.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || {
            for line in queued {
                // What cannot be written is lost; there is no other place to say so.
                let _ = out.write_all(&line);
                written.remove();
            }
        })?;
        Ok(Self { lines, waiting, recorder })
    }

    /// Counts a line that is not written.
    pub(super) fn lose(&self) {
        self.recorder.overflow(Queue::Log);
    }

    /// Waits until everything is written, but not longer than `patience`.
    pub(super) fn drain(&self, patience: Duration) {
        self.waiting.drain(patience);
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// Expects a whole line at each write.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.waiting.add();
        if self.lines.try_send(line.to_owned()).is_err() {
            self.waiting.remove();
            self.lose();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many things are not yet written.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    lines: Mutex<usize>,
    none: Condvar,
}

impl Waiting {
    pub(super) fn add(&self) {
        *self.lock() += 1;
    }

    pub(super) fn remove(&self) {
        let mut lines = self.lock();
        *lines -= 1;
        if *lines == 0 {
            self.none.notify_all();
        }
    }

    pub(super) fn drain(&self, patience: Duration) {
        // Over or out of time: both end the wait.
        drop(self.none.wait_timeout_while(self.lock(), patience, |lines| *lines > 0));
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read_and_what_is_lost_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        let recorder = Arc::new(Recorder::new(1));
        let queue = LogQueue::start(writer, recorder.clone()).unwrap();
        // Many times what a pipe holds.
        let line = [&[b'x'; 4095][..], b"\n"].concat();
        let sent = LOG_QUEUE + 1000;
        for _ in 0..sent {
            (&queue).write_all(&line).unwrap();
        }
        queue.drain(Duration::from_millis(1));
        let lost = recorder.snapshot().overflows_of(Queue::Log);
        assert!(lost > 0);
        drop(queue);
        let read = BufReader::new(reader).lines().count() as u64;
        assert_eq!(read + lost, sent as u64);
    }

    #[test]
    fn it_is_drained_when_everything_is_written() {
        let (reader, writer) = io::pipe().unwrap();
        let queue = LogQueue::start(writer, Arc::new(Recorder::new(1))).unwrap();
        (&queue).write_all(b"one\n").unwrap();
        queue.drain(Duration::from_secs(60));
        assert_eq!(*queue.waiting.lock(), 0);
        drop(queue);
        assert_eq!(BufReader::new(reader).lines().count(), 1);
    }
}
