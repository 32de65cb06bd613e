//! What can go wrong while Tidegate describes itself.

/// A fault of metrics or logs; none of them stops traffic.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Metrics cannot be described or encoded.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The process logs already.
    #[error("the log is set up twice in one process")]
    LogTwice,
    /// Nobody is there to write the log.
    #[error("no thread for the log: {0}")]
    LogThread(std::io::Error),
    /// The access log's file cannot be written.
    #[error("log.access.path {path}: {source}{}", way_to_write(source))]
    AccessLog {
        /// As configured.
        path: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// The log's level could not be changed.
    #[error("log level: {0}")]
    LogLevel(#[from] tracing_subscriber::reload::Error),
}

/// The way out after `error`, to be put behind it; empty where the error says it all.
fn way_to_write(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    if [NotFound, PermissionDenied].contains(&error.kind()) {
        "; make its folder writable, or name another file"
    } else {
        ""
    }
}
