//! Duties at the edge: what a route does to heads and bodies on their way. A route without any costs one look.
//!
//! `meet` stands between route and split, `forward` and `answer` where the heads go on.

mod accept;
mod address;
pub(super) mod encode;
mod rules;
mod suit;

use std::net::IpAddr;

use http::{Method, Response, header::ACCEPT_ENCODING, request, response};

#[cfg(fuzzing)]
pub(super) use self::{accept::choose as choose_coding, address::escape as escape_address};
use self::{encode::Encoder, suit::Fit};
pub(super) use self::{
    encode::MOST_BYTES as MOST_ENCODER_BYTES,
    rules::{answer_headers, forward},
};
use super::{
    body::ResponseBody,
    context::{Choice, RequestContext},
    error::ProxyError,
    respond,
    variables::{Noted, View},
};
use crate::{
    config::model::LimitKey,
    domain::{ErrorReason, Queue},
    lifecycle::clock,
    routing::{Edge, Limited, Limiter},
};

/// What a route has to say to a request before its split; an answer where that is the last word.
pub(super) fn meet(
    context: &mut RequestContext,
    route: usize,
    parts: &request::Parts,
) -> Result<Option<Response<ResponseBody>>, ProxyError> {
    let table = context.table.clone();
    let rule = &table.routes()[route];
    let Some(edge) = &rule.edge else { return Ok(None) };
    if let Some(limiter) = &edge.limiter {
        limit(context, limiter, parts)?;
    }
    if edge.headers.as_ref().is_some_and(|rules| rules.notes_request()) {
        let names = edge.headers.iter().flat_map(|rules| &rules.noted);
        context.noted = Some(Box::new(Noted::of_parts(parts, names)));
    }
    if let Some(compress) = &edge.compress {
        let lines = parts.headers.get_all(ACCEPT_ENCODING);
        context.accepts = accept::choose(lines.iter().map(|v| v.as_bytes()), &compress.algorithms);
        context.has_weak = context.accepts.is_some() && suit::names_weak(&parts.headers);
    }
    let Some(redirect) = &edge.redirect else { return Ok(None) };
    let location = address::fill(context, rule.name.as_str(), edge, &redirect.to, parts)?;
    let mut response = respond::redirected(context, redirect.status, location);
    if let Some(rules) = &edge.headers {
        let status = redirect.status;
        answer_headers(response.headers_mut(), rules, context, rule.name.as_str(), None, status);
    }
    Ok(Some(response))
}

fn limit(
    context: &RequestContext,
    limiter: &Limiter,
    parts: &request::Parts,
) -> Result<(), ProxyError> {
    let taken = match limiter.per() {
        LimitKey::Route => limiter.take(b"", context.begun),
        LimitKey::Header(name) => {
            let mut lines = parts.headers.get_all(name).iter();
            // Of several, an endpoint may go by any: whoever adds one must not be somebody else by it.
            let key = match (lines.next(), lines.next()) {
                (Some(only), None) => only.as_bytes(),
                _ => b"",
            };
            limiter.take(key, context.begun)
        }
        LimitKey::Client => match context.client.to_canonical() {
            IpAddr::V4(address) => limiter.take(&address.octets(), context.begun),
            // Whoever has one address of a network has all of it.
            IpAddr::V6(address) => limiter.take(&address.octets()[..8], context.begun),
        },
    };
    match taken {
        Ok(()) => Ok(()),
        Err(Limited::Unknown) => {
            context.downstream.worker.shard().overflow(Queue::RateLimit);
            Ok(())
        }
        Err(Limited::Refused(wait)) => {
            let why = "there were too many requests";
            Err(ProxyError::new(ErrorReason::RateLimited, why).after(wait))
        }
    }
}

/// Treats the head of an endpoint's answer, and its body if that is to be made smaller.
pub(super) fn answer(
    parts: &mut response::Parts,
    body: &mut ResponseBody,
    context: &RequestContext,
    choice: &Choice,
) {
    let route = context.route(choice);
    let Some(edge) = &route.edge else { return };
    if edge.compress.is_some() {
        compress(parts, body, context, edge);
    }
    if let Some(rules) = &edge.headers {
        let backend = Some(context.target(choice).header.as_bytes());
        let status = parts.status.as_u16();
        answer_headers(&mut parts.headers, rules, context, route.name.as_str(), backend, status);
    }
}

fn compress(
    parts: &mut response::Parts,
    body: &mut ResponseBody,
    context: &RequestContext,
    edge: &Edge,
) {
    let Some(compress) = &edge.compress else { return };
    let Some(fit) = suit::fit(parts, body, context, compress.min_size) else { return };
    suit::vary(&mut parts.headers);
    let Some(algorithm) = context.accepts else { return };
    match fit {
        Fit::Part => {}
        Fit::Kept { known } if known || context.has_weak => suit::weaken(&mut parts.headers),
        Fit::Kept { .. } => {}
        Fit::Whole if context.method == Method::HEAD => {
            suit::rewrite(&mut parts.headers, algorithm);
        }
        Fit::Whole => {
            let flow = suit::flow(&parts.headers);
            let mut room = context.downstream.worker.encoders().room();
            if !room.grow(encode::cost(algorithm, flow)) {
                context.downstream.worker.shard().overflow(Queue::Encoders);
            } else if let Ok(encoder) = Encoder::new(algorithm, flow, room) {
                suit::rewrite(&mut parts.headers, algorithm);
                body.encoder = Some(Box::new(encoder));
            }
        }
    }
}

/// A request as templates see it before it is answered.
fn view<'a>(context: &'a RequestContext, noted: &'a Noted, route: &'a str) -> View<'a> {
    View {
        downstream: &context.downstream,
        request_id: context.request_id.as_str(),
        client: context.client,
        is_https: context.is_https,
        noted,
        route: Some(route),
        backend: None,
        status: None,
        groups: &[],
    }
}

/// Lets each rate limit forget clients that have been quiet.
pub(super) fn sweep(table: &crate::routing::Table) {
    let limiters = table.routes().iter().filter_map(|route| route.edge.as_ref()?.limiter.as_ref());
    limiters.for_each(|limiter| limiter.sweep(clock::now()));
}
