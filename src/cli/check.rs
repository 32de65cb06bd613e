//! `tidegate check`: what a configuration means, or all that is wrong with it.

use std::{path::Path, process::ExitCode};

use super::{
    exit::{BAD_CONFIG, Failure},
    output,
};
use crate::config;

/// Explains the configuration at `path`.
pub(super) fn check(path: &Path) -> Result<ExitCode, Failure> {
    let loaded =
        config::load(path).map_err(|errors| Failure::new(BAD_CONFIG, errors.to_string()))?;
    let meaning = config::explain(&loaded.config);
    output::print(&format!("{} is good (hash {})\n\n{meaning}", path.display(), loaded.hash))
}
