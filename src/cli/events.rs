//! `tidegate events`: the audit trail, once or as it grows.

use std::process::ExitCode;

use super::{
    exit::{Failure, NO_PROXY},
    output, words,
};
use crate::admin::{
    client::Client,
    wire::{Event, Events},
};

/// Shows the newest events, and then those that come.
pub(super) async fn events(
    client: &Client,
    follow: bool,
    json: bool,
    limit: u16,
) -> Result<ExitCode, Failure> {
    let Events { events } = client.get(&format!("/v1/events?limit={limit}")).await?;
    let mut out = String::new();
    for event in &events {
        out.push_str(&line(event, json)?);
    }
    output::print(&out)?;
    if !follow {
        return Ok(ExitCode::SUCCESS);
    }
    let last = events.last().map_or(0, |event| event.id);
    let show = |text: &str| {
        let event: Event = serde_json::from_str(text)?;
        output::print(&line(&event, json)?).map(drop)
    };
    client.follow(&format!("/v1/events/stream?after={last}"), show).await?;
    Err(Failure::new(NO_PROXY, "the proxy has ended"))
}

fn line(event: &Event, json: bool) -> Result<String, Failure> {
    if json {
        return Ok(serde_json::to_string(event)? + "\n");
    }
    let time = words::time(event.at_ms);
    let Event { id, actor, subject, message, .. } = event;
    let kind = event.kind.label();
    // Each event is one paragraph, its further lines set in.
    let message = words::plain(message).replace('\n', "\n    ");
    let (actor, subject) = (words::plain(actor), words::plain(subject));
    let about = if subject.is_empty() { message } else { format!("{subject}  {message}") };
    Ok(format!("{id:>5}  {time}  {kind:<18}  {about}  [{actor}]\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::wire::EventKind;

    #[test]
    fn an_event_is_one_line_that_says_who_and_what() {
        let event = Event::new(EventKind::SplitChanged, 1_700_000_000_000, "api", "split a → b");
        let text = line(&Event { id: 7, ..event.by("uid:alice(1000)") }, false).unwrap();
        assert_eq!(
            text,
            "    7  2023-11-14 22:13:20  split_changed       api  split a → b  [uid:alice(1000)]\n"
        );
    }
}
