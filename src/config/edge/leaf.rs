//! Values of the duties at the edge.

use std::{path::PathBuf, time::Duration};

use http::HeaderName;
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::{template::Template, variable::Stage};
use crate::config::{
    fault::{Refusal, quote},
    leaf::{Leaf, text},
    model::{AccessFormat, AccessPath, LimitKey, StatusPattern},
    patterns::{check_path, parse_regex},
    reader::expected,
};

/// What Nginx calls `combined`.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
                        $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

impl Leaf for AccessPath {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match text(value, "\"-\", a path of a file, or \"off\"")? {
            "-" => Ok(Self::Stdout),
            "off" => Ok(Self::Off),
            "" => Err(Refusal::new("the path is empty").hint("\"off\" for no access log")),
            _ => PathBuf::parse(value).map(Self::File),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 4096 })
    }

    fn json(&self) -> Json {
        self.to_string().into()
    }
}

impl Leaf for AccessFormat {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let template = |text| Template::parse(text, Stage::Ended).map(Self::Template);
        match text(value, "\"json\", \"combined\", or a text with $variables")? {
            "json" => Ok(Self::Json),
            "combined" => template(COMBINED),
            // A line that says the same of each request was meant to be something else.
            plain if !plain.contains('$') => Err(Refusal::new("names no variable")
                .hint("write \"json\", \"combined\", or a text such as \"$remote_addr $status\"")),
            text => template(text),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 4096 })
    }

    fn json(&self) -> Json {
        self.to_string().into()
    }
}

/// A template that is filled in at a stage, which the number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Filled<const STAGE: u8>(pub(in crate::config) Template);

/// Filled in when the backend is chosen.
pub(in crate::config) type Chosen = Filled<1>;

/// Filled in when the answer's head has come.
pub(in crate::config) type Answered = Filled<2>;

impl<const STAGE: u8> Leaf for Filled<STAGE> {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        Template::parse(text(value, "a text")?, super::stage(STAGE)).map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": 4096 })
    }

    fn json(&self) -> Json {
        self.0.to_string().into()
    }
}

/// A template that may name the groups of a regular expression, filled in when the route is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Grouped(pub(in crate::config) Template);

impl Leaf for Grouped {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        Template::parse_with_groups(text(value, "a text")?, Stage::Routed).map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 4096 })
    }

    fn json(&self) -> Json {
        self.0.to_string().into()
    }
}

/// A header's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct WrittenHeader(pub(in crate::config) HeaderName);

impl Leaf for WrittenHeader {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let name = text(value, "a header's name such as \"server\"")?;
        let parsed = name.parse().map(Self);
        parsed.map_err(|_| Refusal::new(format!("{} is no header's name", quote(name))))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 256 })
    }

    fn json(&self) -> Json {
        self.0.as_str().into()
    }
}

/// A path to put before others; without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct PlainPath(pub(in crate::config) Box<str>);

impl Leaf for PlainPath {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let given = text(value, "a path such as \"/api\"")?;
        let path = check_path(given, given)?.trim_end_matches('/');
        if path.is_empty() || path.starts_with("//") {
            return Err(Refusal::new("has no segment").hint("write a path such as \"/api\""));
        }
        Ok(Self(path.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^/", "maxLength": 2048 })
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

/// A regular expression for a path.
#[derive(Debug, Clone)]
pub(in crate::config) struct Expression(pub(in crate::config) regex::Regex);

impl Leaf for Expression {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        parse_regex(text(value, "a regular expression such as \"^/v1/(.*)$\"")?).map(Self)
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": 2048 })
    }

    fn json(&self) -> Json {
        self.0.as_str().into()
    }
}

/// `100/s`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct RateText {
    pub(in crate::config) count: u32,
    pub(in crate::config) period: Duration,
}

impl Leaf for RateText {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        const WHAT: &str = "a rate such as \"100/s\", \"600/m\", or \"5000/h\"";
        let given = text(value, WHAT)?;
        let parts = given.split_once('/').map(|(count, unit)| (count.trim(), unit.trim()));
        let (count, unit) = parts.ok_or_else(|| expected(WHAT, value))?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(expected(WHAT, value)),
        };
        let plain = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let count =
            count.parse::<u32>().ok().filter(|count| plain && (1..=1_000_000).contains(count));
        let count = count.ok_or_else(|| expected("a rate of 1 to 1000000", value))?;
        Ok(Self { count, period: Duration::from_secs(seconds) })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+ ?/ ?[smh]$" })
    }

    fn json(&self) -> Json {
        let unit = match self.period.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        format!("{}/{unit}", self.count).into()
    }
}

impl Leaf for LimitKey {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        const WHAT: &str = "\"client_ip\", \"header:NAME\", or \"route\"";
        match text(value, WHAT)? {
            "client_ip" => Ok(Self::Client),
            "route" => Ok(Self::Route),
            other => {
                let name = other.strip_prefix("header:").ok_or_else(|| expected(WHAT, value))?;
                let parsed = name.parse().map(Self::Header);
                parsed.map_err(|_| Refusal::new(format!("{} is no header's name", quote(name))))
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(client_ip|route|header:.+)$" })
    }

    fn json(&self) -> Json {
        self.to_string().into()
    }
}

impl TryFrom<String> for StatusPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        const WHAT: &str = "is neither a status such as \"404\" nor a class such as \"5xx\"";
        let pattern = match text.strip_suffix("xx") {
            Some(hundreds) => hundreds.parse().ok().filter(|h| matches!(h, 4 | 5)).map(Self::Class),
            None => text.parse().ok().filter(|code| (400..600).contains(code)).map(Self::Code),
        };
        // As written: "+404" and "0404" are no way to name it.
        pattern.filter(|pattern| pattern.to_string() == text).ok_or(WHAT)
    }
}
