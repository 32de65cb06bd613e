//! A budget over restarts: whatever a killed process had spent is known to the next one, or more.

use std::sync::Arc;

use super::*;
use crate::{domain::Class, routing::Guard};

const BUDGET: &str = "budget = { max_bad_responses = 100, max_exposed_keys = 50 }\n\
                      breaker = { consecutive_failures = \"off\", of_at_least = 1000000 }";

fn guard(running: &Running) -> Arc<Guard> {
    running.handle.table.current().routes()[0].rollout.as_ref().unwrap().guard.clone()
}

/// The bound that the state file holds: bad responses and keys.
fn bound(house: &House) -> (u64, u64) {
    let connection = rusqlite::Connection::open(house.state()).unwrap();
    let newest = "SELECT record FROM runs ORDER BY number DESC LIMIT 1";
    let record: String = connection.query_row(newest, [], |row| row.get(0)).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let part = |name: &str| record["log"]["reserved"][name].as_u64().unwrap();
    (part("bad_responses"), part("exposed_keys"))
}

/// Fails and admits as much as the guard allows until `bad` responses were bad, and looks each time that the file knew.
async fn spend(guard: &Guard, house: &House, bad: u64) {
    let waited = async {
        while guard.spent().bad_responses < bad {
            if guard.admits(None) {
                guard.record(Class::Failure);
                let (most_bad, most_keys) = bound(house);
                let spent = guard.spent();
                assert!(spent.bad_responses <= most_bad && spent.exposed_keys <= most_keys);
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "{:?}", guard.spent());
}

#[tokio::test]
async fn what_may_have_been_spent_is_in_the_state_file_before_it_is() {
    let house = house(BUDGET);
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    spend(&guard(&running), &house, 20).await;
    // What a process finds that begins after this one was killed now.
    let after_kill = super::house(BUDGET);
    let connection = rusqlite::Connection::open(house.state()).unwrap();
    let copy = after_kill.state().display().to_string();
    connection.execute("VACUUM INTO ?1", [copy]).unwrap();
    running.stop().await;
    let house = after_kill;
    let (bad, keys) = bound(&house);
    assert!((20..=22).contains(&bad) && (20..=28).contains(&keys), "{bad} {keys}");
    let running = house.start(FakeDataPlane::default());
    let spent = guard(&running).spent();
    assert_eq!((spent.bad_responses, spent.exposed_keys), (bad, keys));
    spend(&guard(&running), &house, bad + 5).await;
    running.stop().await;
    let exact = bound(&house);
    assert_eq!(exact, (bad + 5, keys + 5), "an end in order gives back what was not used");
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.handle.status().rollouts[0].exposure.bad_responses, exact.0);
}

/// Without a disk nothing more is reserved, and so nothing more is spent.
#[tokio::test]
async fn a_disk_that_takes_nothing_keeps_the_canary_at_its_bound() {
    let house = house(BUDGET);
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    let guard = guard(&running);
    let holder = rusqlite::Connection::open(house.state()).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (most, _) = bound(&house);
    while guard.spent().bad_responses < most {
        guard.record(Class::Failure);
    }
    running.told(EventKind::StateWriteFailed).await;
    assert!(!guard.admits(None), "{:?} of {most}", guard.spent());
    running.verb(Verb::Rollback).await;
    drop(holder);
    running.told(EventKind::StateRecovered).await;
    let shown = async {
        while !running.handle.status().rollouts[0].durable {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let shown = tokio::time::timeout(PATIENCE, shown).await;
    assert!(shown.is_ok(), "a rollout that has ended is no longer looked at, but shown it is");
}
