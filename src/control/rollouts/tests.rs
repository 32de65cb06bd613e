//! Rollouts in a controller: restarts, reloads, and a state file that is late.

mod budget;
mod checks;
mod ladder;

use crate::{
    control::{
        Operate, SetSplit, SetThresholds,
        status::SplitSource,
        tests::{FakeDataPlane, House, Running},
    },
    decision::rollout::Verb,
    telemetry::EventKind,
};

const ALL_BLUE: &str = "{ blue = 100, green = 0 }";

/// What has not come by then does not come: the test says so instead of hanging.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A plan for route `api` that takes for ever, from one backend to the other.
fn plan(baseline: &str, canary: &str, more: &str) -> String {
    format!(
        "[rollout.api]\nroute = \"api\"\nbaseline = \"{baseline}\"\ncanary = \"{canary}\"\n{more}\n\
         [[rollout.api.step]]\nname = \"some\"\nweight = 20\nhold = \"1h\"\n\
         [[rollout.api.step]]\nname = \"all\"\nweight = 100\nhold = \"1h\"\n"
    )
}

fn house(more: &str) -> House {
    let house = House::with_servers(ALL_BLUE);
    house.write(ALL_BLUE, &plan("blue", "green", more));
    house
}

fn wish(rollout: &str, verb: Verb) -> Operate {
    Operate { rollout: rollout.to_owned(), verb, actor: "uid:1".to_owned(), reason: None }
}

impl Running {
    async fn verb(&self, verb: Verb) {
        self.handle.operate(wish("api", verb)).await.unwrap();
    }

    fn phase(&self) -> String {
        self.handle.status().rollouts[0].phase.clone()
    }

    /// Waits until the rollout is in `phase`.
    async fn comes_to(&self, phase: &str) {
        let waited = async {
            while self.phase() != phase {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waited).await.is_err() {
            panic!("still {} and not {phase}", self.phase());
        }
    }

    /// Waits until an event of `kind` has been told.
    async fn told(&self, kind: EventKind) {
        self.told_times(kind, 1).await;
    }

    /// Waits until as many events of `kind` have been told.
    async fn told_times(&self, kind: EventKind, times: usize) {
        let mut latest = self.handle.audit().latest();
        let waited = async {
            while self.kinds().await.iter().filter(|told| **told == kind).count() < times {
                latest.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, waited).await.is_err() {
            panic!("no {kind:?} among {:?}", self.kinds().await);
        }
    }
}

fn shares(blue: u16, green: u16) -> Vec<(String, u16)> {
    vec![("blue".to_owned(), blue), ("green".to_owned(), green)]
}

#[tokio::test]
async fn a_plan_that_says_so_begins_by_itself_but_not_again() {
    let house = house("auto_start = true");
    let running = house.start(FakeDataPlane::default());
    running.told(EventKind::RolloutAdvanced).await;
    assert_eq!(running.split(), shares(80, 20));
    assert_eq!(running.handle.status().routes[0].source, SplitSource::Rollout);
    running.verb(Verb::Rollback).await;
    assert_eq!(running.split(), shares(100, 0));
    running.stop().await;
    let running = house.start(FakeDataPlane::default());
    assert_eq!((running.phase(), running.split()), ("rolled_back".to_owned(), shares(100, 0)));
    running.handle.reload("uid:1").await.unwrap();
    assert_eq!(running.phase(), "rolled_back");
}

#[tokio::test]
async fn a_split_by_hand_gives_way_to_a_rollout_and_a_rollout_that_ended_to_a_split_by_hand() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    let half = SetSplit {
        route: "api".to_owned(),
        shares: vec![("blue".to_owned(), Some(50.0)), ("green".to_owned(), Some(50.0))],
        actor: "uid:1".to_owned(),
        reason: None,
    };
    running.handle.set_split(half.clone()).await.unwrap();
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    assert_eq!(running.split(), shares(80, 20));
    running.handle.set_split(half.clone()).await.unwrap_err();
    running.verb(Verb::Rollback).await;
    running.handle.set_split(half).await.unwrap();
    assert_eq!(running.split(), shares(50, 50));
    running.stop().await;
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(50, 50), "the hand spoke last");
    assert_eq!(running.handle.status().routes[0].source, SplitSource::Admin);
}

#[tokio::test]
async fn a_rollback_has_the_last_word_over_a_split_by_hand() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.told(EventKind::RolloutAdvanced).await;
    running.verb(Verb::Promote).await;
    let half = SetSplit {
        route: "api".to_owned(),
        shares: vec![("blue".to_owned(), Some(50.0)), ("green".to_owned(), Some(50.0))],
        actor: "uid:1".to_owned(),
        reason: None,
    };
    running.handle.set_split(half).await.unwrap();
    running.verb(Verb::Rollback).await;
    assert_eq!(running.split(), shares(100, 0));
    assert_eq!(running.handle.status().routes[0].source, SplitSource::Rollout);
    running.stop().await;
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(100, 0), "a restart gives the canary nothing back");
}

#[tokio::test]
async fn a_run_whose_backend_went_away_does_not_wake_up_when_the_backend_returns() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.told(EventKind::RolloutAdvanced).await;
    running.stop().await;
    let whole = std::fs::read_to_string(house.path()).unwrap();
    std::fs::write(house.path(), whole.replace("green", "other")).unwrap();
    let running = house.start(FakeDataPlane::default());
    assert!(running.kinds().await.contains(&EventKind::RolloutStateLost));
    running.stop().await;
    std::fs::write(house.path(), whole).unwrap();
    let running = house.start(FakeDataPlane::default());
    assert_eq!((running.phase(), running.split()), ("rolled_back".to_owned(), shares(100, 0)));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_sends_its_route_alone_to_the_baseline() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    assert_eq!(running.split(), shares(80, 20));
    running.stop().await;
    let connection = rusqlite::Connection::open(house.state()).unwrap();
    let spoil = "UPDATE runs SET record = replace(record, '\"plan\"', '\"plant\"')";
    connection.execute(spoil, []).unwrap();
    let running = house.start(FakeDataPlane::default());
    assert_eq!((running.phase(), running.split()), ("rolled_back".to_owned(), shares(100, 0)));
    let events = running.handle.audit().read(None, 100).await;
    assert!(
        events.iter().any(|event| event.kind == EventKind::RolloutStarted),
        "the past is there"
    );
    let lost = events.iter().find(|event| event.kind == EventKind::RolloutStateLost).unwrap();
    for part in ["the record of its run 1 cannot be read", "plan", "table runs", "blue"] {
        assert!(lost.message.contains(part), "{}", lost.message);
    }
    running.stop().await;
    let spoiled = "SELECT count(*) FROM runs WHERE record LIKE '%\"plant\"%'";
    assert_eq!(connection.query_row(spoiled, [], |row| row.get(0)), Ok(1), "for a person to see");
    let running = house.start(FakeDataPlane::default());
    assert_eq!((running.phase(), running.split()), ("rolled_back".to_owned(), shares(100, 0)));
    let told = running.kinds().await;
    assert_eq!(told.iter().filter(|kind| **kind == EventKind::RolloutStateLost).count(), 1);
}

/// A section that is renamed between two releases leaves the rollout of the old name behind on the same route.
#[tokio::test]
async fn a_route_follows_one_rollout_at_a_time_also_when_its_section_is_renamed() {
    let renamed = plan("blue", "green", "auto_start = true").replace("rollout.api", "rollout.anew");
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.told(EventKind::RolloutAdvanced).await;
    house.write(ALL_BLUE, &renamed);
    running.handle.reload("uid:1").await.unwrap();
    let refused = running.handle.operate(wish("anew", Verb::Start)).await.unwrap_err();
    assert!(refused.to_string().contains("the rollout api decides this split"), "{refused}");
    running.verb(Verb::Promote).await;
    assert_eq!(running.split(), shares(0, 100));

    running.told_times(EventKind::RolloutAdvanced, 2).await;
    running.stop().await;
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(80, 20), "no more than the step of the one that runs");
    assert_eq!(running.handle.status().rollouts.len(), 1);
}

#[tokio::test]
async fn the_next_release_turns_the_roles_round_and_leaves_the_traffic_where_it_is() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    running.verb(Verb::Promote).await;
    assert_eq!(running.split(), shares(0, 100));
    house.write(ALL_BLUE, &plan("green", "blue", ""));
    running.handle.reload("uid:1").await.unwrap();
    assert_eq!((running.phase(), running.split()), ("idle".to_owned(), shares(0, 100)));
    running.stop().await;
    let running = house.start(FakeDataPlane::default());
    assert_eq!((running.phase(), running.split()), ("idle".to_owned(), shares(0, 100)));
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    assert_eq!(running.split(), shares(20, 80));
    assert_eq!(running.handle.status().rollouts[0].run, 2);
}

#[tokio::test]
async fn a_state_file_that_is_read_late_has_the_word_over_what_stood_in_for_it() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    running.stop().await;

    let holder = rusqlite::Connection::open(house.state()).unwrap();
    holder.execute_batch("PRAGMA locking_mode = exclusive; BEGIN EXCLUSIVE").unwrap();
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(100, 0), "nobody knows how far it was");
    assert!(running.kinds().await.contains(&EventKind::RolloutStateLost));
    drop(holder);
    assert!(running.handle.audit().flush().await);
    running.told(EventKind::RolloutContinued).await;
    assert_eq!((running.phase(), running.split()), ("baking".to_owned(), shares(80, 20)));
    running.stop().await;
    let running = house.start(FakeDataPlane::default());
    assert_eq!((running.phase(), running.split()), ("baking".to_owned(), shares(80, 20)));
}

#[tokio::test]
async fn a_step_that_is_served_is_durable_before_the_next_begins() {
    let house = house("on_thin_traffic = \"advance\"");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    running.verb(Verb::Advance).await;
    assert_eq!(running.split(), shares(0, 100), "answered when it is in force");
    let connection = rusqlite::Connection::open(house.state()).unwrap();
    let record: String =
        connection.query_row("SELECT record FROM runs", [], |row| row.get(0)).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["state"]["phase"]["baking"]["step"], 1, "{record}");
}

#[tokio::test]
async fn a_file_that_changed_while_there_was_no_process_is_followed_and_runs_are_numbered_on() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    running.verb(Verb::Rollback).await;
    running.stop().await;

    house.write("{ blue = 60, green = 40 }", "");
    let running = house.start(FakeDataPlane::default());
    assert_eq!(running.split(), shares(60, 40), "the file's split has changed");
    assert!(running.handle.status().rollouts.is_empty(), "and the section has gone");
    running.stop().await;

    house.write(ALL_BLUE, &plan("blue", "green", "min_requests = 7"));
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    let status = running.handle.status().rollouts.remove(0);
    assert_eq!((status.run, status.phase.as_str()), (2, "baking"));
    assert!(!status.plan_differs, "it began with the plan that the file has now");
}

#[tokio::test]
async fn thresholds_set_by_hand_end_with_their_run() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.told(EventKind::RolloutAdvanced).await;
    let wish = SetThresholds {
        rollout: "api".to_owned(),
        changes: [("step.some.hold".to_owned(), "2h".to_owned())].into(),
        actor: "uid:1".to_owned(),
        reason: Some("more evidence".to_owned()),
    };
    running.handle.set_thresholds(wish).await.unwrap();
    let events = running.handle.audit().read(None, 100).await;
    let set = events.iter().find(|event| event.kind == EventKind::RolloutThresholdSet).unwrap();
    assert_eq!(set.message, "step.some.hold 1h → 2h: more evidence");
    running.verb(Verb::Rollback).await;
    running.verb(Verb::Start).await;
    let status = running.handle.status().rollouts.remove(0);
    assert_eq!((status.run, status.steps[0].hold_s), (2, 3600.0));
    assert!(!status.plan_differs);
}

#[tokio::test]
async fn a_plan_that_changed_under_a_run_counts_from_the_next_start_on() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.told(EventKind::RolloutAdvanced).await;
    house.write(ALL_BLUE, &plan("blue", "green", "").replace("weight = 20", "weight = 5"));
    running.handle.reload("uid:1").await.unwrap();
    let status = running.handle.status().rollouts.remove(0);
    assert_eq!((status.plan_differs, status.weight.percent()), (true, 20.0));
    running.verb(Verb::Rollback).await;
    running.verb(Verb::Start).await;
    let status = running.handle.status().rollouts.remove(0);
    assert_eq!((status.plan_differs, status.steps[0].weight.percent()), (false, 5.0));
}

#[tokio::test]
async fn a_route_under_a_rollout_does_not_become_a_redirect() {
    let house = house("");
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.comes_to("baking").await;
    house.write(ALL_BLUE, "");
    let whole = std::fs::read_to_string(house.path()).unwrap();
    let redirect = whole.replace(&format!("split = {ALL_BLUE}"), "redirect = { to = \"/away\" }");
    std::fs::write(house.path(), &redirect).unwrap();
    let reloaded = running.handle.reload("uid:1").await.unwrap();
    assert!(
        reloaded.errors.concat().contains("split of route api, which redirects"),
        "{reloaded:?}"
    );
    running.stop().await;
    let running = house.start(FakeDataPlane::default());
    assert!(running.kinds().await.contains(&EventKind::RolloutStateLost), "it cannot go on");
}
