//! Runs and samples in the state file, and what is known when that is damaged or gone.

use std::{fs, time::Duration};

use tokio::sync::mpsc;

use super::{tests::*, *};
use crate::{
    control::rollouts::{SideSample, run_tests::record},
    domain::Weight,
};

fn api() -> RolloutName {
    RolloutName::new("api").unwrap()
}

/// A run that has served so many seconds.
fn run(number: u64, seconds: u64) -> Run {
    Run { number, record: record(Duration::from_secs(seconds)) }
}

fn sample(at_ms: u64) -> Sample {
    let side = SideSample {
        rps: 12.5,
        error_rate: Some(0.01),
        p50_us: Some(900),
        ..SideSample::default()
    };
    let weight = Weight::from_percent(12.5).unwrap();
    Sample { at_ms, weight, baseline: side, canary: SideSample::default() }
}

#[tokio::test]
async fn the_newest_run_and_its_story_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, first, _said) = open(&path);
    assert_eq!((first.runs.len(), first.past), (0, Past::Known));
    for number in 1..=30 {
        store.keep_run(api(), run(number, 0));
        store.keep_run(api(), run(number, 1));
        assert!(store.keep_sample(api(), number, sample(number)));
        assert!(store.flush().await);
    }
    assert!(store.keep_sample(api(), 30, sample(31)));
    assert!(store.keep(event(1), None), "its subject is the rollout's name");
    close(store).await;
    let (store, kept, _said) = open(&path);
    assert_eq!(kept.runs, Runs::from([(api(), run(30, 1))]));
    let story = store.story(api(), 30, 0).await.unwrap();
    assert_eq!(story, Story { events: vec![event(1)], samples: vec![sample(30), sample(31)] });
    assert!(store.story(api(), 30, 6).await.unwrap().events.is_empty(), "it came before");
    assert_eq!(store.story(api(), 11, 0).await.unwrap().samples.len(), 1);
    assert!(store.story(api(), 10, 0).await.unwrap().samples.is_empty(), "long ago");
}

#[tokio::test]
async fn a_file_that_is_damaged_or_gone_says_that_the_past_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, _kept, _said) = open(&path);
    store.keep_run(api(), run(1, 1));
    close(store).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("ALTER TABLE runs RENAME COLUMN record TO other", []).unwrap();
    drop(connection);
    let (store, kept, _said) = open(&path);
    assert_eq!((kept.runs.len(), kept.past), (0, Past::Lost));
    close(store).await;
    let (store, kept, _said) = open(&path);
    assert_eq!(kept.past, Past::Known, "the new file has all there is");
    close(store).await;
    fs::remove_file(&path).unwrap();
    assert_eq!(open(&path).1.past, Past::Lost);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_costs_no_other_and_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, _kept, _said) = open(&path);
    let other = RolloutName::new("other").unwrap();
    for number in [1, 2] {
        store.keep_run(api(), run(number, 1));
        store.keep_run(other.clone(), run(number + 2, 7));
        assert!(store.flush().await);
    }
    assert!(store.keep(event(1), None));
    close(store).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    for broken in ["'{\"state\": 1}'", "CAST(x'ff00fe' AS TEXT)", "''"] {
        let sql = format!("UPDATE runs SET record = {broken} WHERE rollout = 'api' AND number = 2");
        connection.execute(&sql, []).unwrap();
        let (store, kept, _said) = open(&path);
        assert_eq!((&kept.past, kept.last_event), (&Past::Known, 1), "{broken}");
        assert_eq!(kept.runs, Runs::from([(other.clone(), run(4, 7))]), "{broken}");
        assert_eq!(kept.unreadable(&api()).unwrap().number, 2, "{broken}");
        assert_eq!((kept.newest_number(&api()), kept.newest_number(&other)), (2, 4));
        close(store).await;
    }
    let (store, _kept, _said) = open(&path);
    store.keep_run(api(), run(3, 1));
    close(store).await;
    let (store, kept, _said) = open(&path);
    assert_eq!((kept.runs.len(), kept.unreadable.len()), (2, 0), "a newer run has the word");
    close(store).await;
    let count = "SELECT count(*) FROM runs WHERE rollout = 'api'";
    assert_eq!(connection.query_row(count, [], |row| row.get(0)), Ok(3), "all are still there");
}

#[tokio::test]
async fn runs_that_began_before_a_late_read_are_numbered_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (store, _kept, _said) = open(&path);
    store.keep_run(api(), run(4, 1));
    close(store).await;
    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
    let (store, unread, mut late) = Store::open(path.clone(), sink().0).unwrap();
    assert_eq!(unread.past, Past::Unread);
    store.keep_run(api(), run(1, 2));
    assert!(!store.flush().await, "one state is in the hand of the store's thread");
    store.keep_run(api(), run(1, 3));
    assert!(store.keep_sample(api(), 1, sample(7)));
    drop(holder);
    assert!(store.flush().await);
    let told = late.recv().await.unwrap();
    assert_eq!(told.runs, Runs::from([(api(), run(4, 1))]));
    store.adopt(&told, told.splits.clone());
    store.keep_run(api(), run(5, 4));
    close(store).await;
    let (store, kept, _said) = open(&path);
    assert_eq!(kept.runs, Runs::from([(api(), run(5, 4))]));
    assert_eq!(store.story(api(), 5, 0).await.unwrap().samples, [sample(7)]);
}

#[test]
fn a_full_disk_keeps_the_newest_state_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut keeper, _kept) = Keeper::open(path.clone(), sink().0, mpsc::channel(1).0).unwrap();
    keeper.fill_up();
    let desk = Desk::default();
    (0..50).for_each(|step| desk.put_run(api(), run(1, step)));
    desk.close(None);
    // The cap ends with the connection, as if room had been made: the second attempt succeeds.
    keeper.work(&desk);
    keeper.work(&desk);
    drop(keeper);
    let (_keeper, kept) = Keeper::open(path, sink().0, mpsc::channel(1).0).unwrap();
    assert_eq!(kept.runs, Runs::from([(api(), run(1, 49))]));
}

/// A disk with room for one write must not bring back what was undone while it was full.
#[test]
fn a_disk_that_recovers_gets_the_newest_state_of_a_run_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut keeper, _kept) = Keeper::open(path.clone(), sink().0, mpsc::channel(1).0).unwrap();
    keeper.fill_up();
    let desk = Desk::default();
    desk.put_run(api(), run(1, 1));
    keeper.accept(desk.take(None, false).batch, false);
    assert!(!keeper.settle(true), "the disk is full");
    desk.put_run(api(), run(1, 2));
    keeper.accept(desk.take(Some(Duration::ZERO), true).batch, false);
    assert!(keeper.settle(true), "one write");
    drop(keeper);
    let (_keeper, kept) = Keeper::open(path, sink().0, mpsc::channel(1).0).unwrap();
    assert_eq!(kept.runs, Runs::from([(api(), run(1, 2))]));
}
