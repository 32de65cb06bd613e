//! Conditions: what is taken is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::domain::{Condition, condition::Externals};

fuzz_target!(|text: &str| {
    if let Ok(condition) = Condition::parse(text, Externals::Unchecked) {
        let written = condition.to_string();
        assert_eq!(Condition::parse(&written, Externals::Unchecked).ok(), Some(condition), "{written}");
    }
});
