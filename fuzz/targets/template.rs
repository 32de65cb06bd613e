//! Texts with `$variables`: the access log's line, values of headers, a rewritten path, a redirect's address.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::config;

/// A configuration with a place for the text in each of its uses.
const USES: [&str; 4] = [
    "[log.access]\nformat = VALUE\n[[route]]\nname = \"a\"\nsplit = { blue = 100 }\n",
    "[[route]]\nname = \"a\"\nsplit = { blue = 100 }\n\
     headers = { request_set = { x-a = VALUE }, response_set = { x-b = VALUE } }\n",
    "[[route]]\nname = \"a\"\nsplit = { blue = 100 }\nrewrite = { regex = \"^/(.*)/(b)$\", to = VALUE }\n",
    "[[route]]\nname = \"a\"\npath = \"~ ^/(.*)/(b)$\"\nredirect = { to = VALUE }\n",
];
const REST: &str = "[[listener]]\nbind = \"127.0.0.1:1\"\n[backend.blue]\nendpoints = [\"127.0.0.1:2\"]\n";

fuzz_target!(|input: (u8, &str)| {
    let (place, text) = input;
    let place = USES[usize::from(place) % USES.len()];
    let text = place.replace("VALUE", &quoted(text)) + REST;
    match config::parse(&text, "fuzz.toml", &|_| None) {
        Ok(config) => {
            let _ = config::warnings(&config);
        }
        Err(faults) => {
            let told = faults.to_string();
            assert!(!told.contains("syntax: "), "{told}");
        }
    }
});

/// A TOML string.
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
