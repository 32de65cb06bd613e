//! The process's limit of open files: a proxy needs two for each request, and shells grant few by default.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, which is all that the system grants this process. The limit in
/// force; `None` when there is none.
pub fn raise_limit() -> Option<u64> {
    let given = getrlimit(Resource::Nofile);
    if given.current == given.maximum {
        return given.current;
    }
    let wanted = Rlimit { current: given.maximum, maximum: given.maximum };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => given.maximum,
        Err(_) => given.current,
    }
}

/// The limit in force; `None` when there is none.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_rises_to_the_hard_one() {
        let limit = raise_limit();
        let now = getrlimit(Resource::Nofile);
        assert_eq!((now.current, now.current), (limit, now.maximum));
    }
}
