//! The token of the affinity cookie: which session this is, signed by us.
//!
//! `1` (the version), then 8 bytes of session id and 16 of MAC in URL-safe base64: 33 characters that need no quoting in a
//! cookie. The MAC is HMAC-SHA256, cut to 128 bits, over a text that names its purpose, so that the key may serve other
//! purposes too. A token holds no backend: the split decides afresh on every request, and its buckets keep the promise.
//!
//! Invariants: one id has exactly one token under one key; nothing is decoded before the length is right; MACs are
//! compared in constant time.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac, digest::Key};
use sha2::{Digest, Sha256};

use super::split::SplitKey;

/// What a MAC is made over, before the id.
const PURPOSE: &[u8] = b"tidegate affinity token 1:";
const VERSION: u8 = b'1';
const ID_BYTES: usize = 8;
const MAC_BYTES: usize = 16;
const TOKEN_CHARS: usize = 1 + (ID_BYTES + MAC_BYTES) * 4 / 3;

/// Signs and checks tokens; cheap to clone, and safe to share.
#[derive(Clone)]
pub struct TokenKey {
    /// Keyed, and fed with [`PURPOSE`]: only the id is missing.
    state: Hmac<Sha256>,
}

impl TokenKey {
    /// A key from a secret of any length; 32 random bytes are right.
    pub fn new(secret: &[u8]) -> Self {
        let mut block = Key::<Hmac<Sha256>>::default();
        block[..32].copy_from_slice(&Sha256::digest(secret));
        Self { state: Hmac::new(&block).chain_update(PURPOSE) }
    }

    /// The token of the session `id`, whose split key is `SplitKey(id)`; the caller draws the id at random.
    pub fn issue(&self, id: u64) -> TokenText {
        let mac = self.state.clone().chain_update(id.to_be_bytes()).finalize().into_bytes();
        let mut bytes = [0; ID_BYTES + MAC_BYTES];
        bytes[..ID_BYTES].copy_from_slice(&id.to_be_bytes());
        bytes[ID_BYTES..].copy_from_slice(&mac[..MAC_BYTES]);
        let mut text = [VERSION; TOKEN_CHARS];
        // 24 bytes are exactly 32 characters: the slice fits, so this cannot fail.
        let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text[1..]);
        debug_assert_eq!(written, Ok(TOKEN_CHARS - 1));
        TokenText(text)
    }

    /// The split key of the session that `text` names, or `None` for anything that this key did not sign.
    pub fn verify(&self, text: &[u8]) -> Option<SplitKey> {
        let text: &[u8; TOKEN_CHARS] = text.try_into().ok()?;
        let encoded = text.strip_prefix(&[VERSION])?;
        let mut bytes = [0; ID_BYTES + MAC_BYTES];
        URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes).ok()?;
        let (id, mac) = bytes.split_first_chunk::<ID_BYTES>()?;
        self.state.clone().chain_update(id).verify_truncated_left(mac).ok()?;
        Some(SplitKey(u64::from_be_bytes(*id)))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// A token as it stands in the cookie.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenText([u8; TOKEN_CHARS]);

impl TokenText {
    /// Its bytes: ASCII letters, digits, `-` and `_`.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        // ASCII by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_33_characters_fit_for_a_cookie() {
        let token = TokenKey::new(b"secret").issue(0x0123_4567_89ab_cdef);
        assert_eq!(token.as_str().len(), 33);
        assert!(token.as_str().starts_with("1ASNFZ4mrze"));
        assert!(token.as_bytes().iter().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c)));
    }

    #[test]
    fn another_key_does_not_accept_it() {
        let token = TokenKey::new(b"one secret").issue(7);
        assert_eq!(TokenKey::new(b"another secret").verify(token.as_bytes()), None);
    }

    #[test]
    fn every_single_changed_bit_is_noticed() {
        let key = TokenKey::new(b"secret");
        let token = key.issue(42);
        for at in 0..token.0.len() * 8 {
            let mut bent = token.0;
            bent[at / 8] ^= 1 << (at % 8);
            assert_eq!(key.verify(&bent), None, "bit {at}");
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        let key = TokenKey::new(b"secret");
        let good = key.issue(1).0;
        let longer = [&good[..], b"A"].concat();
        let padded = [&good[..32], b"="].concat();
        for bad in [&b""[..], b"1", &good[..32], &longer, &padded, &[0xff; 33], &[b'1'; 33]] {
            assert_eq!(key.verify(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_key_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", TokenKey::new(b"secret")), "TokenKey(…)");
    }

    proptest! {
        #[test]
        fn what_was_issued_verifies(id: u64, secret: Vec<u8>) {
            let key = TokenKey::new(&secret);
            prop_assert_eq!(key.verify(key.issue(id).as_bytes()), Some(SplitKey(id)));
        }

        #[test]
        fn no_bytes_make_it_fall_over(text in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(TokenKey::new(b"secret").verify(&text), None);
        }
    }
}
