//! The house guarded by a test: reads the sources and fails on what reviewers should not have to look for.
//!
//! Each rule is a pure function from a source to its faults, and has a test of its own that proves it can fail. What
//! clippy and rustfmt can say is left to them.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/packaging.rs"]
mod packaging;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use source::Source;

/// Fails with every fault of `rule` in `sources`, so that one run shows all of them.
fn assert_clean(sources: &[Source], rule: impl Fn(&Source) -> Vec<String>) {
    let faults: Vec<_> = sources
        .iter()
        .flat_map(|source| {
            rule(source).into_iter().map(|fault| format!("{}: {fault}", source.path.display()))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_only_go_down() {
    let sources = source::rust_below(&["src"]);
    assert!(!sources.is_empty(), "there is nothing to look at");
    assert_clean(&sources, layers::imports_beside_the_table);
}

#[test]
fn foreign_crates_stay_in_their_rooms() {
    assert_clean(&source::rust_below(&["src"]), layers::crates_out_of_their_room);
}

#[test]
fn files_and_functions_are_short_and_lines_narrow() {
    assert_clean(&source::rust_below(&["src", "tests", "benches"]), shape::too_long);
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_clean(&source::rust_below(&["src", "tests", "benches"]), shape::without_purpose);
}

#[test]
fn nothing_is_left_for_later() {
    assert_clean(&source::rust_below(&["src", "tests", "benches"]), shape::left_for_later);
}

#[test]
fn names_are_of_the_glossary() {
    assert_clean(&source::rust_below(&["src"]), shape::vague_names);
}

#[test]
fn main_is_a_doorway() {
    let main = source::read("src/main.rs");
    assert!(main.text.lines().count() < 40, "src/main.rs parses arguments, runs, and exits");
}

#[test]
fn no_path_of_a_developers_machine_is_in_the_repository() {
    assert_clean(&source::all_text(), shape::paths_of_a_machine);
}
