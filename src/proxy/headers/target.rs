//! What a request may be for: a path, an address of HTTP's, or an endpoint as a whole.

use http::{Method, Version, request, uri::Scheme};

use super::ProxyError;
use crate::domain::ErrorReason;

/// Checks a request's target (RFC 9112 §3.2, RFC 9113 §8.3.1).
///
/// # Errors
/// `MalformedRequest` for a scheme that is not HTTP's; for what has no path, as a host alone, which is for CONNECT; and for `*`
/// where it is not for OPTIONS. CONNECT itself is not looked at.
pub(in crate::proxy) fn check_target(parts: &request::Parts) -> Result<(), ProxyError> {
    let malformed = |why| Err(ProxyError::new(ErrorReason::MalformedRequest, why));
    let known = |scheme: &Scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
    if parts.uri.scheme().is_some_and(|scheme| !known(scheme)) {
        return malformed("the scheme is neither http nor https");
    }
    if parts.method == Method::CONNECT {
        return Ok(());
    }
    // The path reads `/` where there is a query and nothing before it. An absolute target may be so; `:path` may not.
    let path = match parts.uri.path_and_query() {
        Some(path) if parts.version == Version::HTTP_2 => path.as_str(),
        _ => parts.uri.path(),
    };
    match path {
        path if path.starts_with('/') => Ok(()),
        "*" if parts.method == Method::OPTIONS => Ok(()),
        "*" => malformed("the target * is for OPTIONS alone"),
        _ => malformed("the target has no path that begins with a slash"),
    }
}
