//! Lines of the access log on their way from the workers to standard output or a file.
//!
//! A worker collects lines in a buffer of its own and hands it over whole, so that a request neither locks nor wakes
//! anybody. One thread writes. Where the writing does not keep up, a worker's buffer fills; from then on its lines are
//! dropped and counted, and no request waits.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{Error, Recorder, log_file, log_queue::Waiting};
use crate::{config::model::AccessPath, domain::Queue};

/// Bytes of lines that are handed over at once: about a hundred lines for one wake-up of the writer.
const BATCH: usize = 32 * 1024;
/// Bytes of lines that one worker keeps at most.
const MOST: usize = 256 * 1024;
/// Batches on their way to the writer.
const BATCHES: usize = 32;
/// Time for the last lines, at the end of the process.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lines that travel together.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

/// The way to the access log's thread, for any thread; never blocks.
#[derive(Debug, Clone)]
pub struct AccessLog {
    batches: SyncSender<Batch>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    recorder: Arc<Recorder>,
    waiting: Waiting,
    path: Mutex<AccessPath>,
    /// The path is to be opened anew before the next line.
    reopen: AtomicBool,
}

impl AccessLog {
    /// Starts a thread that writes to `path`; lines that are lost are counted in `recorder`.
    ///
    /// # Errors
    /// [`Error::AccessLog`] when the file cannot be opened, [`Error::LogThread`] when the system gives no thread.
    pub fn start(path: &AccessPath, recorder: Arc<Recorder>) -> Result<Self, Error> {
        let out =
            open(path).map_err(|source| Error::AccessLog { path: path.to_string(), source })?;
        Self::write_to(out, path.clone(), recorder).map_err(Error::LogThread)
    }

    fn write_to(out: Option<File>, path: AccessPath, recorder: Arc<Recorder>) -> io::Result<Self> {
        let (batches, queued) = sync_channel(BATCHES);
        let (waiting, reopen) = (Waiting::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { recorder, waiting, path: Mutex::new(path), reopen });
        let writer = Writer { out, shared: shared.clone(), is_torn: false, has_failed: false };
        thread::Builder::new().name("access-log".to_owned()).spawn(|| writer.run(queued))?;
        Ok(Self { batches, shared })
    }

    /// A buffer for one worker.
    pub fn buffer(&self) -> AccessBuffer {
        AccessBuffer { log: self.clone(), batch: Batch::default() }
    }

    /// Writes to `path` from now on.
    pub fn follow(&self, path: &AccessPath) {
        let mut present = self.shared.path();
        if *present != *path {
            *present = path.clone();
            drop(present);
            self.reopen();
        }
    }

    /// Opens the file anew: the old one was moved away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
        // An empty batch wakes the thread; where there is no room for it, the thread is awake.
        self.hand_over(Batch::default()).ok();
    }

    /// Waits a moment for what is not yet written. Blocks; for the end of the process.
    pub fn drain(&self) {
        self.shared.waiting.drain(PATIENCE);
    }

    /// Gives the batch back when it is not taken.
    fn hand_over(&self, batch: Batch) -> Result<(), Batch> {
        self.shared.waiting.add();
        self.batches.try_send(batch).map_err(|refused| {
            self.shared.waiting.remove();
            let (std::sync::mpsc::TrySendError::Full(batch)
            | std::sync::mpsc::TrySendError::Disconnected(batch)) = refused;
            batch
        })
    }
}

impl Shared {
    fn path(&self) -> std::sync::MutexGuard<'_, AccessPath> {
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's lines that are not handed over yet.
#[derive(Debug)]
pub struct AccessBuffer {
    log: AccessLog,
    batch: Batch,
}

impl AccessBuffer {
    /// Adds the line that `write` makes, without its end; where there is no room, counts it as lost.
    pub fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.batch.bytes.len() >= MOST {
            self.log.shared.recorder.overflow(Queue::AccessLog);
            return;
        }
        if self.batch.bytes.capacity() == 0 {
            self.batch.bytes.reserve(BATCH + BATCH / 8);
        }
        write(&mut self.batch.bytes);
        self.batch.bytes.push(b'\n');
        self.batch.lines += 1;
        if self.batch.bytes.len() >= BATCH {
            self.flush();
        }
    }

    /// Hands over what there is; keeps it where the writer does not keep up.
    pub fn flush(&mut self) {
        if self.batch.lines == 0 {
            return;
        }
        if let Err(batch) = self.log.hand_over(std::mem::take(&mut self.batch)) {
            self.batch = batch;
        }
    }
}

impl Drop for AccessBuffer {
    fn drop(&mut self) {
        self.flush();
        self.log.shared.recorder.overflow_by(Queue::AccessLog, self.batch.lines);
    }
}

/// The thread that writes.
struct Writer {
    out: Option<File>,
    shared: Arc<Shared>,
    /// The last write ended within a line.
    is_torn: bool,
    /// The last write failed, and that has been said.
    has_failed: bool,
}

impl Writer {
    fn run(mut self, batches: Receiver<Batch>) {
        for batch in batches {
            if self.shared.reopen.swap(false, Relaxed) {
                self.reopen();
            }
            if let Err((error, unwritten)) = self.write(&batch.bytes) {
                let lost = memchr::memchr_iter(b'\n', unwritten).count() as u64;
                self.shared.recorder.overflow_by(Queue::AccessLog, lost.min(batch.lines));
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(%error, "lines of the access log are lost");
                }
            } else if batch.lines > 0 {
                self.has_failed = false;
            }
            self.shared.waiting.remove();
        }
    }

    /// Writes `bytes`, which end with a line; what is left of them after an error.
    fn write<'b>(&mut self, bytes: &'b [u8]) -> Result<(), (io::Error, &'b [u8])> {
        let Some(out) = self.out.as_mut().filter(|_| !bytes.is_empty()) else { return Ok(()) };
        if self.is_torn {
            out.write_all(b"\n").map_err(|error| (error, bytes))?;
            self.is_torn = false;
        }
        let mut left = bytes;
        while !left.is_empty() {
            match out.write(left) {
                Ok(0) => return Err((ErrorKind::WriteZero.into(), left)),
                Ok(written) => {
                    self.is_torn = left[written - 1] != b'\n';
                    left = &left[written..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err((error, left)),
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        let path = self.shared.path().clone();
        match open(&path) {
            Ok(out) => (self.out, self.is_torn) = (out, false),
            Err(error) => {
                tracing::warn!(%path, %error, "the access log stays where it was");
            }
        }
    }
}

fn open(path: &AccessPath) -> io::Result<Option<File>> {
    match path {
        AccessPath::Off => Ok(None),
        // A descriptor of its own: whoever prints to standard output does not wait for this log.
        AccessPath::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from).map(Some),
        AccessPath::File(path) => log_file::open(path).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead as _, BufReader, Read as _},
        os::fd::OwnedFd,
        path::Path,
    };

    use super::*;

    fn lost(recorder: &Recorder) -> u64 {
        recorder.snapshot().overflows_of(Queue::AccessLog)
    }

    fn file(path: &Path) -> AccessPath {
        AccessPath::File(path.to_owned())
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read_and_what_is_lost_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        let recorder = Arc::new(Recorder::new(1));
        let out = Some(File::from(OwnedFd::from(writer)));
        let log = AccessLog::write_to(out, AccessPath::Stdout, recorder.clone()).unwrap();
        let mut buffer = log.buffer();
        // Several times what pipe, channel and buffer hold.
        let sent = 4 * (BATCHES * BATCH + MOST) / 1024;
        for _ in 0..sent {
            buffer.line(|out| out.extend_from_slice(&[b'x'; 1023]));
        }
        assert!(lost(&recorder) > 0);
        let reading = thread::spawn(move || BufReader::new(reader).lines().count());
        // The reader is there now, so that there is room again.
        log.shared.waiting.drain(Duration::from_secs(60));
        drop((buffer, log));
        assert_eq!(reading.join().unwrap() as u64 + lost(&recorder), sent as u64);
    }

    #[test]
    fn a_file_that_was_moved_is_begun_anew_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("moved"));
        let log = AccessLog::start(&file(&path), Arc::new(Recorder::new(1))).unwrap();
        let mut buffer = log.buffer();
        buffer.line(|out| out.extend_from_slice(b"one"));
        buffer.flush();
        log.drain();
        fs::rename(&path, &moved).unwrap();
        log.reopen();
        buffer.line(|out| out.extend_from_slice(b"two"));
        buffer.flush();
        log.drain();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_refused_at_first_and_later_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("good"), folder.path().join("none/bad"));
        let recorder = Arc::new(Recorder::new(1));
        let refused = AccessLog::start(&file(&bad), recorder.clone()).unwrap_err();
        assert!(refused.to_string().contains("none/bad"), "{refused}");
        let log = AccessLog::start(&file(&good), recorder).unwrap();
        log.follow(&file(&bad));
        let mut buffer = log.buffer();
        buffer.line(|out| out.extend_from_slice(b"one"));
        drop(buffer);
        log.drain();
        assert_eq!(fs::read_to_string(&good).unwrap(), "one\n");
    }

    #[test]
    fn of_a_batch_that_is_cut_only_the_lines_that_are_not_there_are_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let out = File::from(OwnedFd::from(writer));
        // A full pipe stands for a full disk.
        rustix::fs::fcntl_setfl(&out, rustix::fs::OFlags::NONBLOCK).unwrap();
        let recorder = Arc::new(Recorder::new(1));
        let log = AccessLog::write_to(Some(out), AccessPath::Stdout, recorder.clone()).unwrap();
        let mut buffer = log.buffer();
        // More than it holds, in several batches, of which one is cut within a line.
        const SENT: u64 = 300;
        for _ in 0..SENT {
            buffer.line(|out| out.extend_from_slice(&[b'x'; 298]));
        }
        drop(buffer);
        log.drain();
        let mut held = vec![0; 300 * SENT as usize];
        let count = reader.read(&mut held).unwrap();
        let written = held[..count].split(|byte| *byte == b'\n').filter(|l| l.len() == 298).count();
        let before = lost(&recorder);
        assert!(before > 0 && written > 0);
        assert_eq!(written as u64 + before, SENT);
        // There is room again: the torn line is ended, and the next one stands alone.
        let mut buffer = log.buffer();
        buffer.line(|out| out.extend_from_slice(b"next"));
        drop(buffer);
        log.drain();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "\nnext\n");
        assert_eq!(lost(&recorder), before);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_line_begins_a_line() {
        let (mut reader, writer) = io::pipe().unwrap();
        let recorder = Arc::new(Recorder::new(1));
        let out = Some(File::from(OwnedFd::from(writer)));
        let log = AccessLog::write_to(out, AccessPath::Stdout, recorder.clone()).unwrap();
        let mut buffer = log.buffer();
        buffer.line(|out| out.extend_from_slice(b"one"));
        buffer.flush();
        let mut read = [0; 4];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"one\n");
        drop(reader);
        buffer.line(|out| out.extend_from_slice(b"two"));
        drop(buffer);
        log.drain();
        assert_eq!(lost(&recorder), 1);
    }
}
