//! From a file or a text to a [`Config`]; the only part of `config` that touches the file system.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Config,
    error::ConfigErrors,
    fault::{Fault, Refusal},
    places::Places,
    raw,
    reader::Reader,
    source::Source,
    validate::validate,
};

/// Largest file read; 20 000 routes fit.
const MAX_BYTES: u64 = 4 << 20;

/// A configuration and where it comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the file says.
    pub config: Config,
    /// XXH3 of the file's bytes in hexadecimal: two files of the same hash say the same.
    pub hash: String,
    /// The file, by its absolute path.
    pub path: PathBuf,
    /// Where it names others.
    pub places: Places,
}

/// A configuration file that was read but not checked: it has a hash even if it is faulty.
#[derive(Debug)]
pub struct Unchecked {
    text: String,
    hash: String,
    path: PathBuf,
}

impl Unchecked {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigErrors`]: it cannot be read, or is no text.
    pub fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let text = read(path)?;
        let hash = format!("{:016x}", xxh3_64(text.as_bytes()));
        Ok(Self { text, hash, path: path.to_owned() })
    }

    /// XXH3 of the file's bytes in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Checks it, with variables from the process's environment.
    ///
    /// # Errors
    /// [`ConfigErrors::Faulty`] with all that is wrong in it.
    pub fn check(self) -> Result<Loaded, ConfigErrors> {
        let env = |name: &str| std::env::var(name).ok();
        let (config, places) = parse_placed(&self.text, &self.path.display().to_string(), &env)?;
        let path = std::path::absolute(&self.path).unwrap_or(self.path);
        Ok(Loaded { config, hash: self.hash, path, places })
    }
}

/// Reads and checks the file at `path`, with variables from the process's environment.
///
/// # Errors
/// [`ConfigErrors`]: the file cannot be read, or all that is wrong in it.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    Unchecked::read(path)?.check()
}

/// Checks `text`, with variables from `env`; `file_name` is for the faults.
///
/// # Errors
/// [`ConfigErrors::Faulty`] with every fault of the text.
pub fn parse(
    text: &str,
    file_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    parse_placed(text, file_name, env).map(|(config, _)| config)
}

fn parse_placed(
    text: &str,
    file_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Config, Places), ConfigErrors> {
    let (source, faults) = Source::new(text, env);
    let mut reader = Reader::new(&source, faults);
    let read = read_document(&mut reader, &source, file_name);
    let (faults, omitted) = reader.into_faults();
    match read.filter(|_| faults.is_empty()) {
        Some(read) => Ok(read),
        None => Err(ConfigErrors::Faulty { file: file_name.to_owned(), faults, omitted }),
    }
}

fn read_document(
    reader: &mut Reader<'_>,
    source: &Source<'_>,
    file_name: &str,
) -> Option<(Config, Places)> {
    match toml::de::DeTable::parse(source.text()) {
        Ok(table) => {
            let file: raw::File = reader.document(&table);
            let places = Places::of(file_name, table.get_ref(), source);
            validate(file, reader).map(|config| (config, places))
        }
        Err(error) => {
            let span = error.span().unwrap_or_default().into();
            reader.refuse(span, Refusal::new(format!("syntax: {}", error.message())));
            None
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigErrors> {
    let unreadable = |source: io::Error| ConfigErrors::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConfigErrors::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| not_utf8(path, &error))
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> ConfigErrors {
    let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
    let line = good.matches('\n').count() + 1;
    let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let refusal = Refusal::new("this byte is not UTF-8").hint("save the file as UTF-8");
    let faults = vec![Fault::new(line, column, String::new(), refusal)];
    ConfigErrors::Faulty { file: path.display().to_string(), faults, omitted: 0 }
}
