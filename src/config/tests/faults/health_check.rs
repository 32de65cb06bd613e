//! Faults of health checks.

use super::{BLUE, Case, Edit::After};

/// Faults of `[backend.NAME.health_check]`.
pub(super) const HEALTH_CHECK: &[Case] = &[
    (
        After(BLUE, "[backend.blue.health_check]\ninterval = \"500ms\""),
        "backend.blue.health_check.interval",
        "\"500ms\"",
        "longer than the interval",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\ntimeout = \"3s\""),
        "backend.blue.health_check.timeout",
        "\"3s\"",
        "longer than the interval",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\nexpect_status = \"200\""),
        "backend.blue.health_check.expect_status",
        "\"200\"",
        "no effect without path",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\nkind = \"htp\""),
        "backend.blue.health_check.kind",
        "\"htp\"",
        "expected one of \"http\", \"tcp\", \"grpc\"",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\nkind = \"http\""),
        "backend.blue.health_check.kind",
        "\"http\"",
        "no path to ask for",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\nkind = \"tcp\"\npath = \"/\""),
        "backend.blue.health_check.path",
        "\"/\"",
        "has no effect with kind = \"tcp\"",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\nkind = \"tcp\"\nhost = \"a\""),
        "backend.blue.health_check.host",
        "\"a\"",
        "has no effect with kind = \"tcp\"",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\nkind = \"grpc\""),
        "backend.blue.health_check.kind",
        "\"grpc\"",
        "gRPC is spoken over HTTP/2 alone",
    ),
    (
        After(
            BLUE,
            "protocol = \"h2\"\n[backend.blue.health_check]\nkind = \"grpc\"\npath = \"/h\"",
        ),
        "backend.blue.health_check.path",
        "\"/h\"",
        "has no effect with kind = \"grpc\"",
    ),
    (
        After(
            BLUE,
            "protocol = \"h2\"\nhealth_check = { kind = \"grpc\", expect_status = \"200\" }",
        ),
        "backend.blue.health_check.expect_status",
        "\"200\"",
        "has no effect with kind = \"grpc\"",
    ),
    (
        After(BLUE, "health_check = { path = \"/h\", service = \"a.B\" }"),
        "backend.blue.health_check.service",
        "\"a.B\"",
        "has no effect without kind = \"grpc\"",
    ),
    (
        After(BLUE, "health_check = { kind = \"http\", path = \"/h\", service = \"a.B\" }"),
        "backend.blue.health_check.service",
        "\"a.B\"",
        "has no effect with kind = \"http\"",
    ),
    (
        After(BLUE, "protocol = \"h2\"\nhealth_check = { kind = \"grpc\", service = \"a b\" }"),
        "backend.blue.health_check.service",
        "\"a b\"",
        "is no service",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\npath = \"health\"\nhost = \"x\""),
        "backend.blue.health_check.path",
        "\"health\"",
        "is no path",
    ),
    (
        After(BLUE, "[backend.blue.health_check]\npath = \"/\"\nhost = \"a b\""),
        "backend.blue.health_check.host",
        "\"a b\"",
        "is no host",
    ),
];
