//! The predecessor's part of an upgrade: starts the new binary, lets it have sockets and state, and takes the state back when
//! it does not make it.
//!
//! Invariants: nothing is lost by a successor that fails, at whatever point; of the two, at most one judges; a socket is closed
//! only when the other has it.

use std::{
    env,
    ffi::OsString,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::net::unix::pipe;

use super::{shared_workers::SharedWorkers, successor_log::SuccessorLog, takeover::PREDECESSOR};
use crate::{
    admin::Heritage,
    control::{ControlHandle, LentState},
    lifecycle::{
        Tasks,
        handover::{Channel, Listening, MOST_DESCRIPTORS, SocketName, Word},
    },
    telemetry::{AccessLog, logging::LogControl},
};

/// Time for a successor to read and check its configuration.
const PREPARING: Duration = Duration::from_secs(30);
/// Time for it to open the state and to accept clients; nothing is judged meanwhile.
const TAKING_OVER: Duration = Duration::from_secs(20);

/// What a successor gets.
pub(super) struct Estate {
    pub(super) handle: ControlHandle,
    pub(super) workers: SharedWorkers,
    pub(super) admin: Heritage,
    pub(super) access: AccessLog,
    pub(super) log: LogControl,
    pub(super) tasks: Tasks,
}

/// Starts a successor and hands over to it; its process id. When that fails all is as it was.
///
/// # Errors
/// For people: why nobody took over.
pub(super) async fn upgrade(estate: &Estate) -> Result<u32, String> {
    // Dropped last: it goes back when nobody can have the file any more.
    let mut state = None;
    let mut successor = Successor::start(estate.log.clone())?;
    match hand_over(estate, &successor, &mut state).await {
        Ok(()) => Ok(successor.leave()),
        Err(why) => {
            let status = successor.end().await;
            drop(state);
            estate.admin.door.open();
            Err(format!("{why}{status}{}", successor.last_words().await))
        }
    }
}

async fn hand_over(
    estate: &Estate,
    successor: &Successor,
    state: &mut Option<LentState>,
) -> Result<(), String> {
    let channel = &successor.channel;
    pass_sockets(estate, channel)?;
    await_word(channel, &Word::Prepared, PREPARING).await?;
    let lent = estate.handle.lend_state().await?;
    let drained = lent.drained.clone();
    *state = Some(lent);
    estate.admin.door.shut();
    say(channel, &Word::Released { drained }, &[])?;
    await_word(channel, &Word::Ready, TAKING_OVER).await?;
    // Without systemd there is nobody to tell. It takes the word of its main process alone, so this comes first.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::MainPid(successor.id())]);
    // It has begun to serve, and goes on whether or not it hears this.
    let _ = channel.say(&Word::Yours, &[]);
    estate.admin.door.leave();
    if let Some(state) = state.take() {
        estate.tasks.spawn("successor", tell(state, channel.clone()));
    }
    Ok(())
}

/// Tells the successor what still happens to this process.
fn tell(state: LentState, channel: Listening) -> impl Future<Output = ()> {
    let mut events = state.give_away();
    async move {
        while let Some(event) = events.recv().await {
            if let Ok(event) = serde_json::to_value(&event) {
                // One that has ended keeps nothing; the log has it.
                let _ = channel.say(&Word::Event(event), &[]);
            }
        }
    }
}

fn say(channel: &Listening, word: &Word, descriptors: &[BorrowedFd<'_>]) -> Result<(), String> {
    channel.say(word, descriptors).map_err(|error| format!("it does not listen: {error}"))
}

async fn await_word(channel: &Listening, wanted: &Word, patience: Duration) -> Result<(), String> {
    match tokio::time::timeout(patience, channel.hear()).await {
        Ok(Ok(Some(word))) if word == *wanted => Ok(()),
        Ok(Ok(Some(_))) => Err("it does not speak of an upgrade as this version does".to_owned()),
        Ok(Ok(None)) => Err("it has ended".to_owned()),
        Ok(Err(error)) => Err(format!("it cannot be understood: {error}")),
        Err(_) => Err(format!("it was not ready within {} s", patience.as_secs())),
    }
}

/// A process that is to take over.
struct Successor {
    child: Unready,
    channel: Listening,
    log: SuccessorLog,
}

impl Successor {
    /// Starts the program as this process was started: the same name, looked up anew, and the same arguments.
    fn start(ours: LogControl) -> Result<Self, String> {
        let mut words = env::args_os();
        let program = words.next().ok_or("the program's own name is not known")?;
        let (channel, theirs) = Channel::pair().map_err(|error| error.to_string())?;
        let child = spawn(&program, words, theirs)
            .map_err(|error| format!("{} cannot be started: {error}", program.to_string_lossy()))?;
        let mut child = Unready(Some(child));
        let channel = Listening::on(channel).map_err(|error| error.to_string())?;
        let log = child.0.as_mut().and_then(|child| child.stderr.take()).map(OwnedFd::from);
        let log = log.ok_or("its log cannot be read")?;
        let log = pipe::Receiver::from_owned_fd(log).map_err(|error| error.to_string())?;
        Ok(Self { child, channel, log: SuccessorLog::start(log, ours) })
    }

    fn id(&self) -> u32 {
        self.child.0.as_ref().map_or(0, Child::id)
    }

    /// Lets it go on by itself.
    fn leave(&mut self) -> u32 {
        self.child.0.take().map_or(0, |child| child.id())
    }

    /// Ends it for good; how it had ended by itself, if it had.
    async fn end(&mut self) -> String {
        const LOOKS: usize = 30;
        const PAUSE: Duration = Duration::from_millis(10);
        let mut ended = None;
        for _ in 0..LOOKS {
            // Its end of the channel may close a moment before its status is known.
            ended = self.child.0.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.child.0.take().iter_mut().for_each(kill);
        ended.map(|status| format!(" ({status})")).unwrap_or_default()
    }

    /// The end of its log.
    async fn last_words(self) -> String {
        let lines = self.log.last_words().await;
        if lines.is_empty() {
            String::new()
        } else {
            format!("; its last lines: {}", lines.join(" | "))
        }
    }
}

/// A process that is killed unless it is taken out.
struct Unready(Option<Child>);

impl Drop for Unready {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(kill);
    }
}

/// Ends a process for good: on return it holds nothing any more.
fn kill(child: &mut Child) {
    // One that has ended already is as dead.
    let _ = child.kill();
    let _ = child.wait();
}

fn spawn(
    program: &OsString,
    arguments: impl Iterator<Item = OsString>,
    channel: OwnedFd,
) -> io::Result<Child> {
    let mut command = Command::new(program);
    command.args(arguments).env(PREDECESSOR, std::process::id().to_string());
    for theirs in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        command.env_remove(theirs);
    }
    command.stdin(channel).stderr(Stdio::piped()).spawn()
}

/// Passes all listening sockets, and where the log goes.
fn pass_sockets(estate: &Estate, channel: &Listening) -> Result<(), String> {
    let workers = estate.workers.lock();
    let log = io::stderr();
    // A closed standard error is one that the successor need not have.
    let log = log.as_fd().try_clone_to_owned().ok();
    let log = log.as_ref().map(|log| (SocketName::Log, log.as_fd()));
    let listeners =
        workers.sockets().map(|(address, socket)| (SocketName::Listener(address), socket.as_fd()));
    let admin = estate.admin.sockets.iter();
    let admin = admin.map(|(name, socket)| (name.clone(), socket.as_fd()));
    let (names, sockets): (Vec<_>, Vec<_>) = log.into_iter().chain(listeners).chain(admin).unzip();
    let packets = names.chunks(MOST_DESCRIPTORS).zip(sockets.chunks(MOST_DESCRIPTORS));
    for (names, sockets) in packets {
        say(channel, &Word::Sockets(names.to_vec()), sockets)?;
    }
    say(channel, &Word::Begin, &[])
}
