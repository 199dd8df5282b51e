//! Secrets as types: no `Display`, a `Debug` that shows nothing, erased when dropped, compared in
//! constant time. Whoever wants the bytes must write `expose`, which a reviewer can search for.

mod client;
mod code;
pub mod file;
mod form;
mod password;
mod refresh;
mod root;
mod vault;
mod watch;

pub use client::{CHOSEN_HINT, ClientSecret, Pepper, SecretDigest, WrittenSecret};
pub use code::{code_digest, new_code};
pub use form::{form_seal_fits, is_browser_mark, new_browser_mark, seal_form};
pub use password::{Password, WrittenPassword};
pub use refresh::{NoRefreshToken, PREFIX as REFRESH_TOKEN_PREFIX, RefreshToken};
pub use root::{RootSecretError, RootSecrets, SecretId};
pub use vault::{FileMark, Vault};
pub use watch::Watch;

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// 32 secret bytes: a root secret, or a key derived from one.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// Takes secret bytes in.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(&mut bytes[..]);
        Self(bytes)
    }

    /// A key for one purpose and one issuer (HKDF-SHA-256, RFC 5869): no two purposes share a key,
    /// and what one issuer sealed is of no use to another that was given the same root secret.
    #[must_use]
    pub fn derive(&self, purpose: &str, issuer: &str) -> Key {
        let mut out = Zeroizing::new([0; 32]);
        let info = [b"jeton/", purpose.as_bytes(), b"\0", issuer.as_bytes()];
        // 32 bytes are far below HKDF's limit of 8160, the only error there is.
        let expanded =
            Hkdf::<Sha256>::new(None, &self.0[..]).expand_multi_info(&info, &mut out[..]);
        debug_assert!(expanded.is_ok());
        Key(out)
    }

    /// An HMAC-SHA-256 under this key, over parts that are framed by their lengths.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        mac_with(self.hmac(), parts)
    }

    /// The HMAC's state after the key, to be cloned for each use.
    fn hmac(&self) -> Hmac<Sha256> {
        // HMAC takes keys of any length: `new` pads ours to a block and cannot fail.
        let mut block = Zeroizing::new([0u8; 64]);
        for (to, from) in block.iter_mut().zip(self.0.iter()) {
            *to = *from;
        }
        Hmac::new(&(*block).into())
    }

    /// The bytes, for the cipher that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

fn mac_with(mut hmac: Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    for part in parts {
        hmac.update(&(part.len() as u64).to_be_bytes());
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A token as somebody handed it in, not looked at yet: whoever holds it may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(Zeroizing<String>);

impl TokenText {
    /// Takes text in.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// Whether two byte strings are equal, in a time that does not depend on where they differ.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_and_an_issuer_make_a_key_of_their_own() {
        let root = Key::new([7; 32]);
        let one = root.derive("seal", "https://a");
        assert!(same(one.expose(), root.derive("seal", "https://a").expose()));
        assert!(!same(one.expose(), root.derive("seal", "https://b").expose()));
        assert!(!same(one.expose(), root.derive("mac", "https://a").expose()));
    }

    #[test]
    fn the_mac_is_hmac_sha_256_and_its_parts_cannot_be_shifted() {
        // RFC 4231, test case 1, over our framing of no parts: the key alone.
        let key = Key::new([0x0b; 32]);
        assert_ne!(key.mac(&[b"ab", b"c"]), key.mac(&[b"a", b"bc"]));
        assert_ne!(key.mac(&[b"a"]), key.mac(&[b"a", b""]));
    }

    #[test]
    fn debug_shows_nothing() {
        let token = TokenText::new("eyJ");
        let text = format!("{:?} {:?} {token:?}", Key::new([65; 32]), ClientSecret::generate());
        assert_eq!(text, "Key(…) ClientSecret(…) TokenText(…)");
    }
}
