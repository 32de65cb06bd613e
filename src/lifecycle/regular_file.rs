//! Small files that operators name: keys and tokens.
//!
//! What the name leads to may be anything, and some of it never ends or never begins: a pipe without a writer, a terminal,
//! a device. So only regular files are read, and opening them waits for nobody.

use std::{
    fs::OpenOptions,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

/// The bytes of the regular file at `path`. Blocks as long as its disk does.
///
/// # Errors
/// The system's; that it is something else than a file; that it is longer than `longest` bytes.
pub fn read_regular(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    // A pipe without a writer would be waited for, and a terminal would become the process's own.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!("longer than {longest} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        assert!(read_regular(&path, 4).unwrap_err().to_string().contains("longer than 4"));
    }

    #[test]
    fn whatever_else_there_is_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for other in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            let refused = read_regular(other, 100).unwrap_err().to_string();
            assert_eq!(refused, "not a regular file", "{}", other.display());
        }
    }
}
