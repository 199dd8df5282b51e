//! Proof Key for Code Exchange (RFC 7636): whoever began an authorization redeems its code.
//!
//! Only `S256` is served. With `plain` the challenge is the verifier, and it stands in the address
//! bar, the history and the log of every proxy on the way.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Invalid;
use super::client::is_unreserved;

/// The one value of `code_challenge_method` that is served.
pub const METHOD: &str = "S256";

/// A challenge: SHA-256 of a verifier, in base64url. It may be shown to everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge(String);

impl Challenge {
    /// Accepts the 43 characters of base64url that 32 bytes take.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bytes = URL_SAFE_NO_PAD.decode(text);
        if text.len() != 43 || !bytes.is_ok_and(|bytes| bytes.len() == 32) {
            return Err(Invalid("a code_challenge is 43 characters of base64url"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The challenge that a verifier answers (RFC 7636 §4.6), if it is one: 43 to 128 of the
    /// unreserved characters (§4.1).
    pub fn of(verifier: &str) -> Result<Self, Invalid> {
        let length = (43..=128).contains(&verifier.len());
        if !length || !verifier.bytes().all(is_unreserved) {
            return Err(Invalid(
                "a code_verifier is 43 to 128 of the characters A-Z a-z 0-9 . _ ~ -",
            ));
        }
        Ok(Self(URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))))
    }

    /// The challenge itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_challenge_of_rfc_7636_appendix_b_comes_out() {
        for (verifier, challenge) in [
            (
                "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
                "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            ),
            (
                "3641a2d12d66101249cdf7a79c000c1f8c05d2aafcf14bf146497bed",
                "6fdkQaPm51l13DSukcAH3Mdx7_ntecHYd1vi3n0hMZY",
            ),
        ] {
            assert_eq!(Challenge::of(verifier).unwrap().as_str(), challenge);
            assert!(Challenge::parse(challenge).is_ok());
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_no_verifier_and_no_challenge() {
        for (verifier, sound) in [(42, false), (43, true), (128, true), (129, false)] {
            assert_eq!(Challenge::of(&"a".repeat(verifier)).is_ok(), sound, "{verifier}");
        }
        for bad in ["+", "/", "=", " ", "\0", "%"] {
            assert!(Challenge::of(&format!("{}{bad}", "a".repeat(42))).is_err(), "{bad:?}");
            assert!(Challenge::parse(&format!("{}{bad}", "A".repeat(42))).is_err(), "{bad:?}");
        }
        for length in [0, 42, 44, 128] {
            assert!(Challenge::parse(&"A".repeat(length)).is_err(), "{length}");
        }
        // 43 characters hold two bits more than 32 bytes do; were they free, one challenge would
        // have four spellings.
        assert!(Challenge::parse(&format!("{}B", "A".repeat(42))).is_err());
    }

    proptest! {
        #[test]
        fn every_verifier_has_one_sound_challenge_and_no_other_has_the_same(
            one in "[A-Za-z0-9._~-]{43,128}",
            other in "[A-Za-z0-9._~-]{43,128}",
        ) {
            let challenge = Challenge::of(&one).unwrap();
            prop_assert_eq!(Challenge::parse(challenge.as_str()).unwrap(), challenge.clone());
            prop_assert_eq!(Challenge::of(&other).unwrap() == challenge, one == other);
        }
    }
}
