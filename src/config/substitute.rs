//! `${NAME}` and `${NAME:-default}` from the environment, in any string and in place of any bare
//! value.
//!
//! It works on the text before TOML is parsed, so it follows TOML's lexical places: a comment is
//! left alone, a value is escaped for the quotes it lands in, and so no variable can add a key or
//! end a string. `$${` stands for `${`.

use std::ops::Range;

use super::fault::{Refusal, quote};

/// A text may not grow beyond this by substitution.
const MAX_BYTES: usize = 8 << 20;

/// What became of a text.
#[derive(Debug, Default)]
pub(super) struct Substituted {
    pub(super) text: String,
    pub(super) pieces: Vec<Piece>,
    pub(super) refused: Vec<Refused>,
}

/// A part of the text that was replaced.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) written: Range<usize>,
    pub(super) substituted: Range<usize>,
    /// Refused, and so still the reference itself.
    pub(super) unresolved: bool,
}

/// A reference that cannot be resolved, at a byte of the written text.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) at: usize,
    pub(super) refusal: Refusal,
}

/// Replaces every reference in `text`.
pub(super) fn substitute(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Substituted {
    let mut out = Substituted { text: String::with_capacity(text.len()), ..Default::default() };
    let (mut place, mut at) = (Place::Bare, 0);
    while at < text.len() {
        let rest = &text[at..];
        if place != Place::Comment && rest.starts_with("$${") {
            out.replace(at..at + 3, "${", false);
            at += 3;
            continue;
        }
        if place != Place::Comment && rest.starts_with("${") {
            at += out.resolve(at, text, place, env);
            if out.text.len() > MAX_BYTES {
                let message = format!("the text grows beyond {MAX_BYTES} bytes");
                out.refused.push(Refused { at, refusal: Refusal::new(message) });
                return out;
            }
            continue;
        }
        let step = place.step(rest);
        out.text.push_str(&rest[..step.bytes]);
        at += step.bytes;
        place = step.place;
    }
    out
}

impl Substituted {
    /// Replaces the reference at `at` and tells how many bytes of `text` it took.
    fn resolve(
        &mut self,
        at: usize,
        text: &str,
        place: Place,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> usize {
        let rest = &text[at..];
        let (reference, length) = match Reference::parse(rest, place) {
            Ok(found) => found,
            Err(refusal) => {
                self.refused.push(Refused { at, refusal });
                self.replace(at..at + 2, "${", true);
                return 2;
            }
        };
        let whole = reference.is_whole_value(&text[..at], &rest[length..]);
        let value = reference.value(env).and_then(|value| place.escape(&value, &reference, whole));
        match value {
            Ok(value) => self.replace(at..at + length, &value, false),
            Err(refusal) => {
                self.refused.push(Refused { at, refusal });
                let stand_in = if place == Place::Bare { "\"\"" } else { &rest[..length] };
                self.replace(at..at + length, stand_in, true);
            }
        }
        length
    }

    fn replace(&mut self, written: Range<usize>, value: &str, unresolved: bool) {
        let start = self.text.len();
        self.text.push_str(value);
        self.pieces.push(Piece { written, substituted: start..self.text.len(), unresolved });
    }
}

/// The inside of `${…}`.
struct Reference<'t> {
    name: &'t str,
    default: Option<&'t str>,
}

impl<'t> Reference<'t> {
    fn parse(rest: &'t str, place: Place) -> Result<(Self, usize), Refusal> {
        let Some(end) = place.end_of_reference(rest) else {
            let within = if place == Place::Bare { "on its line" } else { "in its string" };
            return Err(Refusal::new(format!("\"${{\" has no \"}}\" {within}"))
                .hint("write ${NAME} or ${NAME:-default}, and $${ for the characters themselves"));
        };
        let inside = &rest[2..end];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) || name.as_bytes()[0].is_ascii_digit() {
            return Err(Refusal::new(format!("{} is no variable's name", quote(name)))
                .hint("write ${NAME} or ${NAME:-default}, and $${ for the characters themselves"));
        }
        Ok((Self { name, default }, end + 1))
    }

    fn value(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Refusal> {
        env(self.name).or_else(|| self.default.map(str::to_owned)).ok_or_else(|| {
            Refusal::new(format!("the environment variable {} is not set", self.name))
                .hint(format!("set it, or give a default: ${{{}:-…}}", self.name))
        })
    }

    /// Outside quotes a reference must be a whole value: nothing but punctuation beside it.
    fn is_whole_value(&self, before: &str, after: &str) -> bool {
        let blank = [' ', '\t'];
        let before = before.trim_end_matches(blank).chars().next_back();
        let after = after.trim_start_matches(blank).chars().next();
        matches!(before, Some('=' | '[' | ',' | '\n'))
            && matches!(after, None | Some(',' | ']' | '}' | '#' | '\r' | '\n'))
    }
}

/// Where in TOML's grammar a character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Bare,
    Comment,
    Basic,
    Literal,
    LongBasic,
    LongLiteral,
}

struct Step {
    bytes: usize,
    place: Place,
}

impl Place {
    /// Past the next character, or the next delimiter.
    fn step(self, rest: &str) -> Step {
        let go = |bytes, place| Step { bytes, place };
        let one = rest.chars().next().map_or(1, char::len_utf8);
        let next = rest.as_bytes()[0];
        // A quote before the closing three belongs to the text.
        let closes = |three: &str, four: &str| rest.starts_with(three) && !rest.starts_with(four);
        match (self, next) {
            (Self::Bare, b'#') => go(1, Self::Comment),
            (Self::Bare, b'"') if rest.starts_with("\"\"\"") => go(3, Self::LongBasic),
            (Self::Bare, b'"') => go(1, Self::Basic),
            (Self::Bare, b'\'') if rest.starts_with("'''") => go(3, Self::LongLiteral),
            (Self::Bare, b'\'') => go(1, Self::Literal),
            (Self::Comment, b'\n') => go(1, Self::Bare),
            (Self::Basic | Self::LongBasic, b'\\') => {
                go(1 + rest[1..].chars().next().map_or(0, char::len_utf8), self)
            }
            (Self::Basic, b'"' | b'\n') | (Self::Literal, b'\'' | b'\n') => go(1, Self::Bare),
            (Self::LongBasic, b'"') if closes("\"\"\"", "\"\"\"\"") => go(3, Self::Bare),
            (Self::LongLiteral, b'\'') if closes("'''", "''''") => go(3, Self::Bare),
            _ => go(one, self),
        }
    }

    /// Where the reference's `}` stands: on its line, and before the string ends that it began in.
    fn end_of_reference(self, rest: &str) -> Option<usize> {
        let mut at = 2;
        loop {
            match rest.as_bytes().get(at)? {
                b'}' => return Some(at),
                b'\n' => return None,
                // A backslash of a default is one, and escapes nothing but what could end the string.
                b'\\' if !rest[at..].starts_with("\\\"") && !rest[at..].starts_with("\\\\") => {
                    at += 1;
                }
                _ => {
                    let step = self.step(&rest[at..]);
                    if self != Self::Bare && step.place != self {
                        return None;
                    }
                    at += step.bytes;
                }
            }
        }
    }

    /// `value` as this place writes it.
    fn escape(self, value: &str, from: &Reference<'_>, whole: bool) -> Result<String, Refusal> {
        match self {
            Self::Bare if !whole => Err(Refusal::new(format!(
                "${{{}}} stands outside quotes, beside other characters",
                from.name
            ))
            .hint("outside quotes it may only be a whole value; put the text in double quotes")),
            Self::Bare if is_bare_value(value) => Ok(value.to_owned()),
            Self::Bare => Ok(format!("\"{}\"", escape_basic(value))),
            Self::Basic | Self::LongBasic => Ok(escape_basic(value)),
            Self::Literal | Self::LongLiteral => {
                if value.contains('\'') || value.chars().any(char::is_control) {
                    return Err(Refusal::new(format!(
                        "the value of {} has a quote or a control character, which single quotes cannot hold",
                        from.name
                    ))
                    .hint("use double quotes here"));
                }
                Ok(value.to_owned())
            }
            Self::Comment => Ok(value.to_owned()),
        }
    }
}

/// Whether TOML reads `value` as a number or a boolean.
fn is_bare_value(value: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_');
    value.len() <= 64
        && value.bytes().all(plain)
        && toml::de::DeValue::parse(value).is_ok_and(|parsed| {
            let parsed = parsed.get_ref();
            parsed.is_integer() || parsed.is_float() || parsed.is_bool()
        })
}

fn escape_basic(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        let value = match name {
            "N" => "4",
            "TEXT" => "plain",
            "EVIL" => "x\"\ny = 1 # \\",
            "QUOTE" => "it's",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn replaced(text: &str) -> String {
        let out = substitute(text, &env);
        assert!(out.refused.is_empty(), "{:?}", out.refused);
        out.text
    }

    fn refused(text: &str) -> String {
        let out = substitute(text, &env);
        assert_eq!(out.refused.len(), 1, "{text}: {:?}", out.refused);
        format!("{}: {}", out.refused[0].at, out.refused[0].refusal.message)
    }

    #[test]
    fn strings_and_bare_values_take_variables_and_defaults() {
        assert_eq!(replaced("a = ${N}"), "a = 4");
        assert_eq!(replaced("a = ${TEXT}"), "a = \"plain\"");
        assert_eq!(replaced("a = [${N}, ${NONE:-true}]"), "a = [4, true]");
        assert_eq!(replaced("a = \"x-${TEXT}-${NONE:-}\""), "a = \"x-plain-\"");
        assert_eq!(replaced("a = '${TEXT}'"), "a = 'plain'");
        assert_eq!(replaced("a = \"${NONE:-C:\\}\""), "a = \"C:\\\\\"");
        assert_eq!(
            replaced("a = \"\"\"\n\"${TEXT}\"\"\"\"\nb = ${N}"),
            "a = \"\"\"\n\"plain\"\"\"\"\nb = 4"
        );
    }

    #[test]
    fn comments_escapes_and_lone_dollars_are_left_alone() {
        for text in ["# ${NONE}\na = 1", "a = \"$x $\" # '${NONE", "a = \"\\\"\" # ${NONE}"] {
            assert_eq!(replaced(text), text);
        }
        assert_eq!(replaced("a = \"$${NONE}\""), "a = \"${NONE}\"");
    }

    #[test]
    fn a_value_never_leaves_its_string() {
        for text in ["a = \"${EVIL}\"", "a = ${EVIL}", "a = \"\"\"${EVIL}\"\"\""] {
            let text = replaced(text);
            let table = toml::de::DeTable::parse(&text).unwrap();
            assert_eq!(table.get_ref().len(), 1);
            assert_eq!(table.get_ref()["a"].get_ref().as_str(), env("EVIL").as_deref());
        }
        assert!(refused("a = '${QUOTE}'").contains("single quotes cannot hold"));
    }

    #[test]
    fn what_cannot_be_resolved_is_refused_in_place() {
        assert!(refused("a = \"${NONE}\"").starts_with("5: the environment variable NONE"));
        assert!(refused("a = \"${N\"").contains("no \"}\" in its string"));
        assert!(refused("a = ${N\nb = \"}\"").contains("no \"}\" on its line"));
        for other in
            ["\"${N:-x\", b = \"}\"", "'${N:-x', b = '}'", "\"\"\"${N:-\"x\"\"\", b = \"}\""]
        {
            let told = refused(&format!("a = {{ c = {other} }}"));
            assert!(told.ends_with("in its string"), "{other}: {told}");
        }
        assert!(refused("a = \"${1X}\"").contains("no variable's name"));
        assert!(refused("[backend.${TEXT}]").contains("outside quotes"));
        assert!(refused("a = 1${N}").contains("outside quotes"));
    }
}
