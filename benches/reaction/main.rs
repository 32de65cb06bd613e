//! How long a bad canary keeps its traffic: real processes, real sockets, 500 requests a second, a share of 10 %.
//!
//! Two cases begin with the canary's first bad answer as a client sees it, or would, and end with the last: by then no worker
//! sends anything there any more. The third begins when the command `tidegate rollback` is started, and ends with the last
//! request that reaches the canary.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]
#![allow(clippy::expect_used, reason = "a bench that cannot go on ends")]

mod gate;
mod load;
mod server;

use std::{
    thread,
    time::{Duration, Instant},
};

use gate::Gate;
use load::Load;
use server::{Mood, Server};

const ROUNDS: usize = 7;
/// How long both sides do well before something happens.
const CALM: Duration = Duration::from_secs(3);
/// How long it is watched that nothing comes after.
const AFTER: Duration = Duration::from_secs(2);
/// Longest wait for the canary's first bad answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What happens to the canary.
#[derive(Debug, Clone, Copy)]
enum Case {
    Outage,
    Errors,
    Command,
}

impl Case {
    const fn text(self) -> &'static str {
        match self {
            Self::Outage => "connections refused: first 502 to last",
            Self::Errors => "every answer a 500: first to last",
            Self::Command => "`tidegate rollback`: command to last request",
        }
    }

    const fn aim(self) -> Duration {
        match self {
            Self::Outage | Self::Errors => Duration::from_millis(500),
            Self::Command => Duration::from_millis(50),
        }
    }
}

fn main() {
    println!(
        "| what happens to a canary with 10 % of 500 requests/s | median | worst of {ROUNDS} | aim |"
    );
    println!("|---|--:|--:|--:|");
    for case in [Case::Outage, Case::Errors, Case::Command] {
        let mut took: Vec<Duration> = (0..ROUNDS).map(|_| measure(case)).collect();
        took.sort();
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
        let (median, worst) = (took[ROUNDS / 2], took[ROUNDS - 1]);
        println!(
            "| {} | {} | {} | {} |",
            case.text(),
            millis(median),
            millis(worst),
            millis(case.aim())
        );
    }
}

fn measure(case: Case) -> Duration {
    let (blue, green) = (Server::start(), Server::start());
    let gate = Gate::start(blue.address(), green.address());
    let load = Load::start(gate.address());
    green.await_request(PATIENCE);
    thread::sleep(CALM);
    assert_eq!(load.bad_answers(), Vec::new(), "all is well before anything happens");
    let took = match case {
        Case::Outage => {
            green.stop();
            bad_span(&load)
        }
        Case::Errors => {
            green.set_mood(Mood::Failing);
            bad_span(&load)
        }
        Case::Command => {
            let began = Instant::now();
            gate.rollback();
            thread::sleep(AFTER);
            green
                .last_request()
                .map_or(Duration::ZERO, |last| last.saturating_duration_since(began))
        }
    };
    let weight = gate.canary_weight();
    assert!(weight.abs() < f64::EPSILON, "the canary still has {weight} %");
    took
}

/// From the first bad answer to the last.
fn bad_span(load: &Load) -> Duration {
    let begin = Instant::now();
    while load.bad_answers().is_empty() {
        assert!(begin.elapsed() < PATIENCE, "no client sees that the canary is bad");
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(AFTER);
    let bad = load.bad_answers();
    let (first, last) = (bad[0], bad[bad.len() - 1]);
    assert!(last.elapsed() > AFTER / 2, "bad answers still come");
    last - first
}
