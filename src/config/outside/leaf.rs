//! Values of the sections that speak of the world outside: addresses, status codes, texts, JSON.

use http::{HeaderName, Uri};
use serde_json::{Value as Json, json};
use toml::{Spanned, de::DeValue};

use crate::config::{
    collection::Named,
    fault::{Refusal, quote},
    json_path::JsonPath,
    leaf::{Leaf, text},
    model::{SmtpSecurity, StatusSet},
    reader::{Read, Reader, expected},
};

/// Text of at most `MAX` bytes, of several lines too; may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Text<const MAX: usize>(pub(in crate::config) Box<str>);

impl<const MAX: usize> Leaf for Text<MAX> {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let given = text(value, "a text")?;
        let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
        if given.len() > MAX || given.chars().any(steers) {
            let message = format!("must have at most {MAX} bytes, no control character");
            return Err(Refusal::new(message));
        }
        Ok(Self(given.into()))
    }

    fn schema() -> Json {
        json!({ "type": "string", "maxLength": MAX })
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

/// An address that begins with `http://` or `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct HttpUrl(pub(in crate::config) Box<str>);

impl Leaf for HttpUrl {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let given = text(value, "an address such as \"https://example.com/hook\"")?;
        // The address itself may be a secret, so a fault does not show it.
        let refuse = |why: &str| Err(Refusal::new(why));
        let Ok(uri) = given.parse::<Uri>() else { return refuse("this is no address") };
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                refuse("an address holds no name and password here")
            }
            (Some("http" | "https"), Some(_)) => Ok(Self(given.into())),
            (Some(_) | None, _) => refuse("an address begins with http:// or https://"),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^https?://" })
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

/// `smtp://host:port`, `smtps://host:port`, `starttls://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct SmtpUrl {
    pub(in crate::config) security: SmtpSecurity,
    pub(in crate::config) host: Box<str>,
    pub(in crate::config) port: u16,
}

impl Leaf for SmtpUrl {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        const WHAT: &str =
            "an address such as \"smtp://127.0.0.1:25\", \"smtps://…\" or \"starttls://…\"";
        let given = text(value, WHAT)?;
        let parsed = given.parse::<Uri>().ok().and_then(|uri| {
            let (security, port) = match uri.scheme_str()? {
                "smtp" => (SmtpSecurity::None, 25),
                "starttls" => (SmtpSecurity::StartTls, 587),
                "smtps" => (SmtpSecurity::Tls, 465),
                _ => return None,
            };
            let authority = uri.authority()?;
            let bare = matches!(uri.path(), "" | "/") && !authority.as_str().contains('@');
            let host = authority.host().into();
            bare.then(|| Self { security, host, port: uri.port_u16().unwrap_or(port) })
        });
        parsed.ok_or_else(|| {
            Refusal::new(format!("{} is not {WHAT}", quote(given)))
                .hint("name and password go into `user` and `password_file`")
        })
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^(smtp|smtps|starttls)://" })
    }

    fn json(&self) -> Json {
        let scheme = match self.security {
            SmtpSecurity::None => "smtp",
            SmtpSecurity::StartTls => "starttls",
            SmtpSecurity::Tls => "smtps",
        };
        format!("{scheme}://{}:{}", self.host, self.port).into()
    }
}

/// A mail address: a local part, `@`, a domain; nothing around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct MailAddress(pub(in crate::config) Box<str>);

impl Leaf for MailAddress {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let given = text(value, "a mail address")?;
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | ',' | ';' | '"');
        match given.rsplit_once('@') {
            Some((local, domain))
                if !local.is_empty()
                    && !domain.is_empty()
                    && given.len() <= 254
                    && given.chars().all(plain) =>
            {
                Ok(Self(given.into()))
            }
            Some(_) | None => Err(Refusal::new(format!("{} is no mail address", quote(given)))
                .hint("write it bare: oncall@example.com")),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[^@ ]+@[^@ ]+$" })
    }

    fn json(&self) -> Json {
        self.0.as_ref().into()
    }
}

impl Leaf for StatusSet {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        const WHAT: &str = "status codes such as \"200\", \"200-399\" or \"200, 301-302\"";
        let given = text(value, WHAT)?;
        StatusSet::parse(given)
            .ok_or_else(|| Refusal::new(format!("{} is not {WHAT}", quote(given))))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^ *[1-5][0-9]{2}([-, ]+[1-5][0-9]{2})* *$" })
    }

    fn json(&self) -> Json {
        self.to_string().into()
    }
}

/// A request method, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Method(pub(in crate::config) http::Method);

impl Leaf for Method {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let given = text(value, "a method such as \"GET\"")?;
        match given.parse() {
            Ok(http::Method::CONNECT) | Err(_) => {
                Err(Refusal::new(format!("{} is no method for a check", quote(given))))
            }
            Ok(method) => Ok(Self(method)),
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[A-Za-z]+$" })
    }

    fn json(&self) -> Json {
        self.0.as_str().into()
    }
}

/// A string, number, boolean, as it must stand in a JSON answer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::config) struct Scalar(pub(in crate::config) Json);

impl Leaf for Scalar {
    fn parse(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let refused = || expected("a text, a number or a boolean", value);
        match value {
            DeValue::String(text) => Ok(Self(text.as_ref().into())),
            DeValue::Boolean(value) => Ok(Self((*value).into())),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                number.map(|number| Self(number.into())).map_err(|_| refused())
            }
            DeValue::Float(number) => {
                let number =
                    number.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                number.map(|number| Self(number.into())).ok_or_else(refused)
            }
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => Err(refused()),
        }
    }

    fn schema() -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }

    fn json(&self) -> Json {
        self.0.clone()
    }
}

/// A path into JSON, as a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct JsonKey(pub(in crate::config) JsonPath);

impl TryFrom<String> for JsonKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        JsonPath::parse(&text).map(Self).ok_or_else(|| {
            format!("{} is no path into JSON; write it as \"$.items[0].name\"", quote(&text))
        })
    }
}

/// A header's name, as a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct HeaderKey(pub(in crate::config) HeaderName);

impl TryFrom<String> for HeaderKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let name = HeaderName::from_bytes(text.as_bytes());
        name.map(Self).map_err(|_| format!("{} is no name of a header", quote(&text)))
    }
}

/// A name of an attribute as OpenTelemetry has them, as a key: `deployment.environment.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct AttributeKey(pub(in crate::config) Box<str>);

impl TryFrom<String> for AttributeKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if !text.is_empty() && text.len() <= 128 && text.bytes().all(plain) {
            return Ok(Self(text.into()));
        }
        let text = quote(&text);
        Err(format!("{text} is no name of an attribute: it has 1 to 128 letters, digits, . _ -"))
    }
}

/// `{ KEY = VALUE }` of at most `MAX` pairs; may be empty.
#[derive(Debug)]
pub(in crate::config) struct Pairs<N, T, const MAX: usize>(pub(in crate::config) Vec<(N, T)>);

impl<N, T: Read, const MAX: usize> Read for Pairs<N, T, MAX>
where
    N: TryFrom<String, Error: std::fmt::Display>,
{
    fn read(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        if value.get_ref().as_table().is_some_and(toml::de::DeTable::is_empty) {
            return Some(Self(Vec::new()));
        }
        let named = Named::<N, T, MAX>::read(reader, value)?;
        Some(Self(named.entries.into_iter().map(|(key, value)| (key.value, value.value)).collect()))
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema(), "maxProperties": MAX })
    }

    fn json(&self) -> Option<Json> {
        self.0.is_empty().then(|| json!({}))
    }
}
