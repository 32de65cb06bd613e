//! A program of an operator's: hooks and checks run it without a shell, in a process group of its own, with a deadline.
//!
//! Nothing of it is left behind when the deadline has passed or nobody waits for it any more: the whole group is ended. What
//! it leaves running after it has ended by itself is its own business. Only the end of its output is kept.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    process::{Child, Command},
};

use crate::{domain::is_steering, lifecycle::clock};

/// Bytes of output that are kept: the last ones, where errors stand.
const KEPT_OUTPUT: usize = 16 << 10;

/// After the polite signal, before the one that cannot be caught.
const GRACE: Duration = Duration::from_millis(500);

/// For what a program has written before it ended. What it left running may hold its output open for ever.
const LAST_OUTPUT: Duration = Duration::from_millis(100);

/// Longest value of a variable of the environment.
const MAX_VARIABLE: usize = 4 << 10;

/// What to run, and how long.
#[derive(Debug)]
pub(super) struct Program<'p> {
    /// Program and arguments.
    pub(super) words: &'p [Box<str>],
    /// Variables beside those of Tidegate's own environment.
    pub(super) environment: Vec<(&'static str, String)>,
    pub(super) timeout: Duration,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Well, or why not.
    pub(super) outcome: Result<(), String>,
    pub(super) took: Duration,
    /// The end of what it wrote, without characters that steer a terminal.
    pub(super) output: String,
}

impl Program<'_> {
    /// Runs it to its end.
    pub(super) async fn run(self) -> Ended {
        let began = clock::now();
        let mut output = Vec::new();
        let outcome = self.spawn_and_wait(&mut output).await;
        Ended { outcome, took: clock::now().since(began), output: shown(&output) }
    }

    async fn spawn_and_wait(&self, output: &mut Vec<u8>) -> Result<(), String> {
        let Running { mut child, group, mut reader } = self.spawn().await.map_err(|error| {
            let program = self.words.first().map_or("", |program| program);
            format!("{program:?} cannot be run: {error}")
        })?;
        let timeout = self.timeout;
        let ended = tokio::time::timeout(timeout, until_ended(&mut child, &mut reader, output));
        let status = match ended.await {
            Ok(status) => {
                // It is reaped: the group's number may be another's by now.
                group.forget();
                status.map_err(|error| error.to_string())?
            }
            Err(_) => {
                group.end(&mut child).await;
                drain(&mut reader, output).await;
                return Err(format!("ended after {} ms: out of time", timeout.as_millis()));
            }
        };
        drain(&mut reader, output).await;
        if status.success() { Ok(()) } else { Err(format!("ended with {status}")) }
    }

    async fn spawn(&self) -> io::Result<Running> {
        let (reader, writer) = io::pipe()?;
        let (program, arguments) = self.words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program.as_ref());
        command
            .args(arguments.iter().map(AsRef::as_ref))
            // Who speaks to the service manager, or takes its sockets, is Tidegate.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .envs(self.environment.iter().map(|(name, value)| (name, variable(value))))
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        // Beside the runtime: the program is read from a disk, which may hang. Who stops waiting meanwhile leaves a value
        // that ends the program.
        let started = tokio::task::spawn_blocking(move || {
            let child = command.spawn()?;
            let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
            // The command holds the writing ends: with it goes the last one of ours.
            drop(command);
            Ok(Running { group, child, reader: pipe::Receiver::from_owned_fd(reader.into())? })
        });
        started.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// A program that runs, and the reading end of its output.
struct Running {
    /// Dropped before `child`, whose number must still be taken then.
    group: Group,
    child: Child,
    reader: pipe::Receiver,
}

/// Reads until the program has ended.
async fn until_ended(
    child: &mut Child,
    reader: &mut pipe::Receiver,
    output: &mut Vec<u8>,
) -> io::Result<ExitStatus> {
    let mut buffer = [0; 4096];
    let mut open = true;
    loop {
        tokio::select! {
            status = child.wait() => return status,
            read = reader.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(count) => keep(output, &buffer[..count]),
            },
        }
    }
}

/// Reads what is left, as far as it is there.
async fn drain(reader: &mut pipe::Receiver, output: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    let deadline = clock::instant(clock::now() + LAST_OUTPUT);
    while let Ok(Ok(count @ 1..)) =
        tokio::time::timeout_at(deadline, reader.read(&mut buffer)).await
    {
        keep(output, &buffer[..count]);
    }
}

fn keep(output: &mut Vec<u8>, bytes: &[u8]) {
    output.extend_from_slice(bytes);
    if output.len() > 2 * KEPT_OUTPUT {
        output.drain(..output.len() - KEPT_OUTPUT);
    }
}

pub(super) fn shown(output: &[u8]) -> String {
    let kept = &output[output.len().saturating_sub(KEPT_OUTPUT)..];
    let text = String::from_utf8_lossy(kept);
    let plain = |c: char| if c != '\n' && c != '\t' && is_steering(c) { ' ' } else { c };
    text.trim_end().chars().map(plain).collect()
}

/// A value as an environment can hold it.
fn variable(value: &str) -> String {
    let mut end = value.len().min(MAX_VARIABLE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value[..end].replace('\0', " ")
}

/// The processes of a program; they are ended with this value.
struct Group(Option<Pid>);

impl Group {
    fn forget(mut self) {
        self.0 = None;
    }

    /// Ends them, politely first.
    async fn end(self, child: &mut Child) {
        self.signal(Signal::TERM);
        // Whether it ends or not: its group is ended, before the number can be another's.
        let _ = tokio::time::timeout(GRACE, wait_without_reaping(child)).await;
        self.signal(Signal::KILL);
        let _ = child.wait().await;
        self.forget();
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // Those that are gone need none.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Waits until nothing of the program is left to be waited for, and leaves its number taken.
async fn wait_without_reaping(child: &Child) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(id) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while let Ok(None) = waitid(WaitId::Pid(id), options) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    /// A program that the shell writes.
    pub(in crate::control) fn shell(script: &str) -> Vec<Box<str>> {
        ["sh", "-c", script].map(Box::from).to_vec()
    }

    async fn run(script: &str, timeout: Duration) -> Ended {
        let words = shell(script);
        let environment = vec![("TIDEGATE_REASON", "a\0b\nc".to_owned())];
        Program { words: &words, environment, timeout }.run().await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_it_says_and_how_it_ends_is_kept() {
        let ended = run("echo out; echo err >&2; printf \"$TIDEGATE_REASON\\033[1m\"", LONG).await;
        assert_eq!(ended.outcome, Ok(()));
        assert_eq!(ended.output, "out\nerr\na b\nc [1m");
        let ended = run("exit 3", LONG).await;
        assert_eq!(ended.outcome, Err("ended with exit status: 3".into()));
    }

    #[tokio::test]
    async fn only_the_end_of_much_output_is_kept() {
        let ended = run("head -c 200000 /dev/zero | tr '\\0' x; echo the end", LONG).await;
        assert_eq!(ended.outcome, Ok(()));
        assert!(ended.output.len() <= KEPT_OUTPUT && ended.output.ends_with("xthe end"));
    }

    #[tokio::test]
    async fn what_is_no_program_is_an_error_that_names_it() {
        let words = vec!["/nowhere/program".into()];
        let ended = Program { words: &words, environment: Vec::new(), timeout: LONG }.run().await;
        let why = ended.outcome.unwrap_err();
        assert!(why.contains("/nowhere/program") && why.contains("No such file"), "{why}");
    }

    /// Whether a process has ended; one that nobody has reaped yet has.
    fn is_over(id: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim()));
        stat.map_or(true, |stat| stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
    }

    async fn until_over(id: &str) {
        while !is_over(id) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn out_of_time_the_whole_group_is_ended() {
        // One that ignores the polite signal, and a child of its own that does so too.
        let script = "trap '' TERM; sleep 600 & echo $!; wait; sleep 600";
        let ended = run(script, Duration::from_millis(300)).await;
        assert_eq!(ended.outcome, Err("ended after 300 ms: out of time".into()));
        assert!(!ended.output.is_empty());
        until_over(&ended.output).await;
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        let words = shell(&format!("sleep 600 & echo $! > {}; wait", file.display()));
        let program = Program { words: &words, environment: Vec::new(), timeout: LONG };
        let running = program.run();
        let id = tokio::select! {
            _ = running => unreachable!("it sleeps"),
            id = async {
                loop {
                    match fs::read_to_string(&file) {
                        Ok(id) if id.ends_with('\n') => break id,
                        _ => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            } => id,
        };
        until_over(&id).await;
    }

    #[tokio::test]
    async fn what_it_leaves_running_does_not_hold_it_up() {
        let ended = run("sleep 600 & echo $!", LONG).await;
        assert_eq!(ended.outcome, Ok(()));
        assert!(ended.took < Duration::from_secs(30), "{:?}", ended.took);
        assert!(!is_over(&ended.output), "it is its own business");
        let id = Pid::from_raw(ended.output.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(id, Signal::KILL).unwrap();
    }
}
