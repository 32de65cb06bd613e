//! The successor's part of an upgrade, and the service manager's sockets: what a process begins with that it did not make.

use std::{
    env, io,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use super::Error;
use crate::{
    admin::AdminError,
    config::Config,
    control::DrainedEndpoint,
    lifecycle::{
        PassedSockets, Tasks,
        handover::{self, Channel, Listening, SocketName, Word},
    },
    proxy::ListenError,
    telemetry::{Event, EventSink},
};

/// Names the process that started this one as its successor.
pub(super) const PREDECESSOR: &str = "TIDEGATE_PREDECESSOR";
/// Longest wait for the predecessor's next word; its own patience is shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process begins with.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    /// Sockets of another's making.
    pub(super) sockets: PassedSockets,
    predecessor: Option<Predecessor>,
}

#[derive(Debug)]
struct Predecessor {
    process_id: i32,
    channel: Channel,
    /// Where the log goes; until then it goes through the predecessor.
    log: Option<OwnedFd>,
}

impl Takeover {
    /// By the environment: from a predecessor, or from a service manager, or nothing. Blocks.
    ///
    /// # Errors
    /// When what is passed cannot be taken.
    pub(super) fn begin() -> io::Result<Self> {
        let process_id = env::var(PREDECESSOR).ok().and_then(|text| text.parse().ok());
        // Another process's variable comes down to whatever that starts.
        match process_id.filter(|id| Some(*id) == handover::parent()) {
            None => {
                let sockets = PassedSockets::of_service_manager()?;
                Ok(Self { sockets, predecessor: None })
            }
            Some(process_id) => Self::from_predecessor(process_id),
        }
    }

    fn from_predecessor(process_id: i32) -> io::Result<Self> {
        let channel = Channel::of(io::stdin().as_fd().try_clone_to_owned()?);
        // So that the channel ends with its one end.
        handover::leave_stdin()?;
        channel.set_patience(PATIENCE)?;
        let (mut sockets, mut log) = (PassedSockets::default(), None);
        loop {
            match channel.hear()? {
                Some((Word::Sockets(names), descriptors)) => {
                    for (name, descriptor) in names.into_iter().zip(descriptors) {
                        if name == SocketName::Log {
                            log = Some(descriptor);
                        } else {
                            sockets.add(name, descriptor);
                        }
                    }
                }
                Some((Word::Begin, _)) => break,
                other => return Err(unexpected(other.map(|(word, _)| word).as_ref())),
            }
        }
        let predecessor = Some(Predecessor { process_id, channel, log });
        Ok(Self { sockets, predecessor })
    }

    /// The process that it takes over from.
    pub(super) fn predecessor(&self) -> Option<i32> {
        self.predecessor.as_ref().map(|predecessor| predecessor.process_id)
    }

    /// The service manager's sockets that `config` has no use for. What a predecessor passes fitted its own configuration.
    pub(super) fn misfits(&self, config: &Config) -> Misfits {
        if self.predecessor.is_some() {
            return Misfits(Vec::new());
        }
        let binds = config.listeners.iter().map(|listener| listener.bind);
        let wanted: Vec<_> = binds.chain(config.admin.listen).collect();
        Misfits(self.sockets.misfits(|address| wanted.contains(&address)))
    }

    /// Says that the configuration is good, and waits for the state, of which the endpoints that were taken out are not in
    /// the file. Blocks.
    ///
    /// # Errors
    /// When the predecessor keeps it.
    pub(super) fn await_state(&self) -> io::Result<Vec<DrainedEndpoint>> {
        let Some(predecessor) = &self.predecessor else { return Ok(Vec::new()) };
        predecessor.channel.say(&Word::Prepared, &[])?;
        match predecessor.channel.hear()? {
            Some((Word::Released { drained }, _)) => Ok(drained),
            other => Err(unexpected(other.map(|(word, _)| word).as_ref())),
        }
    }

    /// Says that clients are accepted, and waits until all else is this process's, too. Blocks.
    pub(super) fn finish(self) -> Option<Succession> {
        let Predecessor { process_id, channel, log } = self.predecessor?;
        if let Some(log) = log {
            // If it cannot be had, the log ends with the predecessor, and traffic does not.
            let _ = handover::become_stderr(&log);
        }
        // A predecessor that has ended meanwhile has nothing left to hand over.
        let _ = channel.say(&Word::Ready, &[]);
        let _ = channel.hear();
        Some(Succession { process_id, channel })
    }
}

/// Where passed sockets listen that fit nothing.
pub(super) struct Misfits(Vec<String>);

impl Misfits {
    /// Has the error of an address that cannot be had name them: they are often why.
    pub(super) fn told_by<T>(&self, bound: Result<T, impl Into<Error>>) -> Result<T, Error> {
        bound.map_err(|error| {
            let error = error.into();
            let is_taken = matches!(
                error,
                Error::Listen(ListenError::Bind { .. }) | Error::Admin(AdminError::Listen { .. })
            );
            if self.0.is_empty() || !is_taken {
                return error;
            }
            Error::Misfit { source: Box::new(error), addresses: self.0.join(", ") }
        })
    }
}

/// A predecessor that drains.
#[derive(Debug)]
pub(super) struct Succession {
    process_id: i32,
    channel: Channel,
}

impl Succession {
    pub(super) const fn process_id(&self) -> i32 {
        self.process_id
    }

    /// Keeps what still happens to the predecessor, until it ends.
    pub(super) fn listen(self, events: EventSink, tasks: &Tasks) {
        tasks.spawn("predecessor", async move {
            let Ok(channel) = Listening::on(self.channel) else { return };
            while let Ok(Some(word)) = channel.hear().await {
                if let Word::Event(event) = word
                    && let Ok(event) = serde_json::from_value::<Event>(event)
                {
                    events.report(event);
                }
            }
        });
    }
}

fn unexpected(word: Option<&Word>) -> io::Error {
    io::Error::other(match word {
        Some(_) => "the predecessor does not speak of an upgrade as this version does",
        None => "the predecessor has ended or gone on by itself",
    })
}
