//! Traces of requests and where they go.

use std::time::Duration;

use http::HeaderName;

use crate::domain::Weight;

/// `[traces]`
#[derive(Clone, PartialEq, Eq)]
pub struct Traces {
    /// Where spans are sent to, path included.
    pub endpoint: Box<str>,
    /// Share of the requests whose caller does not say whether they are traced.
    pub sample: Weight,
    /// The resource's `service.name`.
    pub service_name: Box<str>,
    /// Headers of requests to the collector; each may be sent as it is.
    pub headers: Vec<(HeaderName, Box<str>)>,
    /// Attributes of the resource beside Tidegate's own.
    pub resource: Vec<(Box<str>, Box<str>)>,
    /// One attempt at sending ends here.
    pub timeout: Duration,
    /// Longest time that a span waits for others.
    pub max_delay: Duration,
}

/// Without the values of headers, which may be secrets.
impl std::fmt::Debug for Traces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, sample, service_name, headers, resource, timeout, max_delay } = self;
        let headers: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Traces")
            .field("endpoint", endpoint)
            .field("sample", sample)
            .field("service_name", service_name)
            .field("headers", &headers)
            .field("resource", resource)
            .field("timeout", timeout)
            .field("max_delay", max_delay)
            .finish()
    }
}
