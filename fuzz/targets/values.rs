//! What is read of single header values, and what foreign values become in logs and addresses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::{domain::is_steering, proxy::fuzzing};

fuzz_target!(|bytes: &[u8]| {
    if let Some(name) = fuzzing::host_name(bytes) {
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase() || b"/@\\ ,?#%".contains(&byte)));
        assert!(fuzzing::host_name(name.as_bytes()).is_none_or(|again| again.len() <= name.len()));
    }
    if let Some(value) = fuzzing::cookie_in(bytes, "a") {
        assert!(!value.contains(&b';') && value.len() + 2 <= bytes.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(value) = fuzzing::parameter(text, "a")
    {
        assert!(!value.contains(&b'&'));
    }
    // What a proxy in front appends is read whatever its client wrote.
    for (appended, client) in
        [(", for=192.0.2.1", "192.0.2.1"), (",proto=https;for=\"[2001:db8::1]:80\"", "2001:db8::1")]
    {
        let told = fuzzing::told_client(&[bytes, appended.as_bytes()].concat());
        assert!(told.is_none_or(|told| told.to_string() == client), "{told:?}");
    }
    let _ = fuzzing::told_client(bytes);
    if let Some(coding) = fuzzing::choose_coding(bytes) {
        // What was chosen was named, or everything was.
        let lower = bytes.to_ascii_lowercase();
        let named = |token: &str| lower.windows(token.len()).any(|part| part == token.as_bytes());
        assert!(named(coding.token()) || named("*"));
    }
    let [json, text] = fuzzing::escaped(bytes);
    let json = format!("\"{}\"", String::from_utf8(json).expect("JSON is UTF-8"));
    assert!(serde_json::from_str::<String>(&json).is_ok(), "{json}");
    assert!(!json.contains(is_steering));
    assert!(text.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'"'));
    let address = fuzzing::escaped_address(bytes);
    assert!(address.iter().all(u8::is_ascii_graphic));
});
