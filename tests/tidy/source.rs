//! Finds and reads the files that the rules look at.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file, by its path from the repository's root.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// A file that does not exist, for the tests of the rules.
    pub(crate) fn made_up(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.to_owned() }
    }

    /// The text without what stands behind `//`, and without the unit tests at its end.
    pub(crate) fn production_code(&self) -> String {
        // `tests.rs` and what lies in a folder `tests` is a module of tests, declared so by its parent.
        let path = self.path.to_string_lossy();
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            return String::new();
        }
        let tests = "#[cfg(test)]\nmod tests {";
        let text = self.text.find(tests).map_or(self.text.as_str(), |at| &self.text[..at]);
        without_comments(text)
    }

    /// The text without what stands behind `//`.
    pub(crate) fn code(&self) -> String {
        without_comments(&self.text)
    }
}

fn without_comments(text: &str) -> String {
    // A `//` inside a string, as in a URL, cuts the line short: harmless for rules that look for paths of code.
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// Reads one file that must be there.
pub(crate) fn read(path: &str) -> Source {
    let text = fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| unreadable(Path::new(path), &error));
    Source { path: path.into(), text }
}

/// Every Rust file below the folders that exist.
pub(crate) fn rust_below(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    found.retain(|source| source.path.extension().is_some_and(|extension| extension == "rs"));
    found
}

/// Every text file of the repository, but for what cargo and git keep for themselves.
pub(crate) fn all_text() -> Vec<Source> {
    let mut found = Vec::new();
    collect(root(), &mut found);
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap_or_else(|error| unreadable(folder, &error)).path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !matches!(name.as_ref(), "target" | ".git" | "__pycache__") {
                collect(&path, found);
            }
        } else if let Ok(text) = fs::read_to_string(&path)
            && name != ".git"
        {
            let path = path.strip_prefix(root()).unwrap_or(&path).to_owned();
            found.push(Source { path, text });
        }
    }
}

#[allow(clippy::panic, reason = "a file that cannot be read must fail the test that asked for it")]
fn unreadable(path: &Path, error: &std::io::Error) -> ! {
    panic!("{}: {error}", path.display())
}
