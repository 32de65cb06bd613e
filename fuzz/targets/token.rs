//! The cookie's token: only what was issued is taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::decision::affinity::TokenKey;

fuzz_target!(|bytes: &[u8]| {
    let key = TokenKey::new(b"a key of the fuzz target's own");
    // Nobody finds a signature by chance.
    assert!(key.verify(bytes).is_none());
    let id = bytes.iter().take(8).fold(0_u64, |id, byte| id << 8 | u64::from(*byte));
    let issued = key.issue(id);
    assert!(key.verify(issued.as_str().as_bytes()).is_some());
});
