//! `tidegate check`: what a configuration means, or all that is wrong with it.

use std::{path::Path, process::ExitCode};

use super::{exit::Failure, output};
use crate::{app, config};

/// Explains the configuration at `path`.
pub(super) fn check(path: &Path) -> Result<ExitCode, Failure> {
    let checked = app::check(path);
    let (loaded, odd) =
        checked.map_err(|error| Failure::new(error.exit_code(), error.to_string()))?;
    let meaning = config::explain(&loaded.config);
    let mut text = format!("{} is good (hash {})\n\n{meaning}", path.display(), loaded.hash);
    odd.iter().for_each(|warning| text += &format!("\nwarning: {warning}\n"));
    output::print(&text)
}
