//! Where the files stand that a configuration names: what is wrong with one shows when it is read, and is told like any other
//! fault, with line, key and hint.

use std::collections::HashMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fault::{Fault, Refusal},
    reader::written_key,
    source::Source,
};

/// Keys whose values are files, or that say which files there are.
const KEYS: [&str; 8] =
    ["cert", "key", "ocsp", "ca", "client_cert", "client_key", "server_name", "secret_file"];
/// Tables that hold them, for a key that is left out.
const TABLES: [&str; 3] = ["tls", "client_auth", "certificate"];
/// The table whose every value is one.
const PAGES: &str = "error_page";

/// What is wrong with a file that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFault {
    /// Path of the key that names it, as `listener[0].certificate[1].key`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: &'static str,
}

/// Line and column of each key that names a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The file, as it was named.
    file: String,
    known: HashMap<String, (usize, usize)>,
}

impl Places {
    pub(super) fn of(file: &str, document: &DeTable<'_>, source: &Source<'_>) -> Self {
        let mut places = Self { file: file.to_owned(), known: HashMap::new() };
        places.enter(document, "", source);
        places
    }

    /// One text for each of `faults`, in the order of the file.
    pub fn tell(&self, faults: Vec<FileFault>) -> Vec<String> {
        let fault = |fault: FileFault| {
            let (line, column) = self.find(&fault.key);
            let refusal = Refusal::new(fault.message).hint(fault.hint);
            Fault::new(line, column, fault.key, refusal)
        };
        let mut faults: Vec<_> = faults.into_iter().map(fault).collect();
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.into_iter().map(|fault| format!("{}:{fault}", self.file)).collect()
    }

    /// The place of `key`, or of the table that lacks it.
    fn find(&self, key: &str) -> (usize, usize) {
        let table = key.rsplit_once('.').map_or("", |(table, _)| table);
        let known = self.known.get(key).or_else(|| self.known.get(table));
        known.copied().unwrap_or((1, 1))
    }

    fn enter(&mut self, table: &DeTable<'_>, path: &str, source: &Source<'_>) {
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            let dot = if path.is_empty() { "" } else { "." };
            let at = format!("{path}{dot}{}", written_key(name));
            let told = path == PAGES || KEYS.contains(&name) || TABLES.contains(&name);
            self.look(value, at, told, source);
        }
    }

    fn look(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        path: String,
        told: bool,
        source: &Source<'_>,
    ) {
        match value.get_ref() {
            DeValue::Table(table) => self.enter(table, &path, source),
            DeValue::Array(values) => {
                for (index, value) in values.iter().enumerate() {
                    self.look(value, format!("{path}[{index}]"), told, source);
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
        if told {
            self.known.insert(path, source.position(value.span().start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_file_is_told_where_the_file_is_named() {
        let text = "[[listener]]\n[[listener.certificate]]\ncert = \"a\"\nkey = \"${KEY}b\"\n\
                    [backend.blue.tls]\ninsecure = false\n[error_page]\n5xx = \"c\"\n";
        let (source, _) = Source::new(text, &|_| Some("a-long-value".to_owned()));
        let document = DeTable::parse(source.text()).unwrap();
        let places = Places::of("t.toml", document.get_ref(), &source);
        let keys = ["error_page.5xx", "backend.blue.tls.ca", "listener[0].certificate[0].key"];
        let faults =
            keys.map(|key| FileFault { key: key.to_owned(), message: "m".to_owned(), hint: "h" });
        assert_eq!(
            places.tell(faults.into()),
            [
                "t.toml:4:7: listener[0].certificate[0].key: m\n  hint: h",
                "t.toml:5:1: backend.blue.tls.ca: m\n  hint: h",
                "t.toml:8:7: error_page.5xx: m\n  hint: h",
            ]
        );
        // Nobody need go through what names no file.
        assert_eq!(places.known.len(), 6, "{places:?}");
    }
}
