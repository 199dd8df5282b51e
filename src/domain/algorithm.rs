//! The signature algorithms a key line can use.

use std::fmt;
use std::str::FromStr;

use super::Invalid;

/// A JWS algorithm by its registered name (RFC 7518 §3.1, RFC 8037, RFC 9864). Each configured
/// algorithm is one line of keys, and a key belongs to exactly one line: `Ed25519` and `EdDSA`
/// sign alike, yet they are two lines with two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256: the default, fast to sign and understood by every verifier.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, which RFC 9068 asks every resource server to know.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// Ed25519 under its fully specified name (RFC 9864).
    Ed25519,
    /// Ed25519 under the older, polymorphic name (RFC 8037).
    EdDsa,
}

impl Algorithm {
    /// Every algorithm, in the order the documentation lists them.
    pub const ALL: [Algorithm; 5] =
        [Self::Es256, Self::Rs256, Self::Ps256, Self::Ed25519, Self::EdDsa];

    /// The name in `alg` headers, JWKs, configuration and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Ed25519 => "Ed25519",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Invalid;
    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or(Invalid("an algorithm is one of ES256, RS256, PS256, Ed25519, EdDSA"))
    }
}
