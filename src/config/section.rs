//! `section!`: one place that says of each key its name, type, default and meaning.
//!
//! The struct, its reader and its JSON Schema come from the same lines, so they cannot drift apart.

/// Declares a section of the file.
///
/// Each key is `required`, `optional`, has a `default`, or is a `section` of its own. Keys under
/// `later` belong to the format but not to this version: they are refused with a message of their
/// own, save for the value that asks for nothing.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $kind:ident $key:ident: $type:ty $(= $default:expr)?; )*
        }
        $(later { $($later:literal $(= $harmless:literal)?;)* })?
    ) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(in crate::config) struct $name {
            $( $(#[doc = $doc])+ pub(in crate::config) $key: section!(@field $kind $type), )*
        }

        impl $crate::config::reader::Section for $name {
            const KEYS: &'static [&'static str] = &[$($crate::config::section::name(stringify!($key))),*];
            const LATER: &'static [(&'static str, Option<&'static str>)] =
                &[$($(($later, section!(@harmless $($harmless)?))),*)?];

            fn from_table(
                reader: &mut $crate::config::reader::Reader<'_>,
                table: &toml::de::DeTable<'_>,
                span: $crate::config::source::Span,
            ) -> Self {
                Self {
                    $($key: reader.$kind(
                        table,
                        span,
                        section!(@key $key $($doc)+),
                        $(|| $default)?
                    ),)*
                }
            }
        }

        impl $crate::config::reader::Read for $name {
            fn read(
                reader: &mut $crate::config::reader::Reader<'_>,
                value: &toml::Spanned<toml::de::DeValue<'_>>,
            ) -> Option<Self> {
                Some(reader.enter(value))
            }

            fn schema() -> serde_json::Value {
                $crate::config::schema::table(
                    $crate::config::reader::Key { name: stringify!($name), lines: &[$($about),+] },
                    vec![$($crate::config::schema::Property {
                        key: section!(@key $key $($doc)+),
                        schema: <$type as $crate::config::reader::Read>::schema(),
                        default: section!(@default $($default, $type)?),
                        required: stringify!($kind) == "required",
                    }),*],
                )
            }
        }
    };
    (@field required $type:ty) => { Option<$crate::config::reader::At<$type>> };
    (@field optional $type:ty) => { Option<$crate::config::reader::At<$type>> };
    (@field default $type:ty) => { $crate::config::reader::At<$type> };
    (@field section $type:ty) => { $type };
    (@key $key:ident $($doc:literal)+) => {
        $crate::config::reader::Key {
            name: $crate::config::section::name(stringify!($key)),
            lines: &[$($doc),+],
        }
    };
    (@harmless) => { None };
    (@harmless $value:literal) => { Some($value) };
    (@default) => { None };
    (@default $default:expr, $type:ty) => {{
        let default: $type = $default;
        $crate::config::reader::Read::json(&default)
    }};
}

pub(super) use section;

/// A field's name as the file writes it: `r#override` is `override` there.
pub(super) const fn name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}
