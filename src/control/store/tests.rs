//! The store against healthy, damaged, full and missing disks.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use tokio::sync::mpsc;

use super::*;
use crate::{
    control::hand_split::{HandSplit, tests::split},
    domain::RouteName,
    telemetry::{EventKind, Recorder},
};

pub(super) fn sink() -> (EventSink, mpsc::Receiver<Event>) {
    EventSink::new(Arc::new(Recorder::new(1)))
}

pub(super) fn open(path: &std::path::Path) -> (Store, Kept, mpsc::Receiver<Event>) {
    let (events, said) = sink();
    let (store, kept, _late) = Store::open(path.to_owned(), events).unwrap();
    (store, kept, said)
}

pub(super) fn event(id: u64) -> Event {
    let after = Some(serde_json::json!({ "blue": 50 }));
    let event = Event::new(EventKind::SplitChanged, 5, "api", format!("number {id}"));
    Event { id, ..event.by("uid:0").with_change(None, after) }
}

fn hand_splits() -> HandSplits {
    let hand = HandSplit {
        split: split(&[("blue", 33.33), ("green", 66.67)]),
        file_split: split(&[("blue", 90.0), ("green", 10.0)]),
        actor: "uid:alice(1000)".to_owned(),
        reason: Some("try it".to_owned()),
        at: 17,
    };
    [(RouteName::new("api").unwrap(), hand)].into()
}

pub(super) async fn close(store: Store) {
    assert!(store.close().await);
    assert!(!store.flush().await && store.events(None, 1).await.is_none(), "it is closed");
}

#[tokio::test]
async fn what_is_kept_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/state.db");
    let (store, first, _said) = open(&path);
    assert!(store.keep(event(1), None) && store.keep(event(2), Some(hand_splits())));
    close(store).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let (store, second, _said) = open(&path);
    assert_eq!(second.splits, hand_splits());
    assert_eq!(second.cookie_secret, first.cookie_secret);
    assert_eq!((second.cookie_secret.len(), second.last_event), (32, 2));
    assert_eq!(store.events(None, 1).await, Some(vec![event(2)]));
    assert_eq!(store.events(Some(0), 10).await, Some(vec![event(1), event(2)]));
}

#[tokio::test]
async fn a_file_that_another_program_holds_at_the_start_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, first, _said) = open(&path);
    assert!(store.keep(event(1), Some(hand_splits())));
    close(store).await;

    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
    let (store, _unread, _said) = open(&path);
    drop(holder);
    assert!(store.flush().await, "the file can be had again");
    close(store).await;

    let (_store, kept, _said) = open(&path);
    assert_eq!(kept.splits, hand_splits(), "a split set by hand outlives a backup");
    assert_eq!(kept.cookie_secret, first.cookie_secret, "sessions keep their side");
}

#[tokio::test]
async fn what_came_before_a_late_read_goes_behind_and_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, first, _said) = open(&path);
    assert!(store.keep(event(1), None) && store.keep(event(2), Some(hand_splits())));
    close(store).await;

    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
    let (store, unread, mut late) = Store::open(path.clone(), sink().0).unwrap();
    assert_eq!((unread.splits.len(), unread.last_event), (0, 0));
    let of = |route| -> HandSplits {
        [(RouteName::new(route).unwrap(), hand_splits().into_values().next().unwrap())].into()
    };
    assert!(store.keep(event(1), Some(of("web"))));
    assert!(!store.flush().await, "one change is in the hand of the store's thread");
    assert!(store.keep(event(2), Some(of("shop"))), "and one waits behind it");
    drop(holder);
    assert!(store.flush().await);
    let told = late.recv().await.unwrap();
    assert_eq!((&told.splits, told.last_event), (&hand_splits(), 2));
    assert_eq!(told.cookie_secret, first.cookie_secret);
    let ids: Vec<_> = store.events(Some(0), 10).await.unwrap().iter().map(|kept| kept.id).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    store.adopt(&told, of("web"));
    assert!(store.keep(event(5), None));
    close(store).await;

    let (_store, kept, _said) = open(&path);
    assert_eq!((kept.splits, kept.last_event), (of("web"), 5), "the controller has the last word");
}

#[tokio::test]
async fn the_end_may_come_before_the_controller_has_heard_of_a_late_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, _kept, _said) = open(&path);
    assert!(store.keep(event(1), Some(hand_splits())));
    close(store).await;

    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
    let (store, _unread, _said) = open(&path);
    assert!(store.keep(event(1), None));
    assert!(!store.flush().await);
    assert!(store.keep(event(2), Some(HandSplits::new())), "waits while the first is unwritten");
    drop(holder);
    close(store).await;
    let (_store, kept, _said) = open(&path);
    assert_eq!((kept.splits, kept.last_event), (hand_splits(), 3));
}

#[tokio::test]
async fn a_file_that_is_deleted_in_use_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, first, mut said) = open(&path);
    assert!(store.keep(event(1), Some(hand_splits())));
    assert!(store.flush().await);
    for name in ["state.db", "state.db-wal", "state.db-shm", "state.db.lock"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    assert!(store.keep(event(2), None));
    assert!(store.flush().await);
    assert_eq!(said.try_recv().unwrap().kind, EventKind::StateDamaged);
    assert!(said.try_recv().is_err(), "it is said once");
    assert!(matches!(Store::open(path.clone(), sink().0), Err(StoreError::InUse(_))));
    close(store).await;
    let (_store, kept, _said) = open(&path);
    assert_eq!((kept.splits, kept.last_event), (hand_splits(), 2));
    assert_eq!(kept.cookie_secret, first.cookie_secret);
}

#[tokio::test]
async fn a_file_put_in_its_place_is_not_taken_for_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("state.db"), folder.path().join("other.db"));
    let (store, _kept, _said) = open(&other);
    assert!((1..=9).all(|id| store.keep(event(id), None)));
    close(store).await;
    let (store, _kept, mut said) = open(&path);
    assert!(store.keep(event(1), Some(hand_splits())));
    assert!(store.flush().await);
    fs::rename(&other, &path).unwrap();
    assert!(store.keep(event(2), None));
    assert!(store.flush().await);
    assert_eq!(said.try_recv().unwrap().kind, EventKind::StateDamaged);
    close(store).await;
    let (store, kept, _said) = open(&path);
    assert_eq!((kept.splits, kept.last_event), (hand_splits(), 10));
    close(store).await;
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (_store, _kept, _said) = open(&path);
    assert!(matches!(Store::open(path, sink().0), Err(StoreError::InUse(_))));
}

#[tokio::test]
async fn a_damaged_file_is_set_aside_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    fs::write(&path, "this was a database once, and is long enough to be asked").unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let (store, kept, mut said) = open(&path);
    assert_eq!(said.recv().await.unwrap().kind, EventKind::StateDamaged);
    assert_eq!((kept.last_event, kept.splits.len()), (0, 0));
    let aside = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .find(|entry| entry.file_name().to_string_lossy().starts_with("state.db.damaged-"));
    assert_eq!(aside.unwrap().metadata().unwrap().ino(), inode);
    assert!(store.flush().await);
}

#[tokio::test]
async fn a_row_that_says_nonsense_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, _kept, _said) = open(&path);
    assert!(store.keep(event(1), Some(hand_splits())));
    close(store).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE splits SET split = '{\"blue\": 12}'", []).unwrap();
    drop(connection);
    let (_store, kept, mut said) = open(&path);
    assert_eq!(said.recv().await.unwrap().kind, EventKind::StateDamaged);
    assert!(kept.splits.is_empty());
}

#[tokio::test]
async fn a_newer_file_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    close(open(&path).0).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("UPDATE meta SET value = 9 WHERE key = 'schema'", []).unwrap();
    drop(connection);
    assert!(matches!(Store::open(path, sink().0), Err(StoreError::Newer { .. })));
}

#[tokio::test]
async fn without_a_disk_it_runs_in_memory_and_writes_all_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("not-yet");
    fs::write(&parent, "a file where a folder should be").unwrap();
    let path = parent.join("state.db");
    let (store, kept, mut said) = open(&path);
    assert_eq!(said.recv().await.unwrap().kind, EventKind::StateWriteFailed);
    assert!(store.keep(event(1), Some(hand_splits())));
    assert!(!store.flush().await);
    assert_eq!(store.events(Some(0), 10).await, None);
    assert!(said.try_recv().is_err(), "one outage is one event");

    fs::remove_file(&parent).unwrap();
    assert!(store.flush().await);
    close(store).await;
    let (store, again, _said) = open(&path);
    assert_eq!(again.splits, hand_splits());
    assert_eq!(again.cookie_secret, kept.cookie_secret);
    assert_eq!(store.events(Some(0), 10).await, Some(vec![event(1)]));
}

#[tokio::test]
async fn a_file_that_is_lent_is_another_process_s_until_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, first, mut said) = open(&path);
    assert!(store.keep(event(1), Some(hand_splits())));
    assert!(store.lend().await, "all of it is written");
    assert!(store.keep(event(2), None), "kept in memory meanwhile");
    assert!(!store.flush().await);

    let (other, kept, _said) = open(&path);
    assert_eq!((kept.splits, kept.last_event), (hand_splits(), 1));
    assert_eq!(kept.cookie_secret, first.cookie_secret);
    assert!(other.keep(event(2), None), "it has begun to write, and does not make it");
    close(other).await;

    store.take_back();
    assert!(store.keep(event(3), Some(HandSplits::new())));
    assert!(store.flush().await);
    assert!(matches!(Store::open(path.clone(), sink().0), Err(StoreError::InUse(_))));
    close(store).await;
    assert!(said.try_recv().is_err(), "nothing went wrong");
    let (store, kept, _said) = open(&path);
    assert_eq!((kept.splits.len(), kept.last_event), (0, 4));
    let events = store.events(Some(0), 10).await.unwrap();
    let told: Vec<_> = events.iter().map(|kept| kept.message.as_str()).collect();
    assert_eq!(told, ["number 1", "number 2", "number 2", "number 3"]);
}

#[test]
fn a_full_disk_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (events, mut said) = sink();
    let (mut keeper, _kept) = Keeper::open(path.clone(), events, mpsc::channel(1).0).unwrap();
    keeper.fill_up();
    let desk = Desk::default();
    for id in 1..=2_000 {
        assert!(desk.put_event(event(id), None));
    }
    assert!(desk.put_event(event(2_001), Some(hand_splits())));
    desk.close(None);
    // The cap ends with the connection, as if room had been made: the second attempt succeeds.
    keeper.work(&desk);
    assert_eq!(said.try_recv().unwrap().kind, EventKind::StateWriteFailed);
    keeper.work(&desk);
    drop(keeper);
    let (keeper, kept) = Keeper::open(path, sink().0, mpsc::channel(1).0).unwrap();
    assert_eq!((kept.last_event, kept.splits), (2_001, hand_splits()));
    assert_eq!(keeper.count_events(), 2_001);
}
