//! Standard output, with a reader who may leave at any time.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use super::exit::Failure;

/// Writes `text` at once, and is done.
pub(super) fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
