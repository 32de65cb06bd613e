//! A chunked body: what is taken ends where another parser sees its end, however the bytes come.
#![no_main]

use httparse::{EMPTY_HEADER, Status, parse_chunk_size, parse_headers};
use libfuzzer_sys::fuzz_target;
use tidegate::proxy::fuzzing::scan_chunks;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = scan_chunks(bytes, 0);
    let cut = usize::from(cut) % (bytes.len() + 1);
    // A fault behind the end is no fault: both ways stop there.
    assert_eq!(scan_chunks(bytes, cut), whole);
    let Some((taken, is_done)) = whole else { return };
    assert!(if is_done { taken <= bytes.len() } else { taken == bytes.len() });
    if is_done && let Some(end) = end_of(bytes) {
        assert_eq!(end, taken);
    }
});

/// Where the HTTP library's parser sees the end; `None` where it refuses the body.
fn end_of(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let Status::Complete((line, size)) = parse_chunk_size(&bytes[at..]).ok()? else {
            panic!("a size line has no end");
        };
        at += line;
        if size == 0 {
            break;
        }
        at += usize::try_from(size).expect("it is there") + 2;
    }
    let mut trailers = [EMPTY_HEADER; 256];
    match parse_headers(&bytes[at..], &mut trailers).ok()? {
        Status::Complete((length, _)) => Some(at + length),
        Status::Partial => panic!("the trailers have no end"),
    }
}
