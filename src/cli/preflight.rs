//! The command that looks before a rollout begins. Its exit code is its recommendation.

use std::{fmt::Write as _, process::ExitCode};

use http::Method;

use super::{
    exit::{DO_NOT, Failure},
    output, words,
};
use crate::admin::{
    client::{Client, segment},
    wire::{Preflight, PreflightItem, PreflightResult, Recommendation, Signature},
};

/// Looks at everything that `rollout` will need, and says whether to begin.
pub(super) async fn preflight(
    client: &Client,
    rollout: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    let path = format!("/v1/rollouts/{}/preflight", segment(rollout));
    let found: Preflight = client.send(Method::POST, &path, &Signature::default()).await?;
    let text = match json {
        true => format!("{}\n", serde_json::to_string_pretty(&found)?),
        false => words::plain(&told(&found)),
    };
    output::print(&text)?;
    Ok(match found.recommendation {
        Recommendation::Proceed => ExitCode::SUCCESS,
        Recommendation::Hold | Recommendation::Stop => ExitCode::from(DO_NOT),
    })
}

fn told(found: &Preflight) -> String {
    let Preflight { rollout, recommendation, summary, recommendations, items } = found;
    let mut out = String::new();
    let width = items.iter().map(|item| item.name.chars().count()).max().unwrap_or(0);
    let mut category = None;
    for item in items {
        if category.replace(item.category) != Some(item.category) {
            // Writing to a text cannot fail, here and below.
            let _ = writeln!(out, "{}", item.category.label());
        }
        line(&mut out, item, width);
    }
    if !recommendations.is_empty() {
        out.push_str("\nrecommendations\n");
        for (at, advice) in recommendations.iter().enumerate() {
            let _ = writeln!(out, "  {}. {advice}", at + 1);
        }
    }
    let _ = writeln!(out, "\n{}: rollout {rollout}; {summary}", recommendation.label());
    out
}

fn line(out: &mut String, item: &PreflightItem, width: usize) {
    let mark = match item.result {
        PreflightResult::Pass => "pass",
        PreflightResult::Warn => "warn",
        PreflightResult::Fail if item.blocking => "STOP",
        PreflightResult::Fail => "FAIL",
    };
    let _ = writeln!(out, "  {mark}  {:<width$}  {}", item.name, item.detail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CheckCategory, RolloutName};

    #[test]
    fn a_preflight_reads_from_finding_to_recommendation() {
        let item = |category, name: &str, result, blocking| PreflightItem {
            name: name.into(),
            category,
            result,
            blocking,
            detail: "as found".into(),
            mend: None,
        };
        let found = Preflight {
            rollout: RolloutName::new("api").unwrap(),
            recommendation: Recommendation::Stop,
            summary: "1 of 3 checks passed, 0 warned, 2 failed".into(),
            recommendations: vec!["longer: start it".into()],
            items: vec![
                item(CheckCategory::Api, "short", PreflightResult::Pass, false),
                item(CheckCategory::Api, "longer", PreflightResult::Fail, true),
                item(CheckCategory::Feature, "other", PreflightResult::Fail, false),
            ],
        };
        let expected = "api\n  pass  short   as found\n  STOP  longer  as found\nfeature\n  \
            FAIL  other   as found\n\nrecommendations\n  1. longer: start it\n\n\
            STOP: rollout api; 1 of 3 checks passed, 0 warned, 2 failed\n";
        assert_eq!(told(&found), expected);
    }
}
