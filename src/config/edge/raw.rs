//! The keys of the duties at the edge.

use std::path::PathBuf;

use http::HeaderName;

use super::leaf::{Answered, Chosen, Expression, Grouped, PlainPath, RateText, WrittenHeader};
use crate::{
    config::{
        collection::{List, Named},
        defaults,
        leaf::{Size, Whole},
        model::{AccessFormat, AccessPath, Algorithm, LimitKey, StatusPattern},
        section::section,
    },
    domain::Weight,
};

/// Most headers that one list of a route names.
const MAX_HEADERS: usize = 100;

/// Pages by status.
pub(in crate::config) type ErrorPages = Named<StatusPattern, PathBuf, 100>;

section! {
    /// The access log: one line a request, written when its answer has ended.
    Access {
        /// "-" for standard output, a file, which is opened anew at USR1, or "off".
        default path: AccessPath = AccessPath::Stdout;
        /// "json", "combined" as Nginx writes it, or a text with $variables.
        default format: AccessFormat = AccessFormat::Json;
        /// Share of requests that get a line.
        default sample: Weight = Weight::FULL;
    }
}

section! {
    /// What happens to headers on their way. Values may hold $variables; a value that comes out empty
    /// takes the header away.
    Headers {
        /// Headers of the request that get these values.
        optional request_set: Named<HeaderName, Chosen, MAX_HEADERS>;
        /// Headers of the request that are removed.
        default request_remove: List<WrittenHeader, 0, MAX_HEADERS> = List::unwritten([]);
        /// Headers of the answer that get these values.
        optional response_set: Named<HeaderName, Answered, MAX_HEADERS>;
        /// Headers of the answer that are removed.
        default response_remove: List<WrittenHeader, 0, MAX_HEADERS> = List::unwritten([]);
    }
}

section! {
    /// Another path for the backend. The query stays as it is.
    Rewrite {
        /// Taken from the begin of the path, by segment.
        optional strip_prefix: PlainPath;
        /// Put before the path, after strip_prefix has been taken away.
        optional add_prefix: PlainPath;
        /// Instead of both: a regular expression for the path ...
        optional regex: Expression;
        /// ... and the path that takes its place where it matches; $1 to $9 are its groups.
        optional to: Grouped;
    }
}

section! {
    /// Another address for the client, instead of a split.
    Redirect {
        /// Where to, with $variables: "https://$host$path_and_query" or a path; where route.path is a
        /// regular expression, $1 to $9 are its groups.
        required to: Grouped;
        /// 301, 302, 303, 307 or 308.
        default status: Whole<301, 308> = Whole(308);
    }
}

section! {
    /// How many requests there may be; further ones get 429 with Retry-After.
    RateLimit {
        /// Who shares a limit: "client_ip" (an IPv6 client by its /64), "header:NAME", or "route" for
        /// all together.
        default per: LimitKey = LimitKey::Client;
        /// Requests in the long run: "100/s", "600/m", "5000/h".
        required rate: RateText;
        /// Requests at once, when there were none before. Without it: as many as `rate` counts.
        optional burst: Whole<1, 1_000_000>;
    }
}

section! {
    /// Answers made smaller for clients that accept it, as they come.
    Compress {
        /// What is offered, the best first: "zstd", "br", "gzip".
        default algorithms: List<Algorithm, 1, 3> = List::unwritten(defaults::ALGORITHMS);
        /// A smaller answer goes out as it is.
        default min_size: Size<0, 16_777_216> = Size(defaults::COMPRESS_MIN_SIZE);
    }
}
