//! An endpoint's answer: however its bytes come it is the same, and what is taken says what another parser reads.
#![no_main]

use httparse::{EMPTY_HEADER, Response, Status, parse_chunk_size};
use libfuzzer_sys::fuzz_target;
use tidegate::proxy::fuzzing::{ReadAnswer, read_answer};

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (to_head, cut, bytes) = input;
    let whole = read_answer(bytes, 0, to_head);
    let cut = usize::from(cut) % (bytes.len() + 1);
    assert_eq!(read_answer(bytes, cut, to_head).ok(), whole.as_ref().ok().cloned());
    let Ok(Some(answer)) = whole else { return };
    let length = answer.body.len() + answer.surplus;
    assert!(answer.head + length <= bytes.len());
    compare(&answer, bytes);
});

/// Holds it against the parser of the HTTP library, which may refuse more, but must not read anything else.
fn compare(answer: &ReadAnswer, bytes: &[u8]) {
    let mut fields = [EMPTY_HEADER; 128];
    let mut other = Response::new(&mut fields);
    let Ok(parsed) = other.parse(bytes) else { return };
    assert_eq!(parsed, Status::Complete(answer.head));
    assert_eq!(other.code, Some(answer.status));
    let mut lines: Vec<_> = other
        .headers
        .iter()
        .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))
        // One line is left out on purpose: it says what is so anyway.
        .filter(|(name, value)| !(name == "connection" && value.eq_ignore_ascii_case(b"keep-alive")))
        .collect();
    let mut taken: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, value)| !(name == "connection" && value.eq_ignore_ascii_case(b"keep-alive")))
        .cloned()
        .collect();
    lines.sort();
    taken.sort();
    assert_eq!(taken, lines);
    let chunked = lines.iter().any(|(name, _)| name == "transfer-encoding");
    if chunked && answer.is_ended && !answer.body.is_empty() {
        let body = decoded(&bytes[answer.head..]);
        assert!(body.is_none_or(|body| body == answer.body));
    }
}

/// The data of a chunked body; `None` where the library's parser refuses it.
fn decoded(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let Status::Complete((line, size)) = parse_chunk_size(bytes).ok()? else {
            panic!("a size line has no end");
        };
        let size = usize::try_from(size).expect("it is there");
        if size == 0 {
            return Some(data);
        }
        data.extend_from_slice(&bytes[line..line + size]);
        bytes = &bytes[line + size + 2..];
    }
}
