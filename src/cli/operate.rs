//! Commands that change something: split, endpoint, reload.

use std::{fmt::Write as _, process::ExitCode};

use http::Method;

use super::{
    exit::{Failure, REFUSED},
    output, words,
};
use crate::{
    admin::{
        client::{Client, segment},
        wire::{
            EndpointState, EndpointStatus, EndpointVerb, ReloadOutcome, Reloaded, Signature,
            SplitSet, SplitWish,
        },
    },
    domain::Weight,
};

/// Sets a split, and shows it as it is in force.
pub(super) async fn split(
    client: &Client,
    route: &str,
    shares: &[String],
    reason: Option<String>,
) -> Result<ExitCode, Failure> {
    let shares = parse(shares)?;
    let mut names: Vec<_> = shares.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::new(REFUSED, format!("backend {} is named twice", pair[0])));
    }
    let shares = shares.into_iter().map(|(name, percent)| (name, Some(percent))).collect();
    let wish = SplitWish { shares, signature: Signature { actor: None, reason } };
    let path = format!("/v1/routes/{}/split", segment(route));
    let set: SplitSet = client.send(Method::PUT, &path, &wish).await?;
    let mut out = format!("route {}:", set.route.name);
    for (name, weight) in &set.route.split {
        // Writing to a text cannot fail.
        let _ = write!(out, " {name} {weight}%");
    }
    if !set.durable {
        out.push_str("\nin force, but not in the state file yet: a restart now would forget it");
    }
    output::print(&format!("{out}\n"))
}

/// Backends and percents, or all that is wrong with them: refused as the proxy would.
fn parse(shares: &[String]) -> Result<Vec<(String, f64)>, Failure> {
    let mut parsed = Vec::new();
    let mut faults = Vec::new();
    for given in shares {
        match share(given) {
            Ok(share) => parsed.push(share),
            Err(fault) => faults.push(words::plain(&format!("{given:?}: {fault}"))),
        }
    }
    if faults.is_empty() { Ok(parsed) } else { Err(Failure::new(REFUSED, faults.join("\n"))) }
}

fn share(text: &str) -> Result<(String, f64), String> {
    let (name, percent) =
        text.split_once('=').ok_or("write a backend and its percent, as in blue=50")?;
    let weight: Weight = percent.parse().map_err(|error| format!("{error}"))?;
    Ok((name.to_owned(), weight.percent()))
}

/// Takes an endpoint out, or back in.
pub(super) async fn endpoint(
    client: &Client,
    backend: &str,
    address: &str,
    verb: EndpointVerb,
    reason: Option<String>,
) -> Result<ExitCode, Failure> {
    let verb = match verb {
        EndpointVerb::Drain => "drain",
        EndpointVerb::Ready => "ready",
    };
    let path = format!("/v1/backends/{}/endpoints/{}/{verb}", segment(backend), segment(address));
    let signature = Signature { actor: None, reason };
    let set: EndpointStatus = client.send(Method::POST, &path, &signature).await?;
    let state = match set.state {
        EndpointState::Ready => "takes requests",
        EndpointState::Drained => "takes no new requests",
        EndpointState::Unhealthy => "takes no new requests, for it is unhealthy",
        EndpointState::Ejected => "takes no new requests, for it is ejected",
    };
    output::print(&format!("{backend}/{} {state}; {} in flight\n", set.address, set.in_flight))
}

/// Has the configuration read again.
pub(super) async fn reload(client: &Client) -> Result<ExitCode, Failure> {
    let reloaded: Reloaded = client.send(Method::POST, "/v1/reload", &Signature::default()).await?;
    match reloaded.outcome {
        ReloadOutcome::Applied => {
            let changes = reloaded.changes.iter().map(|change| format!("  {change}\n"));
            output::print(&words::plain(&format!("applied:\n{}", changes.collect::<String>())))
        }
        ReloadOutcome::Unchanged => output::print("unchanged\n"),
        ReloadOutcome::Rejected => {
            let errors = words::plain(&reloaded.errors.join("\n"));
            let message = format!("{errors}\nrejected; the old configuration stays in force");
            Err(Failure::new(REFUSED, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percents_by_name() {
        assert_eq!(share("blue=12.5%"), Ok(("blue".to_owned(), 12.5)));
        for bad in ["blue", "blue=", "blue=x", "blue=101", "blue=0.001"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let given = ["blue=x", "green=50", "red"].map(str::to_owned);
        let Err(Failure::Told(code, message)) = parse(&given) else { panic!("taken") };
        assert_eq!((code, message.lines().count()), (REFUSED, 2), "{message}");
    }
}
