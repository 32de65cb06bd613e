//! The part of the API that shows and operates rollouts.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    api::{Api, InPath, InQuery, from_json},
    auth::{self, Peer},
    fault::Fault,
    wire::{Preflight, ReportFormat, RolloutStatus, Signature, ThresholdWish, Verb},
};
use crate::control::{Operate, SetThresholds};

/// Thresholds in one request; more than any plan that a person reads.
const MAX_CHANGES: usize = 100;

/// How a rollout stands.
pub(super) async fn show(
    State(api): State<Api>,
    InPath(name): InPath<String>,
) -> Result<Json<RolloutStatus>, Fault> {
    find(&api, &name).map(Json)
}

/// Does what the last part of the path says.
pub(super) async fn operate(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    InPath((rollout, verb)): InPath<(String, String)>,
    body: Body,
) -> Result<Json<RolloutStatus>, Fault> {
    let Some(verb) = Verb::of_word(&verb) else {
        let verbs = Verb::ALL.map(Verb::word).join(", ");
        let message = format!("there is no such verb; a rollout knows {verbs}");
        return Err(Fault::new(StatusCode::NOT_FOUND, "not_found", message));
    };
    let signature = from_json(body, Some(Signature::default())).await?;
    let actor = auth::actor(peer, &signature)?;
    let wish = Operate { rollout, verb, actor, reason: signature.reason };
    Ok(Json(api.control.operate(wish).await?))
}

/// Changes thresholds: all that the body names, or none.
pub(super) async fn set(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    InPath(rollout): InPath<String>,
    body: Body,
) -> Result<Json<RolloutStatus>, Fault> {
    let ThresholdWish { actor, reason, changes } = from_json(body, None).await?;
    let signature = Signature { actor, reason };
    let actor = auth::actor(peer, &signature)?;
    if changes.is_empty() || changes.len() > MAX_CHANGES {
        let fault = format!("name 1 to {MAX_CHANGES} thresholds, as in {{\"min_requests\": 20}}");
        return Err(Fault::invalid(fault.clone(), vec![fault]));
    }
    let changes = changes.into_iter().map(|(key, value)| (key, as_typed(value))).collect();
    let wish = SetThresholds { rollout, changes, actor, reason: signature.reason };
    Ok(Json(api.control.set_thresholds(wish).await?))
}

/// Looks at everything that a rollout will need. Changes nothing, but asks others, and so is as good as a write.
pub(super) async fn preflight(
    State(api): State<Api>,
    InPath(name): InPath<String>,
    body: Body,
) -> Result<Json<Preflight>, Fault> {
    let _: Signature = from_json(body, Some(Signature::default())).await?;
    api.control.preflight(&name).await.map(Json).ok_or_else(|| missing(&api))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    #[serde(default)]
    format: ReportFormat,
}

/// The report, in the form that is asked for.
pub(super) async fn report(
    State(api): State<Api>,
    InPath(name): InPath<String>,
    InQuery(Form { format }): InQuery<Form>,
) -> Result<Response, Fault> {
    let report = api.control.report(&name).await.ok_or_else(|| missing(&api))?;
    let text = report.render(format).map_err(|error| {
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

fn find(api: &Api, name: &str) -> Result<RolloutStatus, Fault> {
    let mut rollouts = api.control.status().rollouts.into_iter();
    rollouts.find(|rollout| rollout.name.as_str() == name).ok_or_else(|| missing(api))
}

fn missing(api: &Api) -> Fault {
    let rollouts = api.control.status().rollouts;
    let names: Vec<_> = rollouts.iter().map(|rollout| rollout.name.as_str()).collect();
    let message = match names.as_slice() {
        [] => "there is no rollout; a configuration defines them as [rollout.NAME]".to_owned(),
        names => format!("there is no such rollout; there is {}", names.join(", ")),
    };
    Fault::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// The value as it would be typed on the command line.
fn as_typed(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}
