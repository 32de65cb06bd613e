//! Hashing of small keys that Tidegate itself chose.

use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Builds `Xxh3` hashers.
pub type BuildXxh3 = BuildHasherDefault<Xxh3>;

/// XXH3 over one short key. Keys come from the configuration, so a keyed hash would guard nothing.
#[derive(Debug, Default)]
pub struct Xxh3(u64);

impl Hasher for Xxh3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    // `str` ends with a byte of its own, which tells nothing where the key is one text.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
