//! Text with `$variables`, read once when the configuration is.
//!
//! `$name` is a variable and `$$` a dollar sign. `${name}` is not used: in the file it names the environment.

use std::fmt;

use http::HeaderName;

use super::variable::{Stage, Variable};
use crate::config::fault::{Refusal, nearest, quote};

/// Most characters of a template.
const MAX_CHARS: usize = 4096;

/// A text with places for what a request brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    written: Box<str>,
    segments: Box<[Segment]>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// As it is.
    Text(Box<str>),
    /// To be filled in.
    Variable(Variable),
}

impl Template {
    /// Reads `text`, to be filled in at `stage`.
    pub(super) fn parse(text: &str, stage: Stage) -> Result<Self, Refusal> {
        let template = Self::parse_with_groups(text, stage)?;
        if template.most_group().is_some() {
            return Err(Refusal::new(
                "there is no regular expression here whose groups could be used",
            )
            .hint("write $$ for a dollar sign"));
        }
        Ok(template)
    }

    /// Reads `text`, which may also name groups of a regular expression: `$0` to `$9`.
    pub(super) fn parse_with_groups(text: &str, stage: Stage) -> Result<Self, Refusal> {
        if text.chars().count() > MAX_CHARS || text.chars().any(char::is_control) {
            let message = format!("must have at most {MAX_CHARS} characters, none a control one");
            return Err(Refusal::new(message));
        }
        let (mut segments, mut plain) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let name = name_at(after);
            if !plain.is_empty() {
                segments.push(Segment::Text(std::mem::take(&mut plain).into()));
            }
            segments.push(Segment::Variable(variable(name, stage)?));
            rest = &after[name.len()..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            segments.push(Segment::Text(plain.into()));
        }
        Ok(Self { written: text.into(), segments: segments.into() })
    }

    /// Its parts, in order; no two texts are neighbours.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The text, if nothing is to be filled in.
    pub fn constant(&self) -> Option<&str> {
        match &*self.segments {
            [] => Some(""),
            [Segment::Text(text)] => Some(text),
            [Segment::Variable(_)] | [_, _, ..] => None,
        }
    }

    /// What is to be filled in.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Text(_) => None,
            Segment::Variable(variable) => Some(variable),
        })
    }

    /// The highest group that it names.
    pub(super) fn most_group(&self) -> Option<u8> {
        let group = |variable: &Variable| {
            if let Variable::Group(number) = variable { Some(*number) } else { None }
        };
        self.variables().filter_map(group).max()
    }

    /// Headers of the request that it needs.
    pub fn request_headers(&self) -> impl Iterator<Item = HeaderName> {
        self.variables().filter_map(Variable::request_header)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// The name at the begin of `text`: one digit, or as many letters, digits and underscores as there are.
fn name_at(text: &str) -> &str {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return &text[..1];
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

fn variable(name: &str, stage: Stage) -> Result<Variable, Refusal> {
    if name.is_empty() {
        return Err(Refusal::new("\"$\" has no name behind it")
            .hint("write $name for a variable, and $$ for the character itself"));
    }
    let Some(variable) = Variable::named(name) else {
        let known = Variable::names(stage);
        let refusal = Refusal::new(format!("there is no variable {}", quote(&format!("${name}"))));
        return Err(refusal.hint(match nearest(name, known) {
            Some(meant) => format!("did you mean \"${meant}\"? known: {}", Variable::list(stage)),
            None => format!("known here: {}", Variable::list(stage)),
        }));
    };
    if variable.stage() > stage {
        let message = format!("${name} is not known yet when this is filled in");
        let hint = format!("known here: {}", Variable::list(stage));
        return Err(Refusal::new(message).hint(hint));
    }
    Ok(variable)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Template, Refusal> {
        Template::parse(text, Stage::Ended)
    }

    #[test]
    fn a_template_is_taken_apart() {
        let template =
            Template::parse_with_groups("$remote_addr - [$http_x_a]$$5 $1a", Stage::Ended);
        let template = template.unwrap();
        let text = |text: &str| Segment::Text(text.into());
        let variable = |name| Segment::Variable(Variable::named(name).unwrap());
        let segments = [
            variable("remote_addr"),
            text(" - ["),
            variable("http_x_a"),
            text("]$5 "),
            variable("1"),
            text("a"),
        ];
        assert_eq!(template.segments(), segments);
    }

    #[test]
    fn a_misspelt_variable_is_told_with_what_was_meant() {
        let refusal = parse("$remote_adr").unwrap_err();
        assert!(refusal.message.contains("$remote_adr"), "{refusal:?}");
        let hint = refusal.hint.unwrap();
        assert!(hint.starts_with("did you mean \"$remote_addr\"?"), "{hint}");
        assert!(hint.contains("$body_bytes_sent") && hint.contains("$cookie_NAME"), "{hint}");
        assert!(parse("$1").unwrap_err().message.contains("groups"));
        assert!(parse("a $ b").unwrap_err().hint.unwrap().contains("$$"));
    }

    #[test]
    fn what_comes_later_is_refused() {
        let refusal = Template::parse("$status", Stage::Chosen).unwrap_err();
        assert!(refusal.message.contains("not known yet"), "{refusal:?}");
        assert!(Template::parse("$backend", Stage::Chosen).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn text_without_a_dollar_is_itself(text in "[^$\\p{Cc}]{0,60}") {
            let template = parse(&text).unwrap();
            prop_assert_eq!(template.constant(), Some(text.as_str()));
        }

        #[test]
        fn doubled_dollars_are_single_ones(text in "[a-z$ ]{0,40}") {
            let doubled = text.replace('$', "$$");
            let template = parse(&doubled).unwrap();
            prop_assert_eq!(template.constant(), Some(text.as_str()));
        }
    }
}
