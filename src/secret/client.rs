//! Client secrets and the form in which they are stored.
//!
//! A generated secret has 256 bits, so a slow hash would protect nothing and cost the token path
//! everything; a chosen one may be weak, so a plain hash would not do. Both are stored as an HMAC
//! under a pepper that is derived from the root secret and not in the database: without the root
//! secret a stolen table cannot even be guessed at. One path, one cost.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Hmac;
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Key, mac_with, same};
use crate::domain::client::{SECRET_MARK, is_unreserved};
use crate::domain::{ClientId, Invalid};

/// What stands in place of the first characters of a secret that a person chose.
pub const CHOSEN_HINT: &str = "(chosen)";

/// A client's secret in the clear; it exists while a request or a command is being served.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// Fewest characters of a secret that a person chose.
    pub const MIN: usize = 16;
    /// Most characters of any secret.
    pub const MAX: usize = 256;

    /// A new secret with 256 random bits.
    pub fn generate() -> Self {
        let key = Key::generate();
        Self(Zeroizing::new(format!("{SECRET_MARK}{}", URL_SAFE_NO_PAD.encode(key.expose()))))
    }

    /// Accepts a chosen secret: 16 to 256 characters that form-encoding leaves alone.
    pub fn choose(text: &str) -> Result<Self, Invalid> {
        let secret = Self::present(text)?;
        if text.len() < Self::MIN {
            return Err(Invalid("a client secret has at least 16 characters"));
        }
        Ok(secret)
    }

    /// Takes in what a caller presents: anything that could be a secret of ours.
    pub fn present(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > Self::MAX || !text.bytes().all(is_unreserved) {
            return Err(Invalid("a client secret is made of the characters A-Z a-z 0-9 . _ ~ -"));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The first characters by which an operator recognises a generated secret. Of a chosen one
    /// nothing is kept: its first characters may be half of what there is to guess.
    pub fn hint(&self) -> String {
        match self.0.strip_prefix(SECRET_MARK) {
            Some(rest) if rest.len() == 43 => {
                format!("{SECRET_MARK}{}…", rest.get(..4).unwrap_or(""))
            }
            _ => CHOSEN_HINT.to_owned(),
        }
    }

    /// The secret itself, to be shown once to the person who asked for it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// A secret as somebody wrote it down, not looked at yet.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct WrittenSecret(Zeroizing<String>);

impl WrittenSecret {
    /// Takes text in.
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// The secret, if it may be chosen.
    pub fn choose(&self) -> Result<ClientSecret, Invalid> {
        ClientSecret::choose(&self.0)
    }
}

impl From<String> for WrittenSecret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for WrittenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrittenSecret(…)")
    }
}

/// A stored secret: the HMAC, to be compared in constant time.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// A digest as the database holds it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are of the same secret, in constant time.
    pub fn matches(&self, other: &SecretDigest) -> bool {
        same(&self.0, &other.0)
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// The key under which client secrets are stored, ready for use on the token path.
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// The pepper that derives from a root secret for one issuer.
    pub fn derive(root: &Key, issuer: &str) -> Self {
        Self(root.derive("client-secret", issuer).hmac())
    }

    /// The stored form of a client's secret. The client is part of it, so that no digest can be
    /// moved from one client's row to another's.
    pub fn digest(&self, client: &ClientId, secret: &ClientSecret) -> SecretDigest {
        SecretDigest(mac_with(
            self.0.clone(),
            &[client.as_str().as_bytes(), secret.expose().as_bytes()],
        ))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_secret_needs_no_encoding_and_shows_only_a_hint() {
        let secret = ClientSecret::generate();
        assert!(ClientSecret::choose(secret.expose()).is_ok());
        assert!(secret.hint().starts_with("jcs_") && secret.hint().chars().count() == 9);
        assert_eq!(ClientSecret::choose("correct-horse-battery").unwrap().hint(), "(chosen)");
    }

    #[test]
    fn a_short_or_unspellable_secret_cannot_be_chosen() {
        for text in ["", "fifteen-letters", "sixteen letters!", "with+plus+and+more"] {
            assert!(ClientSecret::choose(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_digest_belongs_to_one_client_and_one_root_secret() {
        let [a, b] = ["a", "b"].map(|id| ClientId::parse(id).unwrap());
        let secret = ClientSecret::choose("correct-horse-battery").unwrap();
        let pepper = Pepper::derive(&Key::new([1; 32]), "https://i");
        let other = Pepper::derive(&Key::new([2; 32]), "https://i");
        let digest = pepper.digest(&a, &secret);
        assert!(digest.matches(&pepper.digest(&a, &secret)));
        assert!(!digest.matches(&pepper.digest(&b, &secret)));
        assert!(!digest.matches(&other.digest(&a, &secret)));
    }
}
