//! The controller from command to table, with a data plane that only notes what it was asked.

mod house;

use std::time::Duration;

pub(crate) use house::{FakeDataPlane, House, Running};

use super::{
    status::{EndpointState, ReloadOutcome, SplitSource},
    *,
};
use crate::telemetry::EventKind;

impl Running {
    pub(in crate::control) async fn kinds(&self) -> Vec<EventKind> {
        let events = self.handle.audit().read(Some(0), 100).await;
        assert!(events.iter().zip(1..).all(|(event, id)| event.id == id), "{events:?}");
        events.iter().map(|event| event.kind).collect()
    }

    /// Ends it; the state file is closed then.
    pub(in crate::control) async fn stop(self) {
        self.drain.hurry(crate::lifecycle::clock::now());
        self.work.await.unwrap();
    }

    pub(in crate::control) fn split(&self) -> Vec<(String, u16)> {
        let table = self.handle.table();
        let shares = table.routes()[0].split.shares().iter();
        shares.map(|(name, weight)| (name.to_string(), weight.basis_points() / 100)).collect()
    }
}

fn even() -> SetSplit {
    SetSplit {
        route: "api".to_owned(),
        shares: vec![("blue".to_owned(), Some(50.0)), ("green".to_owned(), Some(50.0))],
        actor: "uid:1000".to_owned(),
        reason: Some("try".to_owned()),
    }
}

fn shares(blue: u16, green: u16) -> Vec<(String, u16)> {
    vec![("blue".to_owned(), blue), ("green".to_owned(), green)]
}

#[tokio::test]
async fn a_split_set_by_hand_is_in_force_when_it_is_answered() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.handle.status().routes[0].source, SplitSource::Config);
    let answer = running.handle.set_split(even()).await.unwrap();
    assert_eq!(answer.source, SplitSource::Admin);
    assert_eq!(running.split(), shares(50, 50));
    assert_eq!(running.handle.status().routes, [answer]);
    let event = running.handle.audit().read(Some(0), 9).await.remove(0);
    assert_eq!(event.kind, EventKind::SplitChanged);
    assert_eq!(event.actor, "uid:1000");
    assert_eq!(event.before, Some(serde_json::json!({ "blue": 90, "green": 10 })));
    assert_eq!(event.after, Some(serde_json::json!({ "blue": 50, "green": 50 })));
    assert_eq!(event.message, "split blue 90, green 10 → blue 50, green 50: try");
}

#[tokio::test]
async fn a_faulty_split_changes_nothing() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    let faulty = SetSplit { shares: vec![("green".to_owned(), Some(40.0))], ..even() };
    let error = running.handle.set_split(faulty).await.unwrap_err();
    assert_eq!(error, CommandError::Invalid(vec!["the weights sum to 40, not to 100".into()]));
    let nowhere = SetSplit { route: "web".to_owned(), ..even() };
    let error = running.handle.set_split(nowhere).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no route \"web\"; there is api");
    assert_eq!(running.split(), shares(90, 10));
    assert!(running.kinds().await.is_empty());
}

#[tokio::test]
async fn the_hand_outlives_restart_and_reload_until_the_file_changes() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    running.handle.set_split(even()).await.unwrap();
    running.stop().await;

    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(50, 50), "kept over a restart");
    house.write("{ blue = 90, green = 10 }", "max_body = \"1MiB\"\n");
    let reloaded = running.handle.reload("uid:1000").await.unwrap();
    assert_eq!(reloaded.outcome, ReloadOutcome::Applied);
    assert_eq!(running.split(), shares(50, 50), "kept over a reload of something else");

    house.write("{ blue = 80, green = 20 }", "max_body = \"1MiB\"\n");
    let hash = || running.handle.status().config.hash;
    let before = hash();
    assert_eq!(running.handle.reload("x").await.unwrap().outcome, ReloadOutcome::Applied);
    let [superseded, applied] = running.handle.audit().read(None, 2).await.try_into().unwrap();
    assert_eq!((superseded.actor.as_str(), applied.actor.as_str()), ("x", "x"));
    assert_eq!((applied.before, applied.after), (Some(before.into()), Some(hash().into())));
    assert_eq!(running.split(), shares(80, 20), "the file has spoken");
    assert_eq!(running.handle.status().routes[0].source, SplitSource::Config);
    let kinds = running.kinds().await;
    use EventKind::{ReloadApplied, SplitChanged, SplitSuperseded};
    assert_eq!(kinds, [SplitChanged, ReloadApplied, SplitSuperseded, ReloadApplied]);
    running.stop().await;

    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(80, 20), "and is not forgotten");
}

#[tokio::test]
async fn a_file_that_changed_while_the_process_was_down_wins() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    running.handle.set_split(even()).await.unwrap();
    running.stop().await;
    house.write("{ blue = 0, green = 100 }", "");
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(0, 100));
    assert_eq!(running.kinds().await, [EventKind::SplitChanged, EventKind::SplitSuperseded]);
}

#[tokio::test]
async fn a_state_file_that_is_read_late_is_as_if_it_had_been_there() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    running.handle.set_split(even()).await.unwrap();
    running.stop().await;

    let holder = rusqlite::Connection::open(house.state()).unwrap();
    holder.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(90, 10), "the file is all there is");
    let mut latest = running.handle.audit().latest();
    drop(holder);
    assert!(running.handle.audit().flush().await);
    use EventKind::{SplitChanged, StateRecovered, StateWriteFailed};
    latest.wait_for(|latest| *latest == 4).await.unwrap();
    assert_eq!(running.split(), shares(50, 50));
    assert_eq!(running.handle.status().routes[0].source, SplitSource::Admin);
    let kinds = running.kinds().await;
    assert_eq!(kinds[..2], [SplitChanged, StateWriteFailed]);
    // The two come from different threads.
    assert!(kinds[2..].contains(&SplitChanged) && kinds[2..].contains(&StateRecovered));
    running.stop().await;
    let running = house.start(FakeDataPlane::default());
    assert_eq!((running.split(), running.kinds().await), (shares(50, 50), kinds));
}

#[tokio::test]
async fn a_split_set_before_a_late_read_holds() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    running.handle.set_split(even()).await.unwrap();
    running.stop().await;

    let holder = rusqlite::Connection::open(house.state()).unwrap();
    holder.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
    let running = house.start(FakeDataPlane::default());
    let mostly = vec![("blue".to_owned(), Some(30.0)), ("green".to_owned(), Some(70.0))];
    running.handle.set_split(SetSplit { shares: mostly, ..even() }).await.unwrap();
    let mut latest = running.handle.audit().latest();
    drop(holder);
    assert!(running.handle.audit().flush().await);
    latest.wait_for(|latest| *latest == 4).await.unwrap();
    assert_eq!(running.split(), shares(30, 70));
    running.stop().await;
    assert_eq!(house.start(FakeDataPlane::default()).split(), shares(30, 70));
}

#[tokio::test]
async fn a_rejected_file_leaves_everything_as_it_was() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    let before = running.handle.status();
    house.write("{ blue = 90, green = 11 }", "");
    let reloaded = running.handle.reload("uid:1000").await.unwrap();
    assert_eq!(reloaded.outcome, ReloadOutcome::Rejected);
    assert!(reloaded.errors[0].contains("101"), "{:?}", reloaded.errors);
    let after = running.handle.status();
    assert_eq!((&after.routes, &after.config.hash), (&before.routes, &before.config.hash));
    assert_eq!(after.config.last_reload.outcome, ReloadOutcome::Rejected);
    assert_eq!(after.config.last_reload.errors, reloaded.errors);
    assert!(!running.handle.gauges().reload_successful);
    assert_eq!(running.kinds().await, [EventKind::ReloadRejected]);
    let event = running.handle.audit().read(None, 1).await.remove(0);
    let refused = crate::config::Unchecked::read(&house.path()).unwrap().hash().to_owned();
    assert_eq!(event.before, Some(before.config.hash.clone().into()));
    assert_eq!(event.after, Some(refused.into()), "it tells which file was refused");

    house.write("{ blue = 90, green = 10 }", "# only a comment\n");
    let reloaded = running.handle.reload("uid:1000").await.unwrap();
    assert_eq!(reloaded.outcome, ReloadOutcome::Unchanged);
    let healed = running.handle.status().config;
    assert_eq!(healed.last_reload.outcome, ReloadOutcome::Unchanged);
    assert_ne!(healed.hash, before.config.hash);
    assert!(running.handle.gauges().reload_successful);
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_rejects_the_whole_file() {
    let house = House::new("{ blue = 90, green = 10 }");
    let data_plane = FakeDataPlane { refuse: Some((8081, 1)), ..FakeDataPlane::default() };
    let running = house.start(data_plane);
    let listener = |port: u16| format!("[[listener]]\nbind = \"127.0.0.1:{port}\"\n");
    house.write("{ blue = 10, green = 90 }", &listener(8081));
    let reloaded = running.handle.reload("uid:1000").await.unwrap();
    assert_eq!(reloaded.outcome, ReloadOutcome::Rejected);
    assert_eq!(running.split(), shares(90, 10));

    house.write("{ blue = 10, green = 90 }", &listener(8082));
    let reloaded = running.handle.reload("uid:1000").await.unwrap();
    assert_eq!(reloaded.outcome, ReloadOutcome::Applied);
    assert_eq!(running.split(), shares(10, 90));
    use EventKind::{ListenerAdded, ReloadApplied, ReloadRejected};
    assert_eq!(running.kinds().await, [ReloadRejected, ListenerAdded, ReloadApplied]);
}

#[tokio::test]
async fn what_needs_a_restart_is_named() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    house.write("{ blue = 90, green = 10 }", "[process]\nworkers = 7\n");
    let reloaded = running.handle.reload("uid:1000").await.unwrap();
    assert_eq!(reloaded.outcome, ReloadOutcome::Applied);
    assert!(reloaded.changes[0].ends_with("(takes effect after a restart)"), "{reloaded:?}");
}

#[tokio::test]
async fn an_endpoint_is_drained_and_taken_back() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    let wish = |verb, address: &str| SetEndpoint {
        backend: "green".to_owned(),
        address: address.to_owned(),
        verb,
        actor: "uid:1000".to_owned(),
        reason: None,
    };
    let drained = running.handle.set_endpoint(wish(EndpointVerb::Drain, "127.0.0.1:9002")).await;
    assert_eq!(drained.unwrap().state, EndpointState::Drained);
    assert!(running.handle.table().backends()[1].endpoints[0].is_drained());
    let ready = running.handle.set_endpoint(wish(EndpointVerb::Ready, "127.0.0.1:9002")).await;
    assert_eq!(ready.unwrap().state, EndpointState::Ready);
    let lost = running.handle.set_endpoint(wish(EndpointVerb::Drain, "127.0.0.1:1")).await;
    assert!(matches!(lost, Err(CommandError::NotFound { .. })));
    // A beat in between may also say that the backend has no endpoint left, or has one again.
    let mut kinds = running.kinds().await;
    kinds.retain(|kind| matches!(kind, EventKind::EndpointDrained | EventKind::EndpointReady));
    assert_eq!(kinds, [EventKind::EndpointDrained, EventKind::EndpointReady]);
}

#[tokio::test]
async fn a_file_rejected_for_a_taken_address_is_taken_when_that_is_free() {
    let house = House::new("{ blue = 90, green = 10 }");
    let data_plane = FakeDataPlane { refuse: Some((8081, 3)), ..FakeDataPlane::default() };
    let running = house.start(data_plane);
    house.write("{ blue = 30, green = 70 }", "[[listener]]\nbind = \"127.0.0.1:8081\"\n");
    let mut config = running.handle.config();
    tokio::select! {
        () = watcher::watch(running.handle.clone(), Duration::from_millis(10)) => {}
        changed = config.changed() => changed.unwrap(),
    }
    // Events are kept before the last of them is: ask for one more, which is answered after it.
    running.handle.reload("uid:1000").await.unwrap();
    assert_eq!(running.split(), shares(30, 70));
    let kinds = running.kinds().await;
    use EventKind::{ReloadApplied, ReloadRejected, ReloadUnchanged};
    let wanted = [ReloadRejected, ReloadApplied, ReloadUnchanged];
    let reloads: Vec<_> = kinds.into_iter().filter(|kind| wanted.contains(kind)).collect();
    assert_eq!(reloads, wanted, "what is tried again in vain is no event");
}

#[tokio::test]
async fn one_change_is_one_event_though_signal_and_watcher_both_follow_it() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    house.write("{ blue = 30, green = 70 }", "");
    for actor in [SIGNAL_ACTOR, watcher::WATCHER_ACTOR, SIGNAL_ACTOR] {
        running.handle.reload(actor).await.unwrap();
    }
    house.write("{ blue = 30, green = 71 }", "");
    for actor in [SIGNAL_ACTOR, watcher::WATCHER_ACTOR] {
        running.handle.reload(actor).await.unwrap();
    }
    house.write("{ blue = 30, green = 70 }", "");
    running.handle.reload(watcher::WATCHER_ACTOR).await.unwrap();
    use EventKind::{ListenerAdded, ReloadApplied, ReloadRejected, ReloadUnchanged};
    let kinds = running.kinds().await.into_iter().filter(|kind| *kind != ListenerAdded);
    assert_eq!(kinds.collect::<Vec<_>>(), [ReloadApplied, ReloadRejected, ReloadUnchanged]);
}

#[tokio::test]
async fn a_changed_file_is_taken_without_being_asked() {
    let house = House::new("{ blue = 90, green = 10 }");
    let running = house.start(FakeDataPlane::default());
    let mut latest = running.handle.audit().latest();
    latest.mark_unchanged();
    let change = async {
        house.write("{ blue = 30, green = 70 }", "");
        latest.changed().await.unwrap();
    };
    tokio::select! {
        () = watch_config(running.handle.clone()) => {}
        () = change => {}
    }
    assert_eq!(running.split(), shares(30, 70));
    let event = running.handle.audit().read(None, 1).await.remove(0);
    assert_eq!((event.kind, event.actor.as_str()), (EventKind::ReloadApplied, "file"));
}
