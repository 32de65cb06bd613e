//! Notices when the configuration file, or a certificate that it names, says something else, however it was replaced.
//!
//! Editors rename a new file over the old one, Kubernetes swaps a symbolic link to a folder: so folders are watched, not
//! the file, and among them each that holds a link on the way to it. What counts is the content of the file that the path
//! leads to. A slow look at it covers what the system's notifications miss: network mounts, a folder made anew, no watches
//! left.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use xxhash_rust::xxh3::xxh3_64;

use super::{ControlHandle, Reloaded, status::ReloadOutcome};
use crate::{config::Config, tls};

/// A file is read when nothing has moved for so long: an editor writes in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// … but not put off longer than this by a folder that never rests.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the file is looked at without being told.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Links followed at most, as in the kernel.
const MAX_LINKS: usize = 40;
/// Larger files are no configuration, and rejected by whoever loads them.
const MAX_BYTES: u64 = 4 << 20;

/// Actor of a reload that a changed file asked for.
pub(super) const WATCHER_ACTOR: &str = "file";

/// Reloads through `handle` whenever the content of the file or of one that it names for TLS changes. Never ends.
pub async fn watch_config(handle: ControlHandle) {
    watch(handle, LOOK_EVERY).await;
}

pub(super) async fn watch(handle: ControlHandle, look_every: Duration) {
    let config = Some(handle.config());
    let mut file =
        WatchedFile::new(handle.path().to_owned(), config, in_force(&handle), look_every);
    loop {
        file.changed().await;
        match handle.reload(WATCHER_ACTOR).await {
            // It is known now, and yet not in force.
            Ok(Reloaded { may_pass: true, .. }) => file.forget().await,
            // Another configuration may name other files.
            Ok(Reloaded { outcome: ReloadOutcome::Applied, .. }) => {
                file.content = in_force(&handle);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the configuration has changed, and was not reloaded");
                file.forget().await;
            }
        }
    }
}

/// What the files said of which the present configuration came.
fn in_force(handle: &ControlHandle) -> Content {
    Content { config: handle.status().config.hash, tls: handle.table().tls().digest() }
}

/// Hashes of what files say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Content {
    /// Of the configuration, as `config::load` makes it.
    config: String,
    /// Of all files for TLS, as `tls` makes it.
    tls: u64,
}

/// The configuration and the files for TLS that it names.
type Configured = Option<watch::Receiver<Arc<Config>>>;

/// A file with those that it names, what they said when they were last looked at, and the folders on the way to them.
struct WatchedFile {
    path: PathBuf,
    config: Configured,
    content: Content,
    place: Vec<(PathBuf, u64, u64)>,
    folders: Folders,
    nudges: mpsc::Receiver<()>,
    look_every: Duration,
}

impl WatchedFile {
    /// The file at `path` with those that the configuration in force names, of which `content` is known.
    fn new(path: PathBuf, config: Configured, content: Content, look_every: Duration) -> Self {
        let (nudge, nudges) = mpsc::channel(1);
        let folders = Folders { watcher: None, nudge };
        Self { path, config, content, place: Vec::new(), folders, nudges, look_every }
    }

    /// Waits until the file says something else than what is known.
    async fn changed(&mut self) {
        loop {
            let config = self.config.as_ref().map(|config| config.borrow().clone());
            let now = look(self.path.clone(), config).await;
            if now.place != self.place {
                self.place = now.place;
                self.folders.follow(&now.paths);
                // Something may have changed before the new watches stood.
                continue;
            }
            // A file that is missing for a moment is between two steps of a replacement.
            if let Some(content) = now.content
                && content != self.content
            {
                self.content = content;
                return;
            }
            self.rest().await;
        }
    }

    /// Waits as between two looks, and holds the file for changed after that.
    async fn forget(&mut self) {
        self.rest().await;
        self.content = Content::default();
    }

    async fn rest(&mut self) {
        if timeout(self.look_every, self.nudges.recv()).await.is_ok() {
            settle(&mut self.nudges).await;
        }
    }
}

/// Waits until the nudges pause.
async fn settle(nudges: &mut mpsc::Receiver<()>) {
    let pause = async { while let Ok(Some(())) = timeout(QUIET, nudges.recv()).await {} };
    // Too long a bustle ends the wait as well as a pause does.
    let _ = timeout(PATIENCE, pause).await;
}

/// What paths lead to.
#[derive(Debug, PartialEq, Eq, Default)]
struct Look {
    /// The configuration's file, and those that it names.
    paths: BTreeSet<PathBuf>,
    /// Device and inode of every folder on the way.
    place: Vec<(PathBuf, u64, u64)>,
    /// What they say; `None` when the configuration cannot be read.
    content: Option<Content>,
}

async fn look(path: PathBuf, config: Option<Arc<Config>>) -> Look {
    let looked = tokio::task::spawn_blocking(move || {
        let identity = |folder: PathBuf| {
            let metadata = fs::metadata(&folder).ok()?;
            Some((folder, metadata.dev(), metadata.ino()))
        };
        let (mut paths, tls) = config.map(|config| tls::digest(&config)).unwrap_or_default();
        let config = content_hash(&path).ok();
        paths.insert(path);
        let folders: BTreeSet<_> = paths.iter().flat_map(|path| folders_on_the_way(path)).collect();
        let place = folders.into_iter().filter_map(identity).collect();
        Look { paths, place, content: config.map(|config| Content { config, tls }) }
    });
    looked.await.unwrap_or_default()
}

fn content_hash(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, MAX_BYTES + 1), &mut bytes)?;
    Ok(format!("{:016x}", xxh3_64(&bytes)))
}

/// The folders that are watched.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    nudge: mpsc::Sender<()>,
}

impl Folders {
    /// Watches the folders on the way to `paths`, and no others. Made anew each time: a folder that was replaced under the
    /// same name needs a new watch.
    fn follow(&mut self, paths: &BTreeSet<PathBuf>) {
        let nudge = self.nudge.clone();
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let reads_only = event.is_ok_and(|event| event.kind.is_access());
            if !reads_only {
                // A full channel holds a nudge already.
                let _ = nudge.try_send(());
            }
        });
        self.watcher = match made {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "changes of the configuration are noticed by looking only");
                None
            }
        };
        let folders: BTreeSet<_> = paths.iter().flat_map(|path| folders_on_the_way(path)).collect();
        for folder in folders {
            if let Some(watcher) = &mut self.watcher
                && let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive)
            {
                tracing::warn!(%error, folder = %folder.display(), "a folder cannot be watched");
            }
        }
    }
}

/// Every folder in which a link or the file itself may be replaced.
fn folders_on_the_way(path: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    folders.extend(place.parent().map(Path::to_owned));
    for _ in 0..MAX_LINKS {
        let Some((folder, target)) = first_link(&place) else { break };
        folders.insert(folder);
        place = target;
        folders.extend(place.parent().map(Path::to_owned));
    }
    folders
}

/// The first link in `path`: the folder that holds it, and the path with the link followed.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut walked = PathBuf::new();
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        let folder = walked.clone();
        match part {
            Component::ParentDir => drop(walked.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => walked.push(part),
        }
        if let Ok(target) = fs::read_link(&walked) {
            return Some((folder.clone(), folder.join(target).join(parts.as_path())));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3_600);
    const SOON: Duration = Duration::from_secs(20);

    /// Makes `change`, and waits until it is noticed.
    async fn noticed(path: &Path, look_every: Duration, change: impl FnOnce()) {
        let known = Content { config: content_hash(path).unwrap(), tls: 0 };
        let mut file = WatchedFile::new(path.to_owned(), None, known, look_every);
        let changing = async {
            look(path.to_owned(), None).await;
            change();
        };
        timeout(SOON, async { tokio::join!(file.changed(), changing) }).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_renamed_over_the_old_one_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tidegate.toml");
        fs::write(&path, "old").unwrap();
        noticed(&path, NEVER, || {
            fs::write(folder.path().join("new"), "new").unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_swapped_folder_link_is_noticed_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let swap = |version: &str| {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tidegate.toml"), version).unwrap();
            symlink(version, at("..next")).unwrap();
            fs::rename(at("..next"), at("..data")).unwrap();
        };
        swap("..1");
        symlink("..data/tidegate.toml", at("tidegate.toml")).unwrap();
        let path = at("tidegate.toml");
        noticed(&path, NEVER, || swap("..2")).await;
        noticed(&path, NEVER, || swap("..3")).await;
    }

    #[tokio::test]
    async fn a_folder_reached_through_a_link_may_be_swapped() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for version in ["1", "2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tidegate.toml"), version).unwrap();
        }
        symlink("1", at("etc")).unwrap();
        noticed(&at("etc/tidegate.toml"), NEVER, || {
            symlink("2", at("next")).unwrap();
            fs::rename(at("next"), at("etc")).unwrap();
        })
        .await;
    }

    #[tokio::test]
    async fn a_folder_made_anew_is_found_by_looking() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let path = inner.join("tidegate.toml");
        fs::write(&path, "old").unwrap();
        noticed(&path, Duration::from_millis(50), || {
            fs::remove_dir_all(&inner).unwrap();
            fs::create_dir(&inner).unwrap();
            fs::write(&path, "new").unwrap();
        })
        .await;
    }
}
