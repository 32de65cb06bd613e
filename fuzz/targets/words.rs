//! The small languages of the configuration: durations, weights, addresses, places in JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::{
    config::JsonPath,
    domain::{EndpointAddress, Weight, format_duration, parse_duration},
};

fuzz_target!(|text: &str| {
    if let Some(duration) = parse_duration(text) {
        assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
    }
    if let Ok(weight) = text.parse::<Weight>() {
        assert_eq!(weight.to_string().parse::<Weight>().ok(), Some(weight));
    }
    if let Ok(address) = text.parse::<EndpointAddress>() {
        assert_eq!(address.as_str().parse::<EndpointAddress>().ok(), Some(address));
    }
    if let Some(path) = JsonPath::parse(text) {
        assert_eq!(JsonPath::parse(&path.to_string()), Some(path));
    }
});
