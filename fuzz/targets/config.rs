//! The configuration: any text is a configuration or a list of faults.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::config;

fuzz_target!(|text: &str| {
    match config::parse(text, "fuzz.toml", &|_| None) {
        Ok(config) => {
            let _ = config::warnings(&config);
        }
        Err(faults) => assert!(!faults.to_string().is_empty()),
    }
});
