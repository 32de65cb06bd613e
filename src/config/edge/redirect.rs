//! `[route.redirect]`, held to this: nothing that a client sends chooses the host it is sent to, but its own host.

use super::{check_groups, raw};
use crate::config::{
    fault::Refusal,
    model::{PathPattern, Redirect, Segment, Template, Variable},
    reader::{At, Reader},
};

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// What the section asks for.
pub(super) fn redirect(
    section: At<raw::Redirect>,
    path: &PathPattern,
    key: impl Fn(&str) -> String,
    reader: &mut Reader<'_>,
) -> Option<Redirect> {
    let status = section.value.status;
    let code = status.value.0 as u16;
    if !STATUSES.contains(&code) {
        let refusal = Refusal::new(format!("{code} is no redirect that carries an address"));
        reader.fault(
            status.span,
            key("redirect.status"),
            refusal.hint("301, 302, 303, 307 or 308"),
        );
    }
    let to = section.value.to?;
    let groups = match path {
        PathPattern::Regex(regex) => regex.captures_len(),
        PathPattern::Prefix(_) | PathPattern::Exact(_) => 0,
    };
    check_groups(&to.value.0, groups, to.span, key("redirect.to"), reader);
    if let Err(refusal) = check_address(&to.value.0) {
        reader.fault(to.span, key("redirect.to"), refusal);
    }
    Some(Redirect { to: to.value.0, status: code })
}

/// Whether the host of an address is fixed: a path of this host, or scheme and host written out, where `$scheme`, `$host`
/// and `$server_port` are as good as written. What follows the host must begin with a slash.
fn check_address(template: &Template) -> Result<(), Refusal> {
    let mut text = String::new();
    for segment in template.segments() {
        // Stand-ins of the same kind.
        match segment {
            Segment::Text(part) => text.push_str(part),
            Segment::Variable(Variable::Scheme) => text.push_str("https"),
            Segment::Variable(Variable::Host) => text.push_str("host"),
            Segment::Variable(Variable::ListenerPort) => text.push_str("443"),
            Segment::Variable(Variable::Path | Variable::PathAndQuery) => text.push_str("/*"),
            Segment::Variable(_) => text.push('*'),
        }
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = "write spaces and characters beyond ASCII as clients send them: \"%20\"";
        return Err(Refusal::new(message));
    }
    let after = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(after) = after else {
        let is_path = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
        // `$uri` alone would lead back to where the client is.
        let is_written = matches!(template.segments().first(), Some(Segment::Text(_)));
        return if is_path && is_written {
            Ok(())
        } else {
            Err(Refusal::new("is neither a path nor an address").hint(HINT))
        };
    };
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains(['*', '@', '\\']) {
        let message = "a client could choose the host that others are sent to";
        return Err(Refusal::new(message).hint(HINT));
    }
    Ok(())
}

const HINT: &str = "write \"/path\", \"https://www.example.com$path_and_query\", or \
                    \"https://$host$path_and_query\"";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::edge::variable::Stage;

    fn check(text: &str) -> Result<(), Refusal> {
        check_address(&Template::parse_with_groups(text, Stage::Routed).unwrap())
    }

    #[test]
    fn a_host_is_never_a_clients_choice() {
        for good in [
            "/new",
            "/new/$1",
            "https://$host$path_and_query",
            "https://www.example.com$request_uri",
            "$scheme://www.example.com/a?from=$arg_q",
            "https://$host:8443$uri",
            "https://$host",
            "https://example.com?x=$1",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "$uri",
            "$path_and_query",
            "//evil.com",
            "/\\evil.com",
            "new",
            "https://$http_x/",
            "https://example.com$1",
            "https://example.com$arg_next",
            "https://$host$args",
            "https://user@$host/",
            "https:///x",
            "javascript:$1",
            "$arg_next",
            "https://a b/",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
