//! How a command fails: a line on standard error that says what to do, and an exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use crate::{admin::client::ClientError, demo};

/// The request was understood, and refused.
pub(super) const REFUSED: u8 = 65;
/// No proxy answers.
pub(super) const NO_PROXY: u8 = 69;
/// It was done, and what it found is no.
pub(super) const DO_NOT: u8 = 1;
/// It went wrong here.
pub(super) const BROKEN: u8 = 1;

/// Why a command could not be carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// With this exit code, for this reason.
    Told(u8, String),
    /// Whoever read the output has gone, which is their right.
    Unread,
}

impl Failure {
    pub(super) fn new(code: u8, message: impl Into<String>) -> Self {
        Self::Told(code, message.into())
    }

    /// Says it, and ends with its code.
    pub(super) fn report(self) -> ExitCode {
        match self {
            Self::Told(code, message) => {
                let mut err = io::stderr().lock();
                for line in message.lines() {
                    // The exit code tells it too, and `eprintln!` would panic where nobody listens.
                    let _ = writeln!(err, "tidegate: {line}");
                }
                ExitCode::from(code)
            }
            Self::Unread => ExitCode::SUCCESS,
        }
    }
}

/// The code for the demo's end.
pub(super) fn of_demo(ending: demo::Ending) -> ExitCode {
    match ending {
        demo::Ending::Stopped | demo::Ending::Proven => ExitCode::SUCCESS,
        demo::Ending::Refuted => ExitCode::from(BROKEN),
    }
}

impl From<demo::Error> for Failure {
    fn from(error: demo::Error) -> Self {
        match error {
            demo::Error::App(error) => Self::new(error.exit_code(), error.to_string()),
            demo::Error::System(error) => error.into(),
            demo::Error::Admin(_) | demo::Error::Slow { .. } | demo::Error::Astray { .. } => {
                Self::new(BROKEN, error.to_string())
            }
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Refused { status, .. } if !status.is_server_error() => REFUSED,
            ClientError::Request(_) => REFUSED,
            ClientError::Json(_) => BROKEN,
            ClientError::Refused { .. }
            | ClientError::Forbidden(_)
            | ClientError::Unreachable { .. }
            | ClientError::Late { .. }
            | ClientError::Lost { .. }
            | ClientError::Endless => NO_PROXY,
        };
        Self::new(code, error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() == io::ErrorKind::BrokenPipe {
            true => Self::Unread,
            false => Self::new(BROKEN, error.to_string()),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(BROKEN, format!("unexpected JSON: {error}"))
    }
}
