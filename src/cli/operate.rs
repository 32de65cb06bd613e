//! Commands that change something: split, endpoint, reload.

use std::{fmt::Write as _, process::ExitCode};

use http::Method;

use super::{
    client::{Client, segment},
    exit::{Failure, REFUSED},
    output, words,
};
use crate::admin::wire::{
    EndpointState, EndpointStatus, EndpointVerb, ReloadOutcome, Reloaded, RouteStatus, Signature,
    SplitWish,
};

/// Sets a split, and shows it as it is in force.
pub(super) async fn split(
    client: &Client,
    route: &str,
    shares: Vec<(String, f64)>,
    reason: Option<String>,
) -> Result<ExitCode, Failure> {
    let mut names: Vec<_> = shares.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::new(REFUSED, format!("backend {} is named twice", pair[0])));
    }
    let wish = SplitWish { shares, signature: Signature { actor: None, reason } };
    let path = format!("/v1/routes/{}/split", segment(route));
    let set: RouteStatus = client.send(Method::PUT, &path, &wish).await?;
    let mut out = format!("route {}:", set.name);
    for (name, weight) in &set.split {
        // Writing to a text cannot fail.
        let _ = write!(out, " {name} {weight}%");
    }
    output::print(&format!("{out}\n"))
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
