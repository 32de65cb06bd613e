//! The `$variables` that templates may use, by the names that Nginx gives them and a few of Tidegate's own.

use http::HeaderName;

/// A part of a request or its answer that a template names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// The client's address, behind trusted proxies.
    Client,
    /// The address that the connection comes from.
    Peer,
    /// Its port.
    PeerPort,
    /// The name in a Basic `authorization`.
    User,
    /// `GET`
    Method,
    /// The path as it was sent, without the query.
    Path,
    /// The path and the query as they were sent.
    PathAndQuery,
    /// The query without its question mark.
    Query,
    /// A question mark where there is a query.
    QueryMark,
    /// `HTTP/1.1`
    Protocol,
    /// `http` or `https`
    Scheme,
    /// The host's name: lower case, without a port.
    Host,
    /// Method, path and query, protocol.
    RequestLine,
    /// `x-request-id`
    RequestId,
    /// The listener's port.
    ListenerPort,
    /// A header of the request.
    Header(HeaderName),
    /// A cookie of the request.
    Cookie(Box<str>),
    /// A parameter of the query, as it was sent.
    Argument(Box<str>),
    /// The route's name.
    Route,
    /// A group of the route's regular expression; 0 is the whole match.
    Group(u8),
    /// The chosen backend's name.
    Backend,
    /// The answer's status code.
    Status,
    /// The endpoint's address.
    Endpoint,
    /// Bytes of the answer's body that were sent.
    BodyBytes,
    /// Seconds from the request's begin to its end.
    RequestTime,
    /// Seconds from the request's begin to the first byte of its answer.
    FirstByteTime,
    /// A header of the answer.
    AnswerHeader(HeaderName),
    /// `26/Nov/2026:09:13:20 +0000`
    LocalTime,
    /// `2026-11-26T09:13:20+00:00`
    IsoTime,
    /// Seconds of Unix time with milliseconds.
    UnixTime,
    /// How often the request was sent again.
    Retries,
    /// The word `fallback` where the baseline answered for the canary.
    Fallback,
    /// Why Tidegate answered by itself, or cut the answer short.
    Error,
}

/// How far a request has come when a template is filled in; what is known then is known later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Its route is known.
    Routed,
    /// Its backend is.
    Chosen,
    /// The answer's head has come.
    Answered,
    /// It has ended.
    Ended,
}

/// Names without a part that the writer chooses.
const NAMED: &[(&str, Variable)] = &[
    ("client_ip", Variable::Client),
    ("remote_addr", Variable::Client),
    ("realip_remote_addr", Variable::Peer),
    ("remote_port", Variable::PeerPort),
    ("remote_user", Variable::User),
    ("request_method", Variable::Method),
    ("uri", Variable::Path),
    ("request_uri", Variable::PathAndQuery),
    ("path_and_query", Variable::PathAndQuery),
    ("args", Variable::Query),
    ("query_string", Variable::Query),
    ("is_args", Variable::QueryMark),
    ("server_protocol", Variable::Protocol),
    ("scheme", Variable::Scheme),
    ("host", Variable::Host),
    ("request", Variable::RequestLine),
    ("request_id", Variable::RequestId),
    ("server_port", Variable::ListenerPort),
    ("route", Variable::Route),
    ("backend", Variable::Backend),
    ("status", Variable::Status),
    ("endpoint", Variable::Endpoint),
    ("upstream_addr", Variable::Endpoint),
    ("body_bytes_sent", Variable::BodyBytes),
    ("request_time", Variable::RequestTime),
    ("upstream_header_time", Variable::FirstByteTime),
    ("first_byte_time", Variable::FirstByteTime),
    ("time_local", Variable::LocalTime),
    ("time_iso8601", Variable::IsoTime),
    ("msec", Variable::UnixTime),
    ("retries", Variable::Retries),
    ("fallback", Variable::Fallback),
    ("error", Variable::Error),
];

/// Beginnings of names whose rest says which header, cookie or parameter is meant.
const PREFIXES: [&str; 4] = ["http_", "sent_http_", "cookie_", "arg_"];

impl Variable {
    /// The variable called `name`, without its `$`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        if let (1, true) = (name.len(), digits) {
            return name.parse().ok().map(Self::Group);
        }
        if let Some((_, variable)) = NAMED.iter().find(|(known, _)| *known == name) {
            return Some(variable.clone());
        }
        // As in Nginx, an underscore stands for the dash that a name here cannot have.
        let header = |rest: &str| rest.replace('_', "-").parse().ok();
        if let Some(rest) = name.strip_prefix("sent_http_") {
            return header(rest).map(Self::AnswerHeader);
        }
        if let Some(rest) = name.strip_prefix("http_") {
            return header(rest).map(Self::Header);
        }
        let rest = name.strip_prefix("cookie_").filter(|rest| !rest.is_empty());
        if let Some(rest) = rest {
            return Some(Self::Cookie(rest.into()));
        }
        let rest = name.strip_prefix("arg_").filter(|rest| !rest.is_empty())?;
        Some(Self::Argument(rest.into()))
    }

    /// Names that a template filled in at `stage` may use.
    pub(super) fn names(stage: Stage) -> impl Iterator<Item = &'static str> {
        let known = NAMED.iter().filter(move |(_, variable)| variable.stage() <= stage);
        known.map(|(name, _)| *name)
    }

    /// [`Variable::names`] as a sentence lists them.
    pub(super) fn list(stage: Stage) -> String {
        let names: Vec<_> = Self::names(stage).map(|name| format!("${name}")).collect();
        let open =
            PREFIXES.iter().filter(|prefix| stage == Stage::Ended || **prefix != "sent_http_");
        let open: Vec<_> = open.map(|prefix| format!("${prefix}NAME")).collect();
        format!("{}, {}", names.join(", "), open.join(", "))
    }

    /// From when on it has a value.
    pub(super) const fn stage(&self) -> Stage {
        match self {
            Self::Client
            | Self::Peer
            | Self::PeerPort
            | Self::User
            | Self::Method
            | Self::Path
            | Self::PathAndQuery
            | Self::Query
            | Self::QueryMark
            | Self::Protocol
            | Self::Scheme
            | Self::Host
            | Self::RequestLine
            | Self::RequestId
            | Self::ListenerPort
            | Self::Header(_)
            | Self::Cookie(_)
            | Self::Argument(_)
            | Self::Group(_)
            | Self::Route => Stage::Routed,
            Self::Backend => Stage::Chosen,
            Self::Status => Stage::Answered,
            Self::Endpoint
            | Self::BodyBytes
            | Self::RequestTime
            | Self::FirstByteTime
            | Self::AnswerHeader(_)
            | Self::LocalTime
            | Self::IsoTime
            | Self::UnixTime
            | Self::Retries
            | Self::Fallback
            | Self::Error => Stage::Ended,
        }
    }

    /// The request header that has to be kept for it.
    pub fn request_header(&self) -> Option<HeaderName> {
        match self {
            Self::Header(name) => Some(name.clone()),
            Self::Cookie(_) => Some(http::header::COOKIE),
            Self::User => Some(http::header::AUTHORIZATION),
            Self::Client
            | Self::Peer
            | Self::PeerPort
            | Self::Method
            | Self::Path
            | Self::PathAndQuery
            | Self::Query
            | Self::QueryMark
            | Self::Protocol
            | Self::Scheme
            | Self::Host
            | Self::RequestLine
            | Self::RequestId
            | Self::ListenerPort
            | Self::Argument(_)
            | Self::Group(_)
            | Self::Route
            | Self::Backend
            | Self::Status
            | Self::Endpoint
            | Self::BodyBytes
            | Self::RequestTime
            | Self::FirstByteTime
            | Self::AnswerHeader(_)
            | Self::LocalTime
            | Self::IsoTime
            | Self::UnixTime
            | Self::Retries
            | Self::Fallback
            | Self::Error => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_part_of_its_own_is_read() {
        assert_eq!(
            Variable::named("http_user_agent"),
            Some(Variable::Header(http::header::USER_AGENT))
        );
        assert_eq!(Variable::named("cookie_sid"), Some(Variable::Cookie("sid".into())));
        assert_eq!(Variable::named("1"), Some(Variable::Group(1)));
        for unknown in ["", "http_", "arg_", "cookie_", "12", "statuss"] {
            assert_eq!(Variable::named(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_is_not_known_yet_is_not_offered() {
        let routed: Vec<_> = Variable::names(Stage::Routed).collect();
        assert!(routed.contains(&"host") && !routed.contains(&"backend"));
        assert!(Variable::names(Stage::Ended).count() > routed.len());
    }
}
