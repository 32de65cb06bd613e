//! What a notification looks like to people and programs: Slack's blocks, a webhook's JSON, a mail. Pure.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    control::status::rfc3339,
    domain::{Notification, NotificationKind, Severity, is_steering},
};

/// Reasons that a message repeats at most.
const MAX_REASONS: usize = 20;

/// Longest line of a message; longer ones are cut.
const MAX_LINE: usize = 500;

/// What a webhook gets.
#[derive(Debug, Serialize)]
struct Body<'n> {
    #[serde(flatten)]
    notification: &'n Notification,
    /// Of `at_ms`, in RFC 3339.
    at: String,
}

/// The JSON that a webhook gets.
pub(super) fn webhook(notification: &Notification) -> Vec<u8> {
    let body = Body { notification, at: rfc3339(notification.at_ms) };
    // Every part of it has a form in JSON.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The JSON that Slack's incoming webhooks take.
pub(super) fn slack(notification: &Notification) -> Value {
    let colour = match (notification.kind, notification.severity) {
        (NotificationKind::Promoted | NotificationKind::Resolved, _) => "good",
        (_, Severity::Info) => "#6b7280",
        (_, Severity::Warning) => "warning",
        (_, Severity::Critical) => "danger",
    };
    let field = |(name, value): (&str, String)| json!({ "title": name, "value": escape(&value), "short": true });
    let fields: Vec<_> = facts(notification).into_iter().map(field).collect();
    let reasons: Vec<_> =
        reasons(notification).map(|reason| format!("• {}", escape(&reason))).collect();
    json!({
        "text": escape(&title(notification)),
        "attachments": [{
            "color": colour,
            "fallback": escape(&title(notification)),
            "text": reasons.join("\n"),
            "fields": fields,
            "ts": notification.at_ms / 1_000,
        }],
    })
}

/// The subject of a mail.
pub(super) fn subject(notification: &Notification) -> String {
    format!("[tidegate] {}", title(notification))
}

/// The text of a mail.
pub(super) fn text(notification: &Notification) -> String {
    let mut text = format!("{}\n\n", title(notification));
    for (name, value) in facts(notification) {
        text += &format!("{name}: {}\n", line(&value));
    }
    text += &format!("At: {}\n", rfc3339(notification.at_ms));
    let reasons: Vec<_> = reasons(notification).map(|reason| format!("- {reason}\n")).collect();
    if !reasons.is_empty() {
        text += &format!("\nWhy:\n{}", reasons.concat());
    }
    text
}

/// It in one line.
pub(super) fn title(notification: &Notification) -> String {
    let Notification { kind, severity, rollout, message, .. } = notification;
    let urgency = match severity {
        Severity::Info => "",
        Severity::Warning => "warning: ",
        Severity::Critical => "critical: ",
    };
    format!("{urgency}{rollout} {}: {}", kind.label().replace('_', " "), line(message))
}

fn facts(notification: &Notification) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Rollout", notification.rollout.to_string())];
    facts.extend(notification.step.iter().map(|step| ("Step", step.clone())));
    facts.push(("Weight", format!("{} %", notification.weight)));
    if !notification.rule.is_empty() {
        facts.push(("Rule", notification.rule.clone()));
    }
    facts
}

fn reasons(notification: &Notification) -> impl Iterator<Item = String> {
    notification.reasons.iter().take(MAX_REASONS).map(|reason| line(reason))
}

/// `text` in one line that steers nothing, cut where it is long.
pub(super) fn line(text: &str) -> String {
    let shown = text.chars().map(|c| if is_steering(c) { ' ' } else { c });
    let mut line: String = shown.take(MAX_LINE).collect();
    if text.chars().nth(MAX_LINE).is_some() {
        line.push('…');
    }
    line
}

/// Slack's three signs with a meaning.
fn escape(text: &str) -> String {
    line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::notify::tests::notification;

    #[test]
    fn a_webhook_gets_every_part() {
        let body: Value = serde_json::from_slice(&webhook(&notification())).unwrap();
        assert_eq!(
            body,
            json!({
                "kind": "rolled_back",
                "severity": "critical",
                "rollout": "api",
                "step": "canary",
                "weight": 0,
                "message": "all traffic is on blue",
                "rule": "",
                "reasons": ["error_rate 12% > 10%"],
                "at_ms": 1_700_000_000_000_u64,
                "at": "2023-11-14T22:13:20Z",
            })
        );
    }

    #[test]
    fn slack_is_told_without_a_word_of_its_own_markup() {
        let odd = Notification { message: "<!channel> a & b\u{202e}\n".into(), ..notification() };
        let body = slack(&odd);
        assert_eq!(body["text"], "critical: api rolled back: &lt;!channel&gt; a &amp; b  ");
        assert_eq!(body["attachments"][0]["color"], "danger");
        assert_eq!(body["attachments"][0]["text"], "• error_rate 12% &gt; 10%");
    }

    #[test]
    fn a_mail_is_plain_text_with_a_subject_of_one_line() {
        let odd = Notification { message: "a\r\nBcc: x".into(), ..notification() };
        assert_eq!(subject(&odd), "[tidegate] critical: api rolled back: a  Bcc: x");
        assert_eq!(
            text(&notification()),
            "critical: api rolled back: all traffic is on blue\n\nRollout: api\nStep: canary\n\
             Weight: 0 %\nAt: 2023-11-14T22:13:20Z\n\nWhy:\n- error_rate 12% > 10%\n"
        );
    }

    #[test]
    fn what_is_long_is_cut() {
        let reasons = vec!["x".repeat(10_000); 1_000];
        let long = Notification { reasons, message: "é".repeat(10_000), ..notification() };
        assert!(text(&long).len() < 20_000);
        assert!(slack(&long).to_string().len() < 20_000);
    }
}
