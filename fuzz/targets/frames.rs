//! Frames of a WebSocket and of HTTP/2, which are counted as they go by: however the bytes come, the count is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proxy::fuzzing::{count_frames, pass_frames};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let cut = usize::from(cut) % (bytes.len() + 1);
    let next = &bytes[cut..];
    assert_eq!(pass_frames(bytes, cut, next), pass_frames(bytes, 0, next));
    // A frame that has begun, or begins, never claims more than there is.
    let (_, claimed) = pass_frames(&bytes[..cut], 0, next);
    assert!(claimed <= next.len() && (claimed > 0 || next.is_empty()));
    // A budget that runs out may run out of either kind first.
    assert_eq!(count_frames(bytes, cut), count_frames(bytes, 0));
});
