//! Reads a TOML tree that knows where each value stands, and keeps every fault instead of the
//! first.
//!
//! A value that cannot be read leaves a fault and a stand-in (nothing, or the default), so that
//! reading goes on. A tree read with any fault never becomes a [`super::Config`].

use serde_json::Value as Json;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Fault, MAX_FAULTS, Refusal, nearest, quote},
    source::{Source, Span},
};

/// A value and where it was written; a default stands where its section does.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
    /// In the file, rather than a default.
    pub(super) written: bool,
}

/// What can stand in the configuration.
pub(super) trait Read: Sized {
    /// The value, or `None` after a fault was recorded.
    fn read(reader: &mut Reader<'_>, value: &Spanned<DeValue<'_>>) -> Option<Self>;

    /// Its JSON Schema.
    fn schema() -> Json;

    /// As JSON, for the schema's `default`; `None` for what is made of keys of its own.
    fn json(&self) -> Option<Json> {
        None
    }
}

/// A key's name and the lines that say what it means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) lines: &'static [&'static str],
}

impl Key {
    /// The first sentence of what it means.
    fn summary(self) -> String {
        let about = self.about();
        let first = about.split(". ").next().unwrap_or_default();
        first.trim_end_matches('.').to_owned()
    }

    /// What it means, in one line.
    pub(super) fn about(self) -> String {
        self.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// A table with keys of a known set; `section!` makes them.
pub(super) trait Section: Sized {
    /// Keys this version knows.
    const KEYS: &'static [&'static str];
    /// Keys that the format has and this version lacks, each with a value that asks for nothing.
    const LATER: &'static [(&'static str, Option<&'static str>)];

    /// Reads each key of `table`.
    fn from_table(reader: &mut Reader<'_>, table: &DeTable<'_>, span: Span) -> Self;
}

/// The way through one file: the place it has reached and the faults it has met.
pub(super) struct Reader<'s> {
    source: &'s Source<'s>,
    path: String,
    faults: Vec<Fault>,
    omitted: usize,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s Source<'s>, faults: Vec<Fault>) -> Self {
        Self { source, path: String::new(), faults, omitted: 0 }
    }

    /// The faults in the order of the file, and how many more there were.
    pub(super) fn into_faults(mut self) -> (Vec<Fault>, usize) {
        self.faults.sort_by_key(|fault| (fault.line, fault.column));
        (self.faults, self.omitted)
    }

    /// The path of the value being read.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Records what is wrong at `span`, where `key` leads.
    pub(super) fn fault(&mut self, span: Span, key: impl Into<String>, refusal: Refusal) {
        if self.source.holds_unresolved(span) {
            return;
        }
        if self.faults.len() >= MAX_FAULTS {
            self.omitted += 1;
            return;
        }
        let (line, column) = self.source.position(span.start);
        self.faults.push(Fault::new(line, column, key.into(), refusal));
    }

    /// Whether something is wrong at `key` or below it.
    pub(super) fn has_fault_at(&self, key: &str) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        self.faults.iter().any(|fault| fault.key.strip_prefix(key).is_some_and(below))
    }

    /// Records what is wrong with the value being read.
    pub(super) fn refuse(&mut self, span: Span, refusal: Refusal) {
        self.fault(span, self.path.clone(), refusal);
    }

    /// Reads with `step` added to the path.
    pub(super) fn within<T>(&mut self, step: Step<'_>, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        match step {
            Step::Key(key) => {
                if length > 0 {
                    self.path.push('.');
                }
                self.path.push_str(&written_key(key));
            }
            Step::Index(index) => self.path.push_str(&format!("[{index}]")),
        }
        let value = read(self);
        self.path.truncate(length);
        value
    }

    /// A key that must be there.
    pub(super) fn required<T: Read>(
        &mut self,
        table: &DeTable<'_>,
        span: Span,
        key: Key,
    ) -> Option<At<T>> {
        if !table.contains_key(key.name) {
            let message = format!("the key \"{}\" is missing", key.name);
            self.refuse(
                span,
                Refusal::new(message).hint(format!("it is required: {}", key.summary())),
            );
        }
        self.optional(table, span, key)
    }

    /// A key that may be there.
    pub(super) fn optional<T: Read>(
        &mut self,
        table: &DeTable<'_>,
        _span: Span,
        key: Key,
    ) -> Option<At<T>> {
        let value = table.get(key.name)?;
        let read = self.within(Step::Key(key.name), |reader| T::read(reader, value))?;
        Some(At { value: read, span: value.span().into(), written: true })
    }

    /// A key with a default.
    pub(super) fn default<T: Read>(
        &mut self,
        table: &DeTable<'_>,
        span: Span,
        key: Key,
        default: impl FnOnce() -> T,
    ) -> At<T> {
        let read = self.optional(table, span, key);
        read.unwrap_or_else(|| At { value: default(), span, written: false })
    }

    /// A section of its own, read as an empty one where it is absent.
    pub(super) fn section<T: Section>(&mut self, table: &DeTable<'_>, span: Span, key: Key) -> T {
        self.within(Step::Key(key.name), |reader| match table.get(key.name) {
            Some(value) => reader.enter(value),
            None => T::from_table(reader, &DeTable::new(), span),
        })
    }

    /// Reads `value` as a section: an empty one, after a fault, where it is no table.
    pub(super) fn enter<T: Section>(&mut self, value: &Spanned<DeValue<'_>>) -> T {
        let span = value.span().into();
        let Some(table) = value.get_ref().as_table() else {
            self.refuse(span, expected("a table", value.get_ref()));
            return T::from_table(self, &DeTable::new(), span);
        };
        self.refuse_unknown::<T>(table);
        T::from_table(self, table, span)
    }

    /// Reads the whole document.
    pub(super) fn document<T: Section>(&mut self, document: &Spanned<DeTable<'_>>) -> T {
        self.refuse_unknown::<T>(document.get_ref());
        T::from_table(self, document.get_ref(), Span::default())
    }

    /// Faults for the keys of `table` that are not `T`'s.
    pub(super) fn refuse_unknown<T: Section>(&mut self, table: &DeTable<'_>) {
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            if T::KEYS.contains(&name) {
                continue;
            }
            let refusal = match T::LATER.iter().find(|(later, _)| *later == name) {
                Some((_, harmless)) if *harmless == Some(render(value.get_ref()).as_str()) => {
                    continue;
                }
                Some((_, harmless)) => not_yet("this key", *harmless),
                None => unknown(name, T::KEYS),
            };
            self.within(Step::Key(name), |reader| reader.refuse(key.span().into(), refusal));
        }
    }
}

/// A step of a key's path.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'k> {
    Key(&'k str),
    Index(usize),
}

/// What belongs to the format but not yet to this version.
pub(super) fn not_yet(what: &str, harmless: Option<&str>) -> Refusal {
    let hint = match harmless {
        Some(value) => format!("leave it out, or write {value}"),
        None => "leave it out".to_owned(),
    };
    Refusal::new(format!("{what} is not supported by this version yet")).hint(hint)
}

/// A value of another type or unit than it should be.
pub(super) fn expected(what: &str, found: &DeValue<'_>) -> Refusal {
    let shown = match found {
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::String(text) => super::units::describe(text),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Integer(_) | DeValue::Float(_) => format!("the number {}", render(found)),
        DeValue::Datetime(value) => format!("the date {value}"),
    };
    Refusal::new(format!("expected {what}, found {shown}"))
}

fn unknown(name: &str, known: &[&str]) -> Refusal {
    let hint = match nearest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => format!("known here: {}", known.join(", ")),
    };
    Refusal::new("this key does not exist").hint(hint)
}

/// A key as it stands in a path: quoted where TOML would.
pub(super) fn written_key(key: &str) -> std::borrow::Cow<'_, str> {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.bytes().all(bare) { key.into() } else { quote(key).into() }
}

/// `value` on one line, close to how TOML writes it.
fn render(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quote(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(values) => {
            let values: Vec<_> = values.iter().map(|value| render(value.get_ref())).collect();
            format!("[{}]", values.join(", "))
        }
        DeValue::Table(table) => {
            let pair = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                format!("{} = {}", key.get_ref(), render(value.get_ref()))
            };
            let pairs: Vec<String> = table.iter().map(pair).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}
