//! Who may do what: the socket's file mode guards the socket, a token and the Host header guard TCP.

use std::{
    fs::File,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use sha2::{Digest as _, Sha256};

use super::{fault::Fault, wire::Signature};
use crate::domain::is_steering;

/// A request is answered within this; streams go on after their head.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for a preflight, which runs the rollout's own checks.
const PREFLIGHT_PATIENCE: Duration = Duration::from_secs(60);
const MAX_ACTOR: usize = 100;
const MAX_REASON: usize = 500;
/// Bytes of the user database that are looked through for a name.
const MAX_PASSWD: u64 = 1 << 20;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Peer {
    /// Over the unix socket, by the user of this number.
    Unix { uid: u32 },
    /// Over TCP.
    Tcp { from: IpAddr, to: SocketAddr },
}

/// The token for writes over TCP, as its digest.
#[derive(Debug, Clone)]
pub(super) struct Token(Arc<[u8; 32]>);

impl Token {
    pub(super) fn new(text: &[u8]) -> Self {
        Self(Arc::new(Sha256::digest(text).into()))
    }

    /// Compares digests in full: the time taken says nothing about the token.
    fn fits(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        let difference = self.0.iter().zip(given).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

/// What lets a request over TCP in.
#[derive(Debug, Clone, Default)]
pub(super) struct Admission {
    /// For writes; without it there are none.
    pub(super) token: Option<Token>,
    /// Host names beside the address itself, in lower case, taken with any port.
    pub(super) hosts: Arc<[Box<str>]>,
}

/// Stands before every handler.
pub(super) async fn guard(
    State(admission): State<Admission>,
    peer: axum::Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(fault) = admit(*peer, &admission, &request) {
        let unauthorized = fault.is_unauthorized();
        let mut response = fault.into_response();
        if unauthorized {
            let value = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        return response;
    }
    let asks_others = request.uri().path().ends_with("/preflight");
    let patience = if asks_others { PREFLIGHT_PATIENCE } else { PATIENCE };
    let answer = tokio::time::timeout(patience, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", patience.as_secs());
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message).into_response()
    })
}

fn admit(peer: Peer, admission: &Admission, request: &Request) -> Result<(), Fault> {
    let headers = request.headers();
    let writes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if let Peer::Tcp { to, .. } = peer {
        check_host(headers, to, &admission.hosts)?;
        if writes {
            check_token(headers, admission.token.as_ref())?;
        }
    }
    if writes { check_content_type(headers) } else { Ok(()) }
}

/// A page of another site cannot make a browser name this address: it would send its own host name.
fn check_host(headers: &HeaderMap, to: SocketAddr, names: &[Box<str>]) -> Result<(), Fault> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let fits = |host| names_us(host, to) || is_one_of(names, host);
    let fits = host.is_some_and(fits) && hosts.next().is_none();
    if fits {
        return Ok(());
    }
    let message = format!("the Host header must name {to}, localhost or one of admin.hosts");
    Err(Fault::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message))
}

/// The name and the port of a Host header.
fn name_and_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    }
}

/// The port may be another one than here: whoever maps ports changes it, and a page cannot choose the name by it.
fn is_one_of(names: &[Box<str>], host: &str) -> bool {
    let (name, port) = name_and_port(host);
    port.is_none_or(|port| port.parse::<u16>().is_ok())
        && names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn names_us(host: &str, to: SocketAddr) -> bool {
    // A dual-stack socket shows IPv4 in the form of IPv6.
    let (name, port) = name_and_port(host);
    let here = to.ip().to_canonical();
    if port.is_some_and(|port| port.parse() != Ok(to.port())) {
        return false;
    }
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(given) => {
            let given = given.to_canonical();
            given == here || (given.is_loopback() && here.is_loopback())
        }
        Err(_) => name.eq_ignore_ascii_case("localhost") && here.is_loopback(),
    }
}

fn check_token(headers: &HeaderMap, token: Option<&Token>) -> Result<(), Fault> {
    let Some(token) = token else {
        let message = "without admin.token_file this address is read-only; use the unix socket";
        return Err(Fault::new(StatusCode::FORBIDDEN, "read_only", message));
    };
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match given.and_then(bearer) {
        Some(given) if token.fits(given) => Ok(()),
        Some(_) => Err(unauthorized("the token is wrong")),
        None => Err(unauthorized("send the token: authorization: Bearer …")),
    }
}

/// What follows the scheme, whose case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii_start())
}

fn unauthorized(message: &str) -> Fault {
    Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

/// Forms, which a page of another site can post, are not taken. An empty body needs no type.
fn check_content_type(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        let empty = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && !headers.contains_key(header::TRANSFER_ENCODING);
        return if empty { Ok(()) } else { Err(not_json()) };
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(not_json()) }
}

fn not_json() -> Fault {
    let message = "send content-type: application/json";
    Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message)
}

/// Who does it: always what the connection says, with what the request adds before it.
pub(super) fn actor(peer: Peer, signature: &Signature) -> Result<String, Fault> {
    let mut faults = Vec::new();
    if let Some(actor) = &signature.actor {
        check_text("actor", actor, MAX_ACTOR, &mut faults);
    }
    if let Some(reason) = &signature.reason {
        check_text("reason", reason, MAX_REASON, &mut faults);
    }
    if !faults.is_empty() {
        return Err(Fault::invalid(faults.join("; "), faults));
    }
    let known = match peer {
        Peer::Unix { uid } => match user_name(uid) {
            Some(name) => format!("uid:{name}({uid})"),
            None => format!("uid:{uid}"),
        },
        Peer::Tcp { from, .. } => format!("token from {}", from.to_canonical()),
    };
    Ok(match &signature.actor {
        Some(actor) => format!("{actor} as {known}"),
        None => known,
    })
}

fn check_text(key: &str, text: &str, longest: usize, faults: &mut Vec<String>) {
    if text.trim().is_empty() || text.chars().count() > longest {
        faults.push(format!("{key} must have 1 to {longest} characters"));
    }
    if text.contains(is_steering) {
        faults.push(format!("{key} must not hold control or format characters"));
    }
}

fn user_name(uid: u32) -> Option<String> {
    let mut text = String::new();
    File::open("/etc/passwd").ok()?.take(MAX_PASSWD).read_to_string(&mut text).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let fits = fields.nth(1)?.parse() == Ok(uid);
        (fits && name.bytes().all(|c| c.is_ascii_graphic())).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_address_pass() {
        let local: SocketAddr = "127.0.0.1:9900".parse().unwrap();
        for good in ["127.0.0.1:9900", "localhost:9900", "LOCALHOST", "[::1]:9900", "127.0.0.1"] {
            assert!(names_us(good, local), "{good}");
        }
        for bad in
            ["evil.example:9900", "127.0.0.1:80", "localhost.evil.example", "", "[::1", "10.0.0.1"]
        {
            assert!(!names_us(bad, local), "{bad}");
        }
        let outside: SocketAddr = "10.0.0.7:9900".parse().unwrap();
        assert!(names_us("10.0.0.7:9900", outside));
        assert!(!names_us("localhost:9900", outside));
    }

    #[test]
    fn an_ipv4_client_of_a_dual_stack_socket_names_us_in_ipv4() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:9900".parse().unwrap();
        for good in ["127.0.0.1:9900", "localhost:9900"] {
            assert!(names_us(good, mapped), "{good}");
        }
    }

    #[test]
    fn further_names_are_taken_with_any_port() {
        let names = ["tidegate".into(), "localhost".into()];
        for good in ["tidegate", "tidegate:9900", "TideGate:80", "localhost:19900"] {
            assert!(is_one_of(&names, good), "{good}");
        }
        for bad in ["tidegate.evil.example", "eviltidegate:9900", "", "tidegate:x", ":80"] {
            assert!(!is_one_of(&names, bad), "{bad}");
        }
    }

    #[test]
    fn the_case_of_the_scheme_does_not_matter() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert_eq!(bearer(value.as_bytes()), Some(&b"abc"[..]), "{value}");
        }
        for value in ["Basic abc", "Bearer", "Bearerabc", ""] {
            assert_eq!(bearer(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn a_token_fits_itself_alone() {
        let token = Token::new(b"correct horse battery");
        assert!(token.fits(b"correct horse battery"));
        assert!(!token.fits(b"correct horse batterz"));
        assert!(!token.fits(b""));
    }

    #[test]
    fn an_actor_adds_to_the_peer_and_never_replaces_it() {
        let peer = Peer::Unix { uid: 0 };
        let sign = |actor: &str| Signature { actor: Some(actor.to_owned()), reason: None };
        assert_eq!(actor(peer, &Signature::default()).unwrap(), "uid:root(0)");
        assert_eq!(actor(peer, &sign("alice")).unwrap(), "alice as uid:root(0)");
        assert!(actor(peer, &sign("a\nb")).is_err());
        assert!(actor(peer, &sign(&"a".repeat(101))).is_err());
    }
}
