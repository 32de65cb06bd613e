//! The PROXY protocol's header: never longer than its bound, and the same whatever comes behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proxy::proxy_header::{MOST, Parsed, parse};

fuzz_target!(|bytes: &[u8]| {
    match parse(bytes) {
        Parsed::Complete { length, .. } => {
            assert!(length <= MOST && length <= bytes.len());
            assert_eq!(parse(&bytes[..length]), parse(bytes));
        }
        Parsed::Partial(more) => assert!(more > 0 && bytes.len() + more <= MOST),
        Parsed::Malformed(_) => {}
    }
});
