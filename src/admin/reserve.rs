//! Descriptors kept back, so that operators are heard when the process has none left.
//!
//! Out of descriptors, the data plane waits for one of its own to be closed; an operator, who comes to see why, must not
//! wait with it. So a few are held open on nothing, given up one by one where a connection of the API cannot be accepted
//! otherwise, and taken again when it ends. Another thread may snatch what was given up: then the next one is.

use std::{
    fs::File,
    io,
    sync::{Mutex, PoisonError},
};

/// As many connections of operators as are heard at once in such times.
const SPARES: usize = 4;
/// No more descriptors for this process, and for the whole system.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// The spare descriptors.
#[derive(Debug, Default)]
pub(super) struct Reserve(Mutex<Vec<File>>);

impl Reserve {
    /// A full reserve, or as full as it can be made.
    pub(super) fn new() -> Self {
        let reserve = Self::default();
        reserve.fill();
        reserve
    }

    /// Takes back what was given up, as far as there is any.
    pub(super) fn fill(&self) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while spares.len() < SPARES {
            let Ok(spare) = File::open("/dev/null") else { return };
            spares.push(spare);
        }
    }

    /// Gives one up if that is what `error` is about; whether it is worth trying again at once.
    pub(super) fn relieves(&self, error: &io::Error) -> bool {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) && spares.pop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_relieves_of_one_lack_only_and_is_bounded() {
        let reserve = Reserve::new();
        assert!(!reserve.relieves(&io::Error::from(io::ErrorKind::ConnectionAborted)));
        let lack = io::Error::from_raw_os_error(EMFILE);
        for _ in 0..SPARES {
            assert!(reserve.relieves(&lack));
        }
        assert!(!reserve.relieves(&lack));
        reserve.fill();
        assert!(reserve.relieves(&lack));
    }
}
