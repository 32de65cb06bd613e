//! What the black-box tests share: the real binary behind a made-up configuration, upstreams that record every byte,
//! and clients that send whatever bytes a test wants.
//!
//! Nothing here waits a fixed time: each wait is for an event, with [`PATIENCE`] as its limit.

pub(crate) mod admin;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod frames;
pub(crate) mod gate;
pub(crate) mod message;
pub(crate) mod relay;
pub(crate) mod setup;
pub(crate) mod tls;
pub(crate) mod upstream;

use std::time::{Duration, Instant};

/// Longest wait for an event that must come; long enough for a busy machine, and only ever used up by a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until `question` is answered, and gives the answer.
pub(crate) fn eventually<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
