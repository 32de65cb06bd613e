//! The head of a message: what is taken ends where another parser sees its end, and is framed in one way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proxy::fuzzing::{HEAD_BYTES, HEAD_LINES, TakenHead, read_head};

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (of_request, cut, bytes) = input;
    let whole = read_head(bytes, 0, of_request);
    let cut = usize::from(cut) % (bytes.len() + 1);
    // Which of several faults is told may depend on what has come; whether there is one does not.
    let parts = read_head(bytes, cut, of_request);
    assert_eq!(parts.as_ref().ok(), whole.as_ref().ok());
    match whole {
        Ok(Some(head)) => {
            assert!(head.length <= HEAD_BYTES && head.length <= bytes.len());
            // What comes behind it changes nothing.
            compare(&head, of_request);
            assert_eq!(read_head(&bytes[..head.length], 0, of_request), Ok(Some(head)));
        }
        Ok(None) => assert!(bytes.len() <= HEAD_BYTES),
        Err(why) => assert!(!why.is_empty()),
    }
});

/// Holds it against the parser of the HTTP library, which may refuse more, but must not read anything else.
fn compare(head: &TakenHead, of_request: bool) {
    let mut fields = [httparse::EMPTY_HEADER; HEAD_LINES];
    let (parsed, fields, status) = if of_request {
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&head.passed_on);
        (parsed, &*request.headers, 0)
    } else {
        let mut answer = httparse::Response::new(&mut fields);
        let parsed = answer.parse(&head.passed_on);
        (parsed, &*answer.headers, answer.code.unwrap_or(0))
    };
    let Ok(parsed) = parsed else { return };
    assert_eq!(parsed, httparse::Status::Complete(head.passed_on.len()));
    assert_eq!(status, head.status);
    let named = |name: &str| -> Vec<&[u8]> {
        let fields = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value.trim_ascii()).collect()
    };
    let lengths: Vec<Option<u64>> = named("content-length")
        .into_iter()
        .map(|value| std::str::from_utf8(value).ok()?.parse().ok())
        .collect();
    let expected: Vec<Option<u64>> = head.body.map(Some).into_iter().collect();
    assert_eq!(lengths, expected);
    let codings: Vec<_> = named("transfer-encoding").iter().map(|value| value.to_ascii_lowercase()).collect();
    let expected: Vec<_> = head.is_chunked.then(|| b"chunked".to_vec()).into_iter().collect();
    assert_eq!(codings, expected);
    assert!(!(head.is_chunked && head.body.is_some()));
}
