//! `[notify.NAME]`: each kind of sink has keys of its own.

use super::{Place, SinkWord, raw};
use crate::{
    config::{
        fault::Refusal,
        model::{Address, Email, Sink, SinkKind},
        reader::{At, Reader},
        source::Span,
    },
    domain::SinkName,
};

/// The sinks of `named`; those with faults are left out.
pub(in crate::config) fn sinks(
    named: Vec<(At<SinkName>, At<raw::Notify>)>,
    reader: &mut Reader<'_>,
) -> Vec<Sink> {
    let sink = |(name, section): (At<SinkName>, At<raw::Notify>)| {
        let mut place = Place { key: format!("notify.{}", name.value), span: section.span, reader };
        let mut section = section.value;
        refuse_keys_of_others(&section, &mut place);
        let kind = match section.kind.as_ref()?.value {
            SinkWord::Slack => SinkKind::Slack(address(&mut section, &mut place)?),
            SinkWord::Alertmanager => SinkKind::Alertmanager(address(&mut section, &mut place)?),
            SinkWord::Webhook => SinkKind::Webhook {
                url: address(&mut section, &mut place)?,
                secret_file: section.secret_file.map(|path| path.value),
            },
            SinkWord::Email => SinkKind::Email(email(&mut section, &mut place)?),
        };
        Some(Sink {
            name: name.value,
            kind,
            events: section.events.value.into_values(),
            min_severity: section.min_severity.value,
            timeout: section.timeout.value,
        })
    };
    named.into_iter().filter_map(sink).collect()
}

fn refuse_keys_of_others(section: &raw::Notify, place: &mut Place<'_, '_>) {
    let Some(kind) = section.kind.as_ref().map(|kind| kind.value) else { return };
    let span = |present: bool, span: Span| present.then_some(span);
    let (mail, webhook) = (kind == SinkWord::Email, kind == SinkWord::Webhook);
    let keys = [
        (!mail, "url", section.url.as_ref().map(|at| at.span)),
        (!mail, "url_file", section.url_file.as_ref().map(|at| at.span)),
        (webhook, "secret_file", section.secret_file.as_ref().map(|at| at.span)),
        (mail, "smtp", section.smtp.as_ref().map(|at| at.span)),
        (mail, "from", section.from.as_ref().map(|at| at.span)),
        (mail, "to", span(section.to.written, section.to.span)),
        (mail, "user", section.user.as_ref().map(|at| at.span)),
        (mail, "password_file", section.password_file.as_ref().map(|at| at.span)),
    ];
    for (belongs, key, span) in keys {
        if let Some(span) = span.filter(|_| !belongs) {
            let refusal = Refusal::new("has no effect with this \"kind\"").hint("leave it out");
            place.fault(span, key, refusal);
        }
    }
}

fn address(section: &mut raw::Notify, place: &mut Place<'_, '_>) -> Option<Address> {
    match (section.url.take(), section.url_file.take()) {
        (Some(url), None) => Some(Address::Url(url.value.0)),
        (None, Some(file)) => Some(Address::File(file.value)),
        (Some(_), Some(file)) => {
            let refusal = Refusal::new("stands beside url").hint("write one of the two");
            place.fault(file.span, "url_file", refusal);
            None
        }
        (None, None) => {
            place.missing(
                &["url", "url_file"],
                "the address is missing",
                "write url = \"https://…\", or url_file",
            );
            None
        }
    }
}

fn email(section: &mut raw::Notify, place: &mut Place<'_, '_>) -> Option<Email> {
    let to: Vec<_> = section.to.value.0.iter().map(|to| to.value.0.clone()).collect();
    if section.smtp.is_none() {
        place.missing(
            &["smtp"],
            "the key \"smtp\" is missing",
            "write smtp = \"smtp://127.0.0.1:25\"",
        );
    }
    if section.from.is_none() {
        place.missing(
            &["from"],
            "the key \"from\" is missing",
            "write from = \"tidegate@example.com\"",
        );
    }
    if to.is_empty() && !section.to.written {
        place.missing(&["to"], "the key \"to\" is missing", "write to = [\"oncall@example.com\"]");
    } else if to.is_empty() {
        place.fault(section.to.span, "to", Refusal::new("nobody would get it"));
    }
    let login = match (section.user.take(), section.password_file.take()) {
        (Some(user), Some(file)) => Some((user.value.0, file.value)),
        (None, None) => None,
        (Some(user), None) => {
            let refusal = Refusal::new("has no effect without password_file");
            place.fault(user.span, "user", refusal);
            None
        }
        (None, Some(file)) => {
            let refusal = Refusal::new("has no effect without user");
            place.fault(file.span, "password_file", refusal);
            None
        }
    };
    let (smtp, from) = (section.smtp.take()?.value, section.from.take()?.value.0);
    Some(Email { host: smtp.host, port: smtp.port, security: smtp.security, from, to, login })
}
