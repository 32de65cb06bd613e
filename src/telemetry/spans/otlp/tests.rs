//! What is written, byte for byte as the library that is generated from OpenTelemetry's definitions writes the same.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Begin of the first span's bytes, up to its name.
const SERVER: &str = "0a100af7651916cd43dd8448eb211c80319c1208b7ad6b7169203331220800000000000000ff2a0747455420\
                      61707030023901002a36fe9c9717412c012a36fe9c97174aa7010a0875726c2e70617468129a010a97012f";
/// After the path's letters.
const REST: &str = "4a0b0a04636f6465120318f7034a090a03796573120210017a021802850101030000";
const CLIENT: &str = "0a100af7651916cd43dd8448eb211c80319c120800000000000000012a0347455430033905000000000000\
                      00410500000000000000850101010000";

fn write_both(out: &mut Vec<u8>) {
    let server = Span {
        trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
        id: 0xb7ad_6b71_6920_3331,
        parent: Some(0xff),
        is_remote: true,
        kind: SpanKind::Server,
        name: format_args!("GET app"),
        start_ns: 1_700_000_000_000_000_001,
        end_ns: 1_700_000_000_000_000_300,
        is_error: true,
    };
    server.write(out, |say| {
        say.text("url.path", &format!("/{}", "a".repeat(150)));
        say.number("code", 503);
        say.truth("yes", true);
    });
    let client = Span {
        id: 1,
        parent: None,
        is_remote: false,
        kind: SpanKind::Client,
        name: format_args!("GET"),
        start_ns: 5,
        // A clock that went back makes no span that ends before it began.
        end_ns: 3,
        is_error: false,
        ..server
    };
    client.write(out, |_| {});
}

#[test]
fn a_request_is_written_as_the_definitions_have_it() {
    let mut spans = Vec::new();
    write_both(&mut spans);
    let server = format!("{SERVER}{}{REST}", "61".repeat(150));
    let both = format!("128f02{server}123b{CLIENT}");
    assert_eq!(hex(&spans), both);

    let (first, second) = spans.split_at(274);
    let body = request(|say| say.text("service.name", "gate"), [first, second].into_iter());
    let version = env!("CARGO_PKG_VERSION");
    let scope =
        format!("0a087469646567617465{:02x}{:02x}{}", 0x12, version.len(), hex(version.as_bytes()));
    let scope = format!("0a{:02x}{scope}", scope.len() / 2);
    let resource = "0a180a160a0c736572766963652e6e616d6512060a0467617465";
    let scope_spans = format!("{scope}{both}");
    let length = scope_spans.len() / 2;
    let inner = format!("{resource}12{:02x}{:02x}{scope_spans}", length & 0x7f | 0x80, length >> 7);
    let length = inner.len() / 2;
    assert_eq!(hex(&body), format!("0a{:02x}{:02x}{inner}", length & 0x7f | 0x80, length >> 7));
}

#[test]
fn what_a_client_sends_is_bounded_and_stays_text() {
    let mut out = Vec::new();
    let mut message = Message(&mut out);
    let mut say = Attributes { message: &mut message, field: 9 };
    say.text("k", &"ä".repeat(MAX_TEXT));
    say.lossy("k", &[0xff; 3 * MAX_TEXT]);
    assert!(out.len() < 2 * MAX_TEXT + 40, "{}", out.len());
    // Neither cut within a letter nor anything but UTF-8.
    let ends = out.iter().filter(|byte| **byte == 0xa4).count();
    assert_eq!(ends, MAX_TEXT / 2);
    assert!(out.ends_with("\u{fffd}".repeat(MAX_TEXT / 3).as_bytes()));
}

#[test]
fn an_answer_says_how_many_were_rejected() {
    let answer = |hex: &str| {
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        rejected(&bytes.collect::<Result<Vec<_>, _>>().unwrap())
    };
    assert_eq!(answer("0a0708ac0212026e6f"), 300);
    assert_eq!(answer("0a041202686d"), 0, "a warning alone rejects nothing");
    assert_eq!(answer(""), 0);
    // Unknown fields before it are passed over.
    assert_eq!(answer("1005190102030405060708251122334422017a0a0708ac0212026e6f"), 300);
    for broken in ["0a", "0aff", "0a0708ac", "0affffffffffffffffffff01", "0b", "08", "3c3f786d6c"] {
        assert_eq!(answer(broken), 0, "{broken}");
    }
}
