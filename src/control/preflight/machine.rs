//! The machine: disk, files, memory, processor, and whether programs can be run. Blocks on the disk.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    thread,
};

use rustix::fs::{Access, access, statvfs};

use super::evidence::Machine;
use crate::lifecycle::descriptors;

/// What is written to see whether it can be.
const TRIAL: [u8; 4096] = [0; 4096];

/// Looks at the machine, and at the folder of `state_file`.
pub(super) fn look(state_file: &Path) -> Machine {
    let folder = match state_file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let disk = statvfs(&folder).ok();
    Machine {
        writable: Some(try_to_write(&folder)),
        free_bytes: disk.as_ref().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        // Some file systems have no limit, and say zero of zero.
        free_files: disk.filter(|disk| disk.f_files > 0).map(|disk| disk.f_favail),
        state_folder: folder,
        descriptors: descriptors::limit(),
        available_memory: available_memory(),
        load: load(),
        cores: thread::available_parallelism().map_or(1, usize::from),
    }
}

fn try_to_write(folder: &Path) -> Result<(), String> {
    let path = folder.join(format!(".tidegate-preflight-{:016x}", fastrand::u64(..)));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .and_then(|mut file| file.write_all(&TRIAL).and_then(|()| file.sync_all()));
    // Whether there is one or not.
    let _ = fs::remove_file(&path);
    written.map_err(|error| error.to_string())
}

fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// Whether `program` can be run, as it would be: a path, or a name that is looked for in PATH.
pub(super) fn can_be_run(program: &str) -> Result<(), String> {
    if program.contains('/') {
        return executable(Path::new(program));
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).any(|folder| executable(&folder.join(program)).is_ok());
    if found { Ok(()) } else { Err(format!("{program} is in no folder of PATH")) }
}

fn executable(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let file = fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if !file.is_file() {
        return Err(format!("{shown} is no file"));
    }
    access(path, Access::EXEC_OK).map_err(|_| format!("{shown} may not be executed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_seen_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let machine = look(&folder.path().join("state.db"));
        assert_eq!(machine.writable, Some(Ok(())));
        assert!(machine.free_bytes.unwrap() > 0 && machine.available_memory.unwrap() > 0);
        assert!(machine.load.unwrap() >= 0.0 && machine.cores > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let machine = look(Path::new("/nowhere/at/all/state.db"));
        assert!(machine.writable.unwrap().unwrap_err().contains("No such file"));
        assert_eq!(machine.free_bytes, None);
    }

    #[test]
    fn a_program_is_a_file_that_may_be_executed() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        assert_eq!(can_be_run("sh"), Ok(()));
        assert_eq!(can_be_run("/bin/sh"), Ok(()));
        assert!(can_be_run("no-such-program").unwrap_err().contains("PATH"));
        assert!(can_be_run("/nowhere/sh").unwrap_err().contains("No such file"));
        assert!(can_be_run(folder.path().to_str().unwrap()).unwrap_err().contains("no file"));
        let why = can_be_run(plain.to_str().unwrap()).unwrap_err();
        assert!(why.contains("may not be executed"), "{why}");
    }
}
