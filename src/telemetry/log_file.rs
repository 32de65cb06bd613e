//! Where the access log is written, opened without ever waiting.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};

/// Opens what is at `path` to be added to: a file, which is made if there is none, a device such as a terminal, or a named
/// pipe that somebody reads.
///
/// # Errors
/// The system's; that it is something else; that nobody reads the pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    // A pipe without a reader would be waited for, and a terminal would become the process's own.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| said_of(path, error))?;
    let kind = file.metadata()?.file_type();
    if !(kind.is_file() || kind.is_char_device() || kind.is_fifo()) {
        return Err(io::Error::other(
            "neither a file, nor a terminal or the like, nor a named pipe",
        ));
    }
    // From here on the thread that writes may wait: nobody waits for it.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// In words, where the system's are of no help.
fn said_of(path: &Path, error: io::Error) -> io::Error {
    let unread = Errno::from_io_error(&error) == Some(Errno::NXIO)
        && path.metadata().is_ok_and(|found| found.file_type().is_fifo());
    if unread {
        io::Error::other("a named pipe that nobody reads; start its reader first")
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixListener,
        process::Command,
    };

    use super::*;

    fn pipe(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    #[test]
    fn a_pipe_is_opened_once_it_is_read_and_then_written_to_with_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = pipe(folder.path());
        let refused = open(&path).unwrap_err().to_string();
        assert_eq!(refused, "a named pipe that nobody reads; start its reader first");
        // Both ends, so that it opens at once, and has a reader.
        let mut reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut writer = open(&path).unwrap();
        // More than it holds.
        let writing = std::thread::spawn(move || writer.write_all(&[b'x'; 200_000]));
        reader.read_exact(&mut [0; 200_000]).unwrap();
        writing.join().unwrap().unwrap();
    }

    #[test]
    fn devices_and_files_are_taken_and_folders_and_sockets_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for good in [Path::new("/dev/null"), &at("new"), &at("new")] {
            open(good).unwrap().write_all(b"one\n").unwrap();
        }
        assert_eq!(std::fs::read_to_string(at("new")).unwrap(), "one\none\n");
        for bad in [folder.path(), &at("socket")] {
            open(bad).unwrap_err();
        }
    }
}
