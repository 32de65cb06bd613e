//! What the `$variables` of templates stand for, in one request.

use std::net::IpAddr;

use base64::Engine as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{AUTHORIZATION, COOKIE, HOST},
    request,
};
use smallvec::SmallVec;

use super::{
    affinity,
    downstream::Downstream,
    headers::{Host, joined},
};
use crate::config::model::{Template, Variable};

/// What templates may ask of a request whose head has gone on by then.
pub(super) struct Noted {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) uri: Uri,
    /// As it was sent.
    pub(super) host: Option<HeaderValue>,
    /// Headers that are asked for, as far as they are there; all lines of one.
    headers: SmallVec<[(HeaderName, HeaderValue); 3]>,
}

impl Noted {
    /// Keeps what `names` say of `headers`, and what is always of interest.
    pub(super) fn of<'n>(
        (method, version, uri): (&Method, Version, &Uri),
        headers: &HeaderMap,
        names: impl IntoIterator<Item = &'n HeaderName>,
    ) -> Self {
        let kept =
            names.into_iter().filter_map(|name| Some((name.clone(), joined(headers, name)?)));
        let host = match uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => headers.get(HOST).cloned(),
        };
        Self { method: method.clone(), version, uri: uri.clone(), host, headers: kept.collect() }
    }

    pub(super) fn header(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The same for a head that is still whole.
    pub(super) fn of_parts<'n>(
        parts: &request::Parts,
        names: impl IntoIterator<Item = &'n HeaderName>,
    ) -> Self {
        Self::of((&parts.method, parts.version, &parts.uri), &parts.headers, names)
    }
}

/// One request as templates see it.
pub(super) struct View<'a> {
    pub(super) downstream: &'a Downstream,
    pub(super) request_id: &'a str,
    pub(super) client: IpAddr,
    pub(super) is_https: bool,
    pub(super) noted: &'a Noted,
    pub(super) route: Option<&'a str>,
    pub(super) backend: Option<&'a [u8]>,
    pub(super) status: Option<u16>,
    /// Groups of the route's regular expression, from the whole match on.
    pub(super) groups: &'a [&'a str],
}

impl View<'_> {
    /// Fills `template` in and gives what comes of it. Nothing in it ends a line: header values, paths and hosts that hold a
    /// line end have been refused before.
    pub(super) fn fill(&self, template: &Template) -> Vec<u8> {
        use crate::config::model::Segment;
        let mut filled = Vec::with_capacity(64);
        for segment in template.segments() {
            match segment {
                Segment::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Segment::Variable(variable) => {
                    self.value(variable, &mut |part| filled.extend_from_slice(part));
                }
            }
        }
        filled
    }

    /// Gives the value of `variable`, in one part or several; nothing where there is none.
    pub(super) fn value(&self, variable: &Variable, put: &mut dyn FnMut(&[u8])) {
        let noted = self.noted;
        match variable {
            Variable::Client => put_address(self.client, put),
            Variable::Peer => put(self.downstream.address_text().as_bytes()),
            Variable::PeerPort => put_number(self.downstream.peer.port().into(), put),
            Variable::User => self.put_user(put),
            Variable::Method => put(noted.method.as_str().as_bytes()),
            Variable::Path => put(noted.uri.path().as_bytes()),
            Variable::PathAndQuery => put(path_and_query(&noted.uri).as_bytes()),
            Variable::Query => put(noted.uri.query().unwrap_or("").as_bytes()),
            Variable::QueryMark => put(if noted.uri.query().is_some() { b"?" } else { b"" }),
            Variable::Protocol => put(protocol(noted.version)),
            Variable::Scheme => put(if self.is_https { b"https" } else { b"http" }),
            Variable::Host => {
                let host = noted.host.as_ref().map(|value| Host { value: value.clone() });
                put(host.as_ref().map_or("".into(), Host::name).as_bytes());
            }
            Variable::RequestLine => {
                put(noted.method.as_str().as_bytes());
                put(b" ");
                put(path_and_query(&noted.uri).as_bytes());
                put(b" ");
                put(protocol(noted.version));
            }
            Variable::RequestId => put(self.request_id.as_bytes()),
            Variable::ListenerPort => put_number(self.downstream.listener.bind.port().into(), put),
            Variable::Header(name) => put(noted.header(name).map_or(b"", HeaderValue::as_bytes)),
            Variable::Cookie(name) => {
                let line = noted.header(&COOKIE).map_or(b"".as_slice(), HeaderValue::as_bytes);
                put(affinity::cookie_in(line, name).unwrap_or_default());
            }
            Variable::Argument(name) => {
                let found = noted.uri.query().and_then(|query| affinity::parameter(query, name));
                put(found.unwrap_or_default());
            }
            Variable::Route => put(self.route.unwrap_or("").as_bytes()),
            Variable::Group(number) => {
                put(self.groups.get(usize::from(*number)).unwrap_or(&"").as_bytes());
            }
            Variable::Backend => put(self.backend.unwrap_or_default()),
            Variable::Status => {
                if let Some(status) = self.status {
                    put_number(status.into(), put);
                }
            }
            // Known at the end alone; `config` lets no other template have them.
            Variable::Endpoint
            | Variable::BodyBytes
            | Variable::RequestTime
            | Variable::FirstByteTime
            | Variable::AnswerHeader(_)
            | Variable::LocalTime
            | Variable::IsoTime
            | Variable::UnixTime
            | Variable::Retries
            | Variable::Fallback
            | Variable::Error => {}
        }
    }

    /// RFC 7617: the part before the colon.
    fn put_user(&self, put: &mut dyn FnMut(&[u8])) {
        let line = self.noted.header(&AUTHORIZATION).map(HeaderValue::as_bytes);
        let credentials = line.and_then(|line| {
            let (scheme, rest) = line.split_at_checked(6)?;
            scheme.eq_ignore_ascii_case(b"basic ").then(|| rest.trim_ascii())
        });
        let decoded = credentials
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
        if let Some(decoded) = decoded {
            put(decoded.split(|byte| *byte == b':').next().unwrap_or_default());
        }
    }
}

/// The request's target in origin form; `*` for a request of no resource.
pub(super) fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |path| path.as_str())
}

pub(super) const fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        _ => b"HTTP/1.1",
    }
}

pub(super) fn put_number(number: u64, put: &mut dyn FnMut(&[u8])) {
    put(itoa::Buffer::new().format(number).as_bytes());
}

fn put_address(address: IpAddr, put: &mut dyn FnMut(&[u8])) {
    put(address.to_canonical().to_string().as_bytes());
}
