//! Why there is no configuration.

use std::{fmt, io, path::PathBuf};

use super::fault::Fault;

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration {} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes read.
        limit: u64,
    },
    /// What stands in it is wrong.
    #[error("{}", Listing { file, faults, omitted: *omitted })]
    Faulty {
        /// The file, as it was named.
        file: String,
        /// In the order of the file; at least one.
        faults: Vec<Fault>,
        /// Further faults that are not told one by one.
        omitted: usize,
    },
}

impl ConfigErrors {
    /// One text for each thing that is wrong, as the admin API lists them.
    pub fn messages(&self) -> Vec<String> {
        match self {
            Self::Unreadable { .. } | Self::TooLarge { .. } => vec![self.to_string()],
            Self::Faulty { file, faults, omitted } => {
                let told = faults.iter().map(|fault| format!("{file}:{fault}"));
                let rest = (*omitted > 0).then(|| format!("{file}: and {omitted} more"));
                told.chain(rest).collect()
            }
        }
    }
}

struct Listing<'e> {
    file: &'e str,
    faults: &'e [Fault],
    omitted: usize,
}

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{}:{fault}", self.file)?;
        }
        match self.omitted {
            0 => Ok(()),
            more => write!(f, "\n{}: and {more} more", self.file),
        }
    }
}
