//! Faults of listeners.

use super::{
    BIND, Case,
    Edit::{After, Instead},
};

/// Faults of `[[listener]]`.
pub(super) const LISTENER: &[Case] = &[
    (After(BIND, "max_header = 1"), "listener[0].max_header", "max_header", "does not exist"),
    (Instead(BIND, ""), "listener[0]", "[[listener]]", "\"bind\" is missing"),
    (Instead(BIND, "bind = \":80\""), "listener[0].bind", "\":80\"", "no address to listen on"),
    (
        After(BIND, "[[listener]]\nbind = \"0.0.0.0:8080\""),
        "listener[1].bind",
        "\"0.0.0.0:8080\"",
        "already taken by listener[0].bind",
    ),
    (After(BIND, "max_connections = 0"), "listener[0].max_connections", "0\n", "from 1 to 1000000"),
    (
        After(BIND, "max_header_bytes = \"1B\""),
        "listener[0].max_header_bytes",
        "\"1B\"",
        "from \"1KiB\" to \"1MiB\"",
    ),
    (
        After(BIND, "idle_timeout = \"64KiB\""),
        "listener[0].idle_timeout",
        "\"64KiB\"",
        "expected a duration such as \"250ms\", \"30s\", or \"1m30s\", found the size \"64KiB\"",
    ),
    (After(BIND, "idle_timeout = 75"), "listener[0].idle_timeout", "75", "found the number 75"),
    (After(BIND, "idle_timeout = \"0s\""), "listener[0].idle_timeout", "\"0s\"", "more than 0"),
    (
        After(BIND, "trusted_proxies = [\"x\"]"),
        "listener[0].trusted_proxies[0]",
        "\"x\"",
        "no network",
    ),
    (
        After(BIND, "max_handshakes = 5"),
        "listener[0].max_handshakes",
        "5\n",
        "no effect without [[listener.certificate]]",
    ),
    (
        After(BIND, "[listener.client_auth]\nca = \"c\""),
        "listener[0].client_auth",
        "[listener.client_auth]",
        "no effect without [[listener.certificate]]",
    ),
    (
        After(BIND, "[[listener.certificate]]\ncert = \"c\""),
        "listener[0].certificate[0]",
        "[[listener.certificate]]",
        "\"key\" is missing",
    ),
    (
        After(BIND, "[[listener.certificate]]\ncert = \"\"\nkey = \"k\""),
        "listener[0].certificate[0].cert",
        "\"\"",
        "the path is empty",
    ),
    (
        After(
            BIND,
            "redirect_to_https = true\n[[listener.certificate]]\ncert = \"c\"\nkey = \"k\"",
        ),
        "listener[0].redirect_to_https",
        "true",
        "it is https already",
    ),
    (
        After(BIND, "proxy_protocol = \"v2\""),
        "listener[0].proxy_protocol",
        "\"v2\"",
        "true or false",
    ),
    (After(BIND, "min_rate = 100"), "listener[0].min_rate", "100", "a size"),
    (
        After(BIND, "max_connections_per_client = 0"),
        "listener[0].max_connections_per_client",
        "0",
        "\"off\" or a whole number",
    ),
    (
        After(BIND, "protocols = [\"h2\", \"h3\"]"),
        "listener[0].protocols[1]",
        "\"h3\"",
        "expected one of \"http/1.1\", \"h2\"",
    ),
    (After(BIND, "protocols = [\"h2\", \"h2\"]"), "listener[0].protocols[1]", "\"h2\"]", "twice"),
];
