//! Values that are one of a few words.

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::{
    fault::{Refusal, nearest, quote},
    leaf::{Leaf, text},
    model::{FallbackCause, LogFormat, LogLevel},
    reader::not_yet,
};
use crate::domain::Balance;

/// What keeps a session on its backend, as `by` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AffinityBy {
    Cookie,
    AppCookie,
    Header,
    ClientIp,
    None,
}

/// One of a few words; those under `later` belong to the format but not to this version.
macro_rules! words {
    ($($type:ty { $($word:literal => $value:path,)+ } later [$($later:literal),*];)*) => {$(
        impl Leaf for $type {
            fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
                const WORDS: &[&str] = &[$($word),+];
                const LATER: &[&str] = &[$($later),*];
                match text(value, &one_of(WORDS))? {
                    $($word => Ok($value),)+
                    word if LATER.contains(&word) => Err(not_yet(&quote(word), None)),
                    word => Err(unknown_word(word, WORDS)),
                }
            }

            fn schema() -> Json {
                json!({ "enum": [$($word),+] })
            }

            fn json(&self) -> Json {
                match self {
                    $($value => $word.into(),)+
                }
            }
        }
    )*};
}

words! {
    LogLevel {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
    } later [];
    LogFormat {
        "json" => LogFormat::Json,
        "text" => LogFormat::Text,
    } later [];
    Balance {
        "least_in_flight" => Balance::LeastInFlight,
        "round_robin" => Balance::RoundRobin,
    } later ["ewma", "hash"];
    FallbackCause {
        "connect" => FallbackCause::Connect,
        "timeout" => FallbackCause::Timeout,
        "reset" => FallbackCause::Reset,
        "5xx" => FallbackCause::ServerError,
    } later [];
    AffinityBy {
        "cookie" => AffinityBy::Cookie,
        "app_cookie" => AffinityBy::AppCookie,
        "header" => AffinityBy::Header,
        "client_ip" => AffinityBy::ClientIp,
        "none" => AffinityBy::None,
    } later [];
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("one of {}", words.join(", "))
}

fn unknown_word(word: &str, words: &[&str]) -> Refusal {
    let refusal = Refusal::new(format!("expected {}, found {}", one_of(words), quote(word)));
    match nearest(word, words.iter().copied()) {
        Some(meant) => refusal.hint(format!("did you mean \"{meant}\"?")),
        None => refusal,
    }
}
