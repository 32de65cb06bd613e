//! This program as a person calls it from a shell.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

const NAME: &str = "tidegate";

/// The command that starts this very program in the present folder: its bare name where `PATH` leads to it, else its path.
pub(super) fn in_a_shell() -> String {
    let Ok(program) = env::current_exe() else { return NAME.to_owned() };
    if is_on_path(&program) {
        return NAME.to_owned();
    }
    quoted(&shortened(&program, env::current_dir().ok().as_deref()))
}

/// A path as one word of a shell's command.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn is_on_path(program: &Path) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    // The first of that name is the one a shell starts.
    let found = env::split_paths(&folders).map(|folder| folder.join(NAME)).find(|it| it.is_file());
    found.and_then(|found| fs::canonicalize(found).ok()).is_some_and(|found| found == program)
}

fn shortened(program: &Path, here: Option<&Path>) -> PathBuf {
    let below = here.and_then(|here| program.strip_prefix(here).ok());
    match below {
        // A bare name would be looked for on PATH.
        Some(below) if below.components().count() == 1 => Path::new(".").join(below),
        Some(below) => below.to_owned(),
        None => program.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_as_short_as_it_works() {
        let short = |path, here| shortened(Path::new(path), Some(Path::new(here)));
        assert_eq!(
            short("/src/target/release/tidegate", "/src"),
            Path::new("target/release/tidegate")
        );
        assert_eq!(short("/src/tidegate", "/src"), Path::new("./tidegate"));
        assert_eq!(short("/opt/tidegate", "/src"), Path::new("/opt/tidegate"));
    }

    #[test]
    fn a_shell_reads_a_path_as_one_word() {
        assert_eq!(quoted(Path::new("/tmp/a-1/b.sock")), "/tmp/a-1/b.sock");
        assert_eq!(quoted(Path::new("/tmp/it's $x")), r"'/tmp/it'\''s $x'");
    }
}
