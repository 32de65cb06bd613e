//! The log: one line an event on standard error, as JSON or for people.
//!
//! A line is a line whatever a client sent: what steers a terminal inside it is written as `\uXXXX`. Of other crates only
//! warnings and errors are written, for at lower levels they speak of every packet. A standard error that cannot be
//! written to, or that nobody reads, loses lines and harms nothing else.

use std::{
    fmt::Write as _,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use super::{Error, Recorder, log_queue::LogQueue};
use crate::{
    config::model::{Log, LogFormat, LogLevel},
    domain::is_steering,
};

/// Time for the last lines, at the end of the process.
const PATIENCE: Duration = Duration::from_millis(200);

/// Sets up the process's log; lines that are lost are counted in `recorder`.
///
/// # Errors
/// [`Error::LogTwice`] on a second call in one process, [`Error::LogThread`] when the system gives no thread.
pub fn install(log: &Log, recorder: Arc<Recorder>) -> Result<LogControl, Error> {
    let queue = LogQueue::start(io::stderr(), recorder).map_err(Error::LogThread)?;
    let (subscriber, filter) = build(log, queue.clone());
    subscriber.try_init().map_err(|_| Error::LogTwice)?;
    Ok(LogControl { filter, queue })
}

/// Changes the log while the process runs.
#[derive(Debug, Clone)]
pub struct LogControl {
    filter: FilterHandle,
    queue: LogQueue,
}

#[cfg(test)]
impl LogControl {
    /// Of a log that nobody sees; what it loses is counted in `recorder`.
    pub(crate) fn into_nothing(recorder: Arc<Recorder>) -> Self {
        let (filter, handle) = reload::Layer::new(Targets::new());
        // The handle works as long as its layer is there, and nothing here changes the level.
        drop(filter);
        Self { filter: handle, queue: LogQueue::start(io::sink(), recorder).unwrap() }
    }
}

type FilterHandle = reload::Handle<Targets, Registry>;

impl LogControl {
    /// Takes over the level of `log`; its format stays as it was when the process began.
    ///
    /// # Errors
    /// [`Error::LogLevel`] when the log is gone.
    pub fn apply(&self, log: &Log) -> Result<(), Error> {
        Ok(self.filter.reload(filter(log.level))?)
    }

    /// Writes `line`, which is another process's and ends with its end, as if it were one of ours. Never blocks.
    pub fn pass(&self, line: &str) {
        // It takes whatever comes.
        let _ = (&self.queue).write_all(line.as_bytes());
    }

    /// Counts a line that is not written.
    pub fn lose(&self) {
        self.queue.lose();
    }

    /// Waits a moment for what is not yet written. Blocks; for the end of the process.
    pub fn drain(&self) {
        self.queue.drain(PATIENCE);
    }
}

fn build<W>(log: &Log, writer: W) -> (impl Subscriber + Send + Sync, FilterHandle)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(log.level));
    // Without this a failing standard error would be reported to standard error, by a macro that panics.
    let lines = fmt::layer().log_internal_errors(false).with_ansi(false);
    let lines = lines.with_writer(OneLine(writer));
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Text => lines.boxed(),
    };
    (tracing_subscriber::registry().with(filter).with(lines), handle)
}

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let others = LevelFilter::from_level(level).min(LevelFilter::WARN);
    Targets::new().with_default(others).with_target(env!("CARGO_CRATE_NAME"), level)
}

/// Makes writers that keep every event on one line.
struct OneLine<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = LineWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self.0.make_writer())
    }
}

/// Expects a whole event at each write, its line end included.
struct LineWriter<W>(W);

impl<W: Write> Write for LineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains(is_steering) {
            self.0.write_all(escaped(line).as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What another process wrote as a line, safe to be shown as one; with its end.
pub fn as_line(bytes: &[u8]) -> String {
    escaped(&String::from_utf8_lossy(bytes))
}

/// `line` with its steering characters in a form that is also JSON's, and a line end.
fn escaped(line: &str) -> String {
    let mut safe = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if !is_steering(c) {
            safe.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a text cannot fail.
            let _ = write!(safe, "\\u{unit:04x}");
        }
    }
    safe.push('\n');
    safe
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::subscriber::with_default;

    use super::*;
    use crate::{
        config::model::{AccessFormat, AccessLog, AccessPath},
        domain::Weight,
    };

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(level: LogLevel, format: LogFormat) -> Log {
        let access =
            AccessLog { path: AccessPath::Off, format: AccessFormat::Json, sample: Weight::FULL };
        Log { level, format, summary_every: None, access }
    }

    fn lines(format: LogFormat, write: impl FnOnce(&LogControl)) -> Vec<String> {
        let captured = Captured::default();
        let writer = captured.clone();
        let (subscriber, filter) = build(&log(LogLevel::Info, format), move || writer.clone());
        let queue = LogQueue::start(io::sink(), Arc::new(Recorder::new(1))).unwrap();
        let control = LogControl { filter, queue };
        with_default(subscriber, || write(&control));
        captured.text().lines().map(str::to_owned).collect()
    }

    const EVIL: &str = "a\nlevel=ERROR forged\r\x1b[31m\u{85}\u{7f}\u{202e}\u{e0041}";

    #[test]
    fn what_a_client_sent_stays_on_its_line() {
        for format in [LogFormat::Json, LogFormat::Text] {
            let lines = lines(format, |_| tracing::warn!(path = EVIL, "refused {EVIL}"));
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(!lines[0].contains(is_steering), "{lines:?}");
        }
    }

    #[test]
    fn a_json_line_is_json_and_holds_what_was_said() {
        let lines = lines(LogFormat::Json, |_| tracing::warn!(path = EVIL, "refused"));
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["path"], EVIL);
        assert_eq!(line["message"], "refused");
        assert_eq!(line["level"], "WARN");
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let lines = lines(LogFormat::Text, |control| {
            tracing::debug!("one");
            control.apply(&log(LogLevel::Debug, LogFormat::Text)).unwrap();
            tracing::debug!("two");
            control.apply(&log(LogLevel::Error, LogFormat::Text)).unwrap();
            tracing::warn!("three");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("two"));
    }

    #[test]
    fn of_other_crates_only_warnings_are_written() {
        let lines = lines(LogFormat::Text, |control| {
            control.apply(&log(LogLevel::Trace, LogFormat::Text)).unwrap();
            tracing::info!(target: "hyper::proto", "a packet");
            tracing::warn!(target: "hyper::proto", "a fault");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("a fault"));
    }
}
