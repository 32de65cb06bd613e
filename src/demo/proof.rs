//! `demo --once`: plays a scenario to the end of its rollout, and holds what the sample servers and the clients saw against what
//! should have been.
//!
//! Where a split is looked at, the unit is the session. With N sessions and a share p of them wanted on green, the number that
//! green's server sees is binomial; it fits when it lies within five standard deviations √(N·p·(1−p)) of N·p, which chance
//! alone misses less than once in a hundred thousand runs.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Error,
    cast::Cast,
    load::Volume,
    operator::Standing,
    sample::Fault,
    scenario::Scenario,
    side::{Side, Sides},
    tally::Tally,
    view,
};
use crate::{admin::wire::Verb, lifecycle::clock};

/// Sessions in a proof.
const SESSIONS: usize = 1_000;
/// Requests a second in a proof.
const RATE: u32 = 800;
/// Requests a second where hardly anybody asks.
pub(super) const THIN_RATE: u32 = 2;
/// The steps of the plan whose split is looked at, from 1, and their share of green in percent.
const LOOKED_AT: [(usize, u8); 2] = [(1, 10), (2, 50)];
const SIGMAS: f64 = 5.0;
/// Requests of each session that a look at the servers spans.
const REQUESTS_EACH: u64 = 2;
/// Time between two looks at how far things have come.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for the sessions to have had their turns, and for the rollout to come on.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a rollout is watched that should not move.
const STILLNESS: Duration = Duration::from_secs(3);
/// From the first fault to the last weight of green.
const MOST_REACTION: Duration = Duration::from_secs(5);
/// Share of the requests that may fail before green is out.
const MOST_FAILURES: f64 = 0.05;

/// The load of a proof.
pub(super) const fn volume(scenario: Scenario) -> Volume {
    match scenario {
        Scenario::Thin => Volume { sessions: SESSIONS, requests_per_s: THIN_RATE },
        Scenario::Healthy
        | Scenario::Errors
        | Scenario::Slow
        | Scenario::Down
        | Scenario::Masked => Volume { sessions: SESSIONS, requests_per_s: RATE },
    }
}

/// Lets the scenario happen, and tells whether all was as it should be.
pub(super) async fn prove(cast: &Cast, scenario: Scenario) -> Result<bool, Error> {
    let begin = clock::now();
    let mut findings = match (scenario, scenario.fault()) {
        (Scenario::Thin, _) => wait_for_traffic(cast).await?,
        (_, Some(fault)) => turn_back(cast, scenario, fault).await?,
        (_, None) => go_forward(cast).await?,
    };
    let end = until(cast, "the rollout's end", |standing| standing.is(scenario.end())).await?;
    findings.push(Finding {
        holds: end.is(scenario.end()),
        text: format!(
            "the rollout of a {scenario} green ended {} after {:.1} s; wanted {}",
            end.rollout.map_or("nowhere".to_owned(), |rollout| rollout.phase),
            clock::now().since(begin).as_secs_f64(),
            scenario.end()
        ),
    });
    findings.push(failures(&cast.load.tally(), scenario));
    let mut text = String::new();
    for finding in &findings {
        let mark = if finding.holds { "ok    " } else { "WRONG " };
        text.push_str(&format!("{mark}{}\n", finding.text));
    }
    view::print(&text)?;
    Ok(findings.iter().all(|finding| finding.holds))
}

/// Looks at the split of the first steps, each held by a pause for as long as that takes.
async fn go_forward(cast: &Cast) -> Result<Vec<Finding>, Error> {
    let mut looks = Vec::new();
    for (step, _) in LOOKED_AT {
        until(cast, "the next step", |standing| standing.has_reached(step)).await?;
        cast.operator.act(Verb::Pause).await?;
        looks.push(look(cast).await?);
        cast.operator.act(Verb::Resume).await?;
    }
    let of_steps = looks.iter().zip(LOOKED_AT).flat_map(|(seen, (_, green))| seen.findings(green));
    let mut findings: Vec<_> = of_steps.collect();
    findings.extend(looks.windows(2).map(|pair| movement(&pair[0], &pair[1])));
    Ok(findings)
}

/// Spoils green at the second step, and waits until nothing goes there.
async fn turn_back(cast: &Cast, scenario: Scenario, fault: Fault) -> Result<Vec<Finding>, Error> {
    until(cast, "the second step", |standing| standing.has_reached(2)).await?;
    pass(cast, 1).await?;
    let spoiled = clock::now();
    cast.spoil_green(fault);
    until(cast, "the rollback", |standing| standing.is(scenario.end())).await?;
    let took = clock::now().since(spoiled);
    // What was under way when the weights changed went by the old ones: it is waited for, and not looked at.
    pass(cast, 1).await?;
    cast.take_sessions();
    pass(cast, 1).await?;
    let left = cast.take_sessions()[Side::Green].len();
    Ok(vec![
        Finding {
            holds: took <= MOST_REACTION,
            text: format!(
                "green was out {:.2} s after it went bad; wanted {} s at most",
                took.as_secs_f64(),
                MOST_REACTION.as_secs()
            ),
        },
        Finding {
            holds: left == 0,
            text: format!("afterwards green saw {left} sessions; wanted 0"),
        },
    ])
}

/// Watches the rollout stand still while hardly anybody asks, then lets everybody ask.
async fn wait_for_traffic(cast: &Cast) -> Result<Vec<Finding>, Error> {
    until(cast, "the rollout to hold", |standing| standing.is("holding")).await?;
    tokio::time::sleep(STILLNESS).await;
    let still = cast.operator.standing().await?;
    cast.load.set_rate(RATE);
    let holds = still.is("holding") && !still.has_reached(2);
    let phase = still.rollout.map_or("gone".to_owned(), |rollout| rollout.phase);
    let text = format!("with {THIN_RATE} requests a second it is {phase}; wanted holding");
    Ok(vec![Finding { holds, text }])
}

/// Waits until the rollout `fits`, or has ended, or is gone.
async fn until(
    cast: &Cast,
    what: &'static str,
    fits: impl Fn(&Standing) -> bool,
) -> Result<Standing, Error> {
    const ENDS: [&str; 3] = ["promoted", "rolled_back", "failed"];
    let start = clock::now();
    loop {
        let standing = cast.operator.standing().await?;
        if fits(&standing) {
            return Ok(standing);
        }
        let because = standing.rollout.as_ref().map_or("it is gone", |rollout| &rollout.because);
        let ended = standing.rollout.is_none() || ENDS.iter().any(|end| standing.is(end));
        if ended || clock::now().since(start) > PATIENCE {
            return Err(Error::Astray { what, because: because.to_owned() });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Something that was looked at, and whether it is as it should be.
#[derive(Debug)]
struct Finding {
    holds: bool,
    text: String,
}

/// The sessions that each server saw.
#[derive(Debug)]
struct Seen(Sides<BTreeMap<u32, u64>>);

async fn look(cast: &Cast) -> Result<Seen, Error> {
    // What was under way when the weights changed went by the old ones: it is waited for, and not looked at.
    pass(cast, 2).await?;
    cast.take_sessions();
    pass(cast, REQUESTS_EACH).await?;
    Ok(Seen(cast.take_sessions()))
}

/// Waits until every session has had that many answers more.
async fn pass(cast: &Cast, answers: u64) -> Result<(), Error> {
    let (begin, start) = (cast.load.tally(), clock::now());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let done = cast.load.tally().sessions_ahead(&begin, answers);
        if done == SESSIONS {
            return Ok(());
        }
        if clock::now().since(start) > PATIENCE {
            return Err(Error::Slow { seconds: PATIENCE.as_secs(), done, wanted: SESSIONS });
        }
    }
}

impl Seen {
    fn findings(&self, green_percent: u8) -> Vec<Finding> {
        let (blue, green) = (&self.0[Side::Blue], &self.0[Side::Green]);
        let both = blue.keys().filter(|session| green.contains_key(session)).count();
        let all = blue.len() + green.len() - both;
        let share = f64::from(green_percent) / 100.0;
        let mean = SESSIONS as f64 * share;
        let bound = SIGMAS * (mean * (1.0 - share)).sqrt();
        let weights = format!("{}/{green_percent}", 100 - green_percent);
        let fits = all == SESSIONS && (green.len() as f64 - mean).abs() <= bound;
        vec![
            Finding {
                holds: fits,
                text: format!(
                    "at {weights} green saw {} of {all} sessions; wanted {mean:.0} ± {bound:.0}",
                    green.len()
                ),
            },
            Finding {
                holds: both == 0,
                text: format!("at {weights} {both} sessions were seen on both sides; wanted 0"),
            },
        ]
    }
}

/// Growing green takes sessions from blue, and never the other way.
fn movement(before: &Seen, after: &Seen) -> Finding {
    let count = |from: Side| {
        let (was, is) = (&before.0[from], &after.0[from.other()]);
        was.keys().filter(|session| is.contains_key(session)).count()
    };
    let (to_green, to_blue) = (count(Side::Blue), count(Side::Green));
    Finding {
        holds: to_blue == 0,
        text: format!("{to_green} sessions went to green, {to_blue} back to blue; wanted 0 back"),
    }
}

fn failures(tally: &Tally, scenario: Scenario) -> Finding {
    let shows = matches!(scenario, Scenario::Errors | Scenario::Down);
    let share = if shows { MOST_FAILURES } else { 0.0 };
    let most = (tally.requests() as f64 * share) as u64;
    let why = tally.first_failure.as_ref().map(|why| format!(", the first: {why}"));
    Finding {
        holds: tally.failures <= most,
        text: format!(
            "{} of {} requests failed{}; wanted {most}{}",
            tally.failures,
            tally.requests(),
            why.unwrap_or_default(),
            if shows { " at most" } else { "" },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions below `green` went to green, the others to blue.
    fn seen(green: usize) -> Seen {
        let list = |range: std::ops::Range<usize>| range.map(|at| (at as u32, 2)).collect();
        Seen(Sides::of(|side| match side {
            Side::Blue => list(green..SESSIONS),
            Side::Green => list(0..green),
        }))
    }

    fn hold(findings: &[Finding]) -> Vec<bool> {
        findings.iter().map(|finding| finding.holds).collect()
    }

    #[test]
    fn a_split_fits_within_five_deviations() {
        // √(1000 · 0.1 · 0.9) · 5 is 47.4.
        for (green, fits) in [(100, true), (147, true), (148, false), (53, true), (52, false)] {
            assert_eq!(hold(&seen(green).findings(10)), [fits, true], "{green}");
        }
    }

    #[test]
    fn a_session_on_both_sides_or_on_none_is_found() {
        let mut twice = seen(100);
        twice.0[Side::Blue].insert(0, 1);
        assert_eq!(hold(&twice.findings(10)), [true, false]);
        let mut lost = seen(100);
        lost.0[Side::Blue].remove(&500);
        assert_eq!(hold(&lost.findings(10)), [false, true]);
    }

    #[test]
    fn a_session_that_goes_back_is_found() {
        assert!(movement(&seen(100), &seen(500)).holds);
        assert!(!movement(&seen(500), &seen(100)).holds);
    }

    #[test]
    fn a_failed_request_is_found() {
        let mut tally = Tally::new(1);
        assert!(failures(&tally, Scenario::Masked).holds);
        tally.failed(0, "503".to_owned());
        let finding = failures(&tally, Scenario::Masked);
        assert!(!finding.holds);
        assert_eq!(finding.text, "1 of 1 requests failed, the first: 503; wanted 0");
    }

    #[test]
    fn some_may_fail_where_nothing_answers_for_green() {
        let mut tally = Tally::new(1);
        for number in 0..100 {
            match number {
                0..5 => tally.failed(0, "500".to_owned()),
                _ => tally.answered(0, Side::Blue, Duration::from_millis(1)),
            }
        }
        assert!(failures(&tally, Scenario::Errors).holds);
        assert!(!failures(&tally, Scenario::Slow).holds);
        tally.failed(0, "500".to_owned());
        assert!(!failures(&tally, Scenario::Down).holds);
    }
}
