//! Several of a kind: lists, and tables whose keys are names. Both are bounded.

use serde_json::{Value as Json, json};
use toml::{Spanned, de::DeValue};

use super::{
    fault::Refusal,
    reader::{At, Read, Reader, Step, expected},
    source::Span,
};

/// `[a, b]` or `[[key]]`: from `MIN` to `MAX` values, each with its place.
#[derive(Debug)]
pub(super) struct List<T, const MIN: usize, const MAX: usize>(pub(super) Vec<At<T>>);

impl<T, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    /// `values` as a default.
    pub(super) fn unwritten(values: impl IntoIterator<Item = T>) -> Self {
        let item = |value| At { value, span: Span::default(), written: false };
        Self(values.into_iter().map(item).collect())
    }

    /// The values without their places.
    pub(super) fn into_values<C: FromIterator<T>>(self) -> C {
        self.0.into_iter().map(|item| item.value).collect()
    }
}

impl<T: Read, const MIN: usize, const MAX: usize> Read for List<T, MIN, MAX> {
    fn read(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let Some(values) = value.get_ref().as_array() else {
            let refusal = expected("an array", value.get_ref());
            let hint = if value.get_ref().is_table() {
                "write its section in double brackets"
            } else {
                "put the values in brackets: [a, b]"
            };
            reader.refuse(value.span().into(), refusal.hint(hint));
            return None;
        };
        if !(MIN..=MAX).contains(&values.len()) {
            reader.refuse(value.span().into(), out_of_bounds(MIN, MAX, values.len()));
            return None;
        }
        let item = |(index, value): (usize, &Spanned<DeValue<'_>>)| {
            let read = reader.within(Step::Index(index), |reader| T::read(reader, value))?;
            Some(At { value: read, span: value.span().into(), written: true })
        };
        Some(Self(values.iter().enumerate().filter_map(item).collect()))
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema(), "minItems": MIN, "maxItems": MAX })
    }

    fn json(&self) -> Option<Json> {
        self.0.iter().map(|item| item.value.json()).collect::<Option<Vec<_>>>().map(Json::from)
    }
}

/// `[key.NAME]` or `{ NAME = … }`: from 1 to `MAX` names in the order of the file, each with its
/// value.
#[derive(Debug)]
pub(super) struct Named<N, T, const MAX: usize> {
    pub(super) entries: Vec<(At<N>, At<T>)>,
    /// False when an entry is left out for a fault of its own.
    pub(super) complete: bool,
}

impl<N, T: Read, const MAX: usize> Read for Named<N, T, MAX>
where
    N: TryFrom<String, Error: std::fmt::Display>,
{
    fn read(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            let hint = format!("give each entry its name: {}.NAME", reader.path());
            let refusal = expected("a table", value.get_ref()).hint(hint);
            reader.refuse(value.span().into(), refusal);
            return None;
        };
        if !(1..=MAX).contains(&table.len()) {
            reader.refuse(value.span().into(), out_of_bounds(1, MAX, table.len()));
            return None;
        }
        let mut named: Vec<(At<N>, At<T>)> = Vec::with_capacity(table.len());
        for (key, value) in table.iter() {
            named.extend(reader.within(Step::Key(key.get_ref()), |reader| {
                let name = read_name(reader, key.get_ref(), key.span().into());
                let read = T::read(reader, value);
                let read = At { value: read?, span: value.span().into(), written: true };
                Some((name?, read))
            }));
        }
        named.sort_by_key(|(name, _)| name.span.start);
        Some(Self { complete: named.len() == table.len(), entries: named })
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "additionalProperties": T::schema(),
            "propertyNames": { "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" },
            "minProperties": 1,
            "maxProperties": MAX,
        })
    }
}

fn read_name<N>(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<At<N>>
where
    N: TryFrom<String, Error: std::fmt::Display>,
{
    match N::try_from(text.to_owned()) {
        Ok(value) => Some(At { value, span, written: true }),
        Err(error) => {
            reader.refuse(span, Refusal::new(error.to_string()));
            None
        }
    }
}

fn out_of_bounds(min: usize, max: usize, found: usize) -> Refusal {
    Refusal::new(format!("must have {min} to {max} entries, and has {found}"))
}
