//! How long, how wide, and with which words.

use crate::source::Source;

const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 70;
/// rustfmt holds code to 100; what it does not break, comments and messages, gets this much room.
const MAX_COLUMNS: usize = 130;

/// Files that may be longer, each with its reason. Empty is best.
const LONG_FILES: &[(&str, &str)] = &[];

/// Words for work that was not done. Written apart, so that this file does not hold them.
const LEFT_FOR_LATER: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Beginnings of paths that exist on one machine only.
const PATHS_OF_A_MACHINE: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Endings of type names that say nothing.
const VAGUE: &[&str] = &["Manager", "Helper", "Util", "Utils", "Info"];

/// Files, functions and lines beyond their measure.
pub(crate) fn too_long(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let lines: Vec<_> = source.text.lines().collect();
    let excused = LONG_FILES.iter().any(|(path, _)| source.path.ends_with(path));
    if lines.len() > MAX_FILE_LINES && !excused {
        faults.push(format!("{} lines, {MAX_FILE_LINES} at most", lines.len()));
    }
    for (at, line) in lines.iter().enumerate() {
        let columns = line.chars().count();
        if columns > MAX_COLUMNS {
            faults.push(format!("line {}: {columns} columns, {MAX_COLUMNS} at most", at + 1));
        }
        if let Some(length) = function_length(&lines[at..])
            && length > MAX_FUNCTION_LINES
        {
            let name = line.trim();
            let place = at + 1;
            faults.push(format!(
                "line {place}: {length} lines in `{name}`, {MAX_FUNCTION_LINES} at most"
            ));
        }
    }
    faults
}

/// Lines of the function that begins in the first line, if one does. rustfmt puts its last brace under its first word.
fn function_length(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    let (before, _) = first.trim_start().split_once("fn ")?;
    let qualifier = |word: &str| word.starts_with("pub") || matches!(word, "const" | "async");
    if !before.split_whitespace().all(qualifier) || first.ends_with(['}', ';']) {
        return None;
    }
    let indent = first.len() - first.trim_start().len();
    let same_indent = |line: &str| line.len() - line.trim_start().len() == indent;
    let ends = |line: &str| line.trim_start().starts_with('}') || line.ends_with(';');
    let last = lines.iter().position(|line| same_indent(line) && ends(line))?;
    lines[last].trim_start().starts_with('}').then_some(last + 1)
}

/// Files that do not begin with `//!`.
pub(crate) fn without_purpose(source: &Source) -> Vec<String> {
    let begins = source.text.starts_with("//! ");
    if begins { Vec::new() } else { vec!["does not begin with `//! ` and what it is for".into()] }
}

/// Marks of unfinished work.
pub(crate) fn left_for_later(source: &Source) -> Vec<String> {
    lines_with(source, LEFT_FOR_LATER)
}

/// Paths that mean something on one machine only.
pub(crate) fn paths_of_a_machine(source: &Source) -> Vec<String> {
    lines_with(source, PATHS_OF_A_MACHINE)
}

fn lines_with(source: &Source, words: &[&str]) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    lines
        .flat_map(|(at, line)| {
            words.iter().filter(|word| line.contains(**word)).map(move |word| (at, word))
        })
        .map(|(at, word)| format!("line {}: {word}", at + 1))
        .collect()
}

/// Types whose name ends in a word without meaning, and functions that `get_`.
pub(crate) fn vague_names(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        while let Some(word) = words.next() {
            let names_type = matches!(word, "struct" | "enum" | "trait");
            if !names_type && word != "fn" {
                continue;
            }
            let Some(name) = words.next() else { break };
            let vague = names_type && VAGUE.iter().any(|ending| name.ends_with(ending));
            if vague || name.starts_with("get_") {
                faults.push(format!("line {}: {name} says nothing", at + 1));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up(text: &str) -> Source {
        Source::made_up("src/proxy/a.rs", text)
    }

    #[test]
    fn a_long_file_is_seen() {
        assert_eq!(too_long(&made_up(&"\n".repeat(MAX_FILE_LINES))).len(), 0);
        assert_eq!(too_long(&made_up(&"\n".repeat(MAX_FILE_LINES + 1))).len(), 1);
    }

    #[test]
    fn a_wide_line_is_seen() {
        assert_eq!(too_long(&made_up(&"é".repeat(MAX_COLUMNS))).len(), 0);
        assert_eq!(too_long(&made_up(&"é".repeat(MAX_COLUMNS + 1))).len(), 1);
    }

    #[test]
    fn a_long_function_is_seen() {
        let body = |lines: usize| {
            format!("    pub(crate) async fn f(\n{}    }}\n", "        g();\n".repeat(lines))
        };
        assert_eq!(too_long(&made_up(&body(MAX_FUNCTION_LINES - 2))).len(), 0);
        assert_eq!(too_long(&made_up(&body(MAX_FUNCTION_LINES - 1))).len(), 1);
    }

    #[test]
    fn a_signature_without_body_has_no_length() {
        assert_eq!(function_length(&["    fn f(&self);", "}"]), None);
        assert_eq!(function_length(&["fn f() {}"]), None);
        assert_eq!(function_length(&["fn f() {", "}"]), Some(2));
    }

    #[test]
    fn a_file_without_purpose_is_seen() {
        assert_eq!(without_purpose(&made_up("use std::fs;")).len(), 1);
        assert_eq!(without_purpose(&made_up("//! The gate.")).len(), 0);
    }

    #[test]
    fn unfinished_work_is_seen() {
        for word in LEFT_FOR_LATER {
            assert_eq!(left_for_later(&made_up(&format!("//! x\n  {word} later"))).len(), 1);
        }
        assert_eq!(left_for_later(&made_up("//! done")).len(), 0);
    }

    #[test]
    fn a_path_of_a_machine_is_seen() {
        for path in PATHS_OF_A_MACHINE {
            assert_eq!(paths_of_a_machine(&made_up(&format!("see {path}x"))).len(), 1);
        }
        assert_eq!(paths_of_a_machine(&made_up("see /etc/tidegate")).len(), 0);
    }

    #[test]
    fn a_vague_name_is_seen() {
        for bad in ["pub struct PoolManager {", "enum TableInfo {", "pub(crate) fn get_weight("] {
            assert_eq!(vague_names(&made_up(bad)).len(), 1, "{bad}");
        }
        for good in ["pub struct Pool {", "fn information(", "fn target_of(", "impl Manager for X"]
        {
            assert_eq!(vague_names(&made_up(good)).len(), 0, "{good}");
        }
    }
}
