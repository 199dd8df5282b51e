//! A signer: built once for each key, shared by all threads.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::{JwsSigner, PS256, RS256};

use super::curves::{Curve, CurveSigner};
use super::header::prefix;
use super::{KeyError, PrivateKey, PublicJwk, TokenType};
use crate::domain::Algorithm;

/// Signs with one key. Building one costs as much as twenty signatures, so it is kept
/// for as long as the key is.
pub struct Signer {
    kid: String,
    algorithm: Algorithm,
    access: String,
    introspection: String,
    jws: Box<dyn JwsSigner>,
}

impl Signer {
    /// A signer for a private key.
    pub fn new(private: &PrivateKey) -> Result<Self, KeyError> {
        let kid = PublicJwk::of(private)?.thumbprint();
        let algorithm = private.algorithm;
        let der = private.to_der()?;
        let jws: Box<dyn JwsSigner> = match algorithm {
            Algorithm::Es256 => Box::new(CurveSigner::from_pkcs8(Curve::P256, &der)?),
            Algorithm::Rs256 => Box::new(RS256.signer_from_der(&der)?),
            Algorithm::Ps256 => Box::new(PS256.signer_from_der(&der)?),
            Algorithm::Ed25519 | Algorithm::EdDsa => {
                Box::new(CurveSigner::from_pkcs8(Curve::Ed25519, &der)?)
            }
        };
        let access = prefix(TokenType::Access, algorithm, &kid);
        let introspection = prefix(TokenType::Introspection, algorithm, &kid);
        Ok(Self { kid, algorithm, access, introspection, jws })
    }

    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key's algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs claims, given as JSON: a JWT in compact form (RFC 7515 §7.1).
    pub fn sign(&self, kind: TokenType, claims: &[u8]) -> Result<String, KeyError> {
        let prefix = match kind {
            TokenType::Access => &self.access,
            TokenType::Introspection => &self.introspection,
        };
        let room = prefix.len() + (claims.len() + self.jws.signature_len()) * 4 / 3 + 8;
        let mut token = String::with_capacity(room);
        token.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.jws.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, {})", self.algorithm, self.kid)
    }
}
