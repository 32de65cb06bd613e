//! Does what stands around fit: hooks, configuration, clocks?

use super::{Builtin, Finding, errors, holds, stops};

/// Clocks that differ by less are the same: an answer takes its time, and a date has whole seconds.
const SAME_CLOCK_S: i64 = 5;

const DAY_S: i64 = 86_400;

/// Programs that renew certificates begin a month before their end: with half of that left, they do not.
const SOON_S: i64 = 14 * DAY_S;

pub(super) const CHECKS: &[Builtin] = &[
    stops("Tidegate serves", |e| match e.draining {
        true => Finding::fail("it drains and is about to end", "start it anew"),
        false => Finding::pass("it takes requests"),
    }),
    holds("the configuration in force is the file's", |e| match e.reload_rejected {
        true => Finding::fail(
            "the file was read and refused; an older configuration is in force",
            "tidegate reload names the faults",
        ),
        false => Finding::pass("the last reading was taken"),
    }),
    stops("the rollout can be started", |e| match e.phase.as_deref() {
        None | Some("idle" | "promoted" | "rolled_back" | "failed") => {
            Finding::pass(e.phase.as_deref().unwrap_or("idle").replace('_', " "))
        }
        Some(phase) => Finding::fail(
            format!("it runs already: {}", phase.replace('_', " ")),
            "let it end, or roll it back",
        ),
    }),
    stops("the route leads to both sides", |e| {
        let route = e.config.routes.iter().find(|route| route.name == e.plan.route);
        let Some(route) = route else {
            let detail = format!("there is no route {}", e.plan.route);
            return Finding::fail(detail, "mend rollout.NAME.route");
        };
        let others = route.split.shares().iter().filter(|(name, weight)| {
            *name != e.plan.baseline && *name != e.plan.canary && weight.share() > 0.0
        });
        let others: Vec<_> = others.map(|(name, _)| name.to_string()).collect();
        match others.is_empty() {
            true => Finding::pass(format!("{} and {}", e.plan.baseline, e.plan.canary)),
            false => Finding::warn(
                format!("it also leads to {}", others.join(", ")),
                "their share goes to the baseline while the rollout runs",
            ),
        }
    }),
    holds("programs can be run", |e| {
        if e.programs.is_empty() {
            return Finding::Moot;
        }
        match errors(e.programs.iter().map(|(who, result)| (who, result))).as_str() {
            "" => Finding::pass(format!("{} of hooks and checks", e.programs.len())),
            why => Finding::fail(why, "install it, or give its path; the container may lack it"),
        }
    }),
    holds("addresses of hooks answer", |e| {
        if e.addresses.is_empty() {
            return Finding::Moot;
        }
        match errors(e.addresses.iter().map(|(who, result)| (who, result))).as_str() {
            "" => Finding::pass(format!("{} accept connections", e.addresses.len())),
            why => Finding::fail(why, "is the service up, and reachable from here?"),
        }
    }),
    holds("certificates last", |e| {
        let ours = e.certificates.iter().map(|(whose, left)| (whose.clone(), *left));
        let sides = [&e.baseline, &e.canary].into_iter().flat_map(|side| side.in_use());
        let theirs = sides.filter_map(|endpoint| {
            let left = endpoint.certificate.as_ref()?.as_ref().ok()?;
            Some((endpoint.address.to_string(), *left))
        });
        match ours.chain(theirs).min_by_key(|(_, left)| *left) {
            Some((whose, left)) if left <= 0 => {
                Finding::fail(format!("that of {whose} has expired"), "renew it")
            }
            Some((whose, left)) if left < SOON_S => Finding::warn(
                format!("that of {whose} ends in {} days", left / DAY_S),
                "renew it before the rollout: whatever renews it may have stopped",
            ),
            Some((whose, left)) => {
                Finding::pass(format!("the first to end is {whose}'s, in {} days", left / DAY_S))
            }
            None => Finding::Moot,
        }
    }),
    stops("certificates of endpoints are taken", |e| {
        let sides = [&e.baseline, &e.canary].into_iter().flat_map(|side| side.in_use());
        let shown = sides.filter_map(|endpoint| Some((endpoint, endpoint.certificate.as_ref()?)));
        let shown: Vec<_> = shown.collect();
        if shown.is_empty() {
            return Finding::Moot;
        }
        let wrong = shown.iter().filter_map(|(endpoint, result)| {
            Some(format!("{}: {}", endpoint.address, result.as_ref().err()?))
        });
        let wrong: Vec<_> = wrong.collect();
        match wrong.is_empty() {
            true => Finding::pass(format!("of {} endpoints", shown.len())),
            false => Finding::fail(wrong.join("; "), "mend backend.NAME.tls, or the certificate"),
        }
    }),
    holds("the clocks agree", |e| {
        let answers =
            e.samples.iter().flat_map(|sample| sample.baseline.iter().chain(&sample.canary));
        let skews =
            answers.filter_map(|(who, answer)| Some((who, answer.as_ref().ok()?.clock_ahead_s?)));
        match skews.max_by_key(|(_, ahead)| ahead.abs()) {
            Some((who, ahead)) if ahead.abs() > SAME_CLOCK_S => Finding::warn(
                format!(
                    "that of {who} is {} s {}",
                    ahead.abs(),
                    if ahead > 0 { "ahead" } else { "behind" }
                ),
                "let all machines follow the same time server: tokens and logs depend on it",
            ),
            Some(_) => Finding::pass(format!("within {SAME_CLOCK_S} s")),
            None => Finding::Moot,
        }
    }),
];
