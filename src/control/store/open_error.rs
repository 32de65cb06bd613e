//! Why the state file is not open.

use std::io;

use super::{database::DatabaseError, place::LockError};

/// Why a file could not be opened, after damage has been seen to.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("another process has taken it")]
    InUse,
    #[error("{0}")]
    Newer(String),
    #[error("{0}")]
    Unavailable(String),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<LockError> for OpenError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::InUse => Self::InUse,
            LockError::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        let why = error.to_string();
        match error {
            DatabaseError::Newer(_) => Self::Newer(why),
            DatabaseError::Damaged(_) | DatabaseError::Unavailable(_) => Self::Unavailable(why),
        }
    }
}
