//! Refresh tokens: which family, which generation, and a MAC over both.
//!
//! The MAC's key derives from a root secret, which is not in the database: whoever reads the database
//! can make no token, and a token that somebody made up never reaches the database. Nothing in a
//! token is secret but the MAC, and each generation's can be computed again, so nothing about tokens
//! is stored, and a client that asks twice gets the very same one.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::{Key, RootSecrets, SecretId, TokenText, same};

/// What tells a refresh token from every other string: scanners for lost secrets look for it.
pub const PREFIX: &str = "jrt_";

/// Version, id of the MAC's key, shard (always 0 today), family, generation.
const HEAD: usize = 1 + 1 + 2 + 16 + 4;
const WHOLE: usize = HEAD + 32;

const VERSION: u8 = 1;

/// What a refresh token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// The authorization that it belongs to.
    pub family: Uuid,
    /// Its number in the family, from 0.
    pub generation: u32,
}

/// Why a text is no refresh token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRefreshToken {
    /// It has another form.
    Malformed,
    /// Its MAC is wrong, or made with a secret that is known to be stolen.
    Forged,
    /// Its MAC is by a root secret that this replica does not hold: another replica may.
    SecretUnknown,
}

/// The key of the MAC, ready for use.
#[derive(Clone)]
pub(super) struct RefreshKey(Hmac<Sha256>);

impl RefreshKey {
    pub(super) fn derive(root: &Key, issuer: &str) -> Self {
        Self(root.derive("refresh-token", issuer).hmac())
    }

    fn mac(&self, head: &[u8]) -> [u8; 32] {
        let mut hmac = self.0.clone();
        hmac.update(head);
        hmac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for RefreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshKey(…)")
    }
}

impl RefreshToken {
    /// The token as its client gets it, under the root secret that makes new things.
    pub fn seal(&self, secrets: &RootSecrets) -> TokenText {
        let id = secrets.current();
        let mut bytes = Vec::with_capacity(WHOLE);
        bytes.extend([VERSION, id.0, 0, 0]);
        bytes.extend(self.family.as_bytes());
        bytes.extend(self.generation.to_be_bytes());
        let mac = secrets.current_refresh_key().mac(&bytes);
        bytes.extend(mac);
        let mut text = String::with_capacity(PREFIX.len() + WHOLE.div_ceil(3) * 4);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        TokenText::new(&text)
    }

    /// Reads what somebody presents. Nothing in it is believed before its MAC holds.
    pub fn open(text: &TokenText, secrets: &RootSecrets) -> Result<Self, NoRefreshToken> {
        let encoded = text.expose().strip_prefix(PREFIX).ok_or(NoRefreshToken::Malformed)?;
        let mut bytes = [0; WHOLE];
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut bytes);
        if length != Ok(WHOLE) {
            return Err(NoRefreshToken::Malformed);
        }
        let (head, mac) = bytes.split_at(HEAD);
        let [VERSION, id, 0, 0, rest @ ..] = head else { return Err(NoRefreshToken::Malformed) };
        // No root secret is called 0, so none that this server lacks could have made it.
        if *id == 0 {
            return Err(NoRefreshToken::Malformed);
        }
        let id = SecretId(*id);
        if secrets.distrusts(id) {
            return Err(NoRefreshToken::Forged);
        }
        let key = secrets.refresh_key(id).ok_or(NoRefreshToken::SecretUnknown)?;
        if !same(&key.mac(head), mac) {
            return Err(NoRefreshToken::Forged);
        }
        let (family, generation) = rest.split_at(16);
        let malformed = |_| NoRefreshToken::Malformed;
        Ok(Self {
            family: Uuid::from_slice(family).map_err(|_| NoRefreshToken::Malformed)?,
            generation: u32::from_be_bytes(generation.try_into().map_err(malformed)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(text: &str, issuer: &str) -> RootSecrets {
        RootSecrets::parse(text, issuer).unwrap()
    }

    fn line(id: u8, byte: u8) -> String {
        let key = Key::new([byte; 32]).derive("test", "");
        format!("{id} {}\n", URL_SAFE_NO_PAD.encode(key.expose()))
    }

    const ISSUER: &str = "https://id.example.test";
    const TOKEN: RefreshToken = RefreshToken { family: Uuid::from_u128(7), generation: 3 };

    #[test]
    fn a_token_is_read_back_and_is_the_same_each_time_it_is_made() {
        let secrets = secrets(&line(1, 9), ISSUER);
        let text = TOKEN.seal(&secrets);
        assert!(text.expose().starts_with(PREFIX));
        assert_eq!(RefreshToken::open(&text, &secrets), Ok(TOKEN));
        assert!(TOKEN.seal(&secrets) == text);
    }

    #[test]
    fn a_token_that_is_changed_in_any_place_is_refused() {
        let secrets = secrets(&line(1, 9), ISSUER);
        let text = TOKEN.seal(&secrets);
        let text = text.expose();
        for at in 0..text.len() {
            let other = if text.as_bytes()[at] == b'A' { 'B' } else { 'A' };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(RefreshToken::open(&TokenText::new(&changed), &secrets).is_err(), "at {at}");
            let cut = TokenText::new(&text[..at]);
            assert_eq!(RefreshToken::open(&cut, &secrets), Err(NoRefreshToken::Malformed));
        }
        let longer = TokenText::new(&format!("{text}A"));
        assert_eq!(RefreshToken::open(&longer, &secrets), Err(NoRefreshToken::Malformed));
    }

    #[test]
    fn a_token_is_of_one_issuer_and_outlives_a_change_of_root_secrets() {
        let old = secrets(&line(1, 9), ISSUER);
        let text = TOKEN.seal(&old);
        let both = secrets(&format!("{}{}", line(2, 77), line(1, 9)), ISSUER);
        assert_eq!(RefreshToken::open(&text, &both), Ok(TOKEN));
        assert!(TOKEN.seal(&both) != text, "new ones are made under the new secret");

        let elsewhere = secrets(&line(1, 9), "https://other.example.test");
        assert_eq!(RefreshToken::open(&text, &elsewhere), Err(NoRefreshToken::Forged));
        let without = secrets(&line(2, 77), ISSUER);
        assert_eq!(RefreshToken::open(&text, &without), Err(NoRefreshToken::SecretUnknown));
        let stolen = both.distrusting([SecretId(1)]);
        assert_eq!(RefreshToken::open(&text, &stolen), Err(NoRefreshToken::Forged));
    }
}
