//! A signer: built once for each key, shared by all threads.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::{ES256, EdDSA, JwsSigner, PS256, RS256};
use serde_json::json;

use super::{KeyError, PrivateKey, PublicJwk};
use crate::domain::Algorithm;

/// Signs access tokens with one key. Building one costs as much as twenty signatures, so it is kept
/// for as long as the key is.
pub struct Signer {
    kid: String,
    algorithm: Algorithm,
    /// The encoded header and its dot: the same for every token of this key.
    prefix: String,
    jws: Box<dyn JwsSigner>,
}

impl Signer {
    /// A signer for a private key.
    pub fn new(private: &PrivateKey) -> Result<Self, KeyError> {
        let kid = PublicJwk::of(private)?.thumbprint();
        let algorithm = private.algorithm;
        let der = private.to_der()?;
        let jws: Box<dyn JwsSigner> = match algorithm {
            Algorithm::Es256 => Box::new(ES256.signer_from_der(&der)?),
            Algorithm::Rs256 => Box::new(RS256.signer_from_der(&der)?),
            Algorithm::Ps256 => Box::new(PS256.signer_from_der(&der)?),
            Algorithm::Ed25519 | Algorithm::EdDsa => Box::new(EdDSA.signer_from_der(&der)?),
        };
        // RFC 9068 §2.1: the type keeps an access token from passing for anything else.
        let header = json!({ "typ": "at+jwt", "alg": algorithm.name(), "kid": kid });
        let prefix = format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()));
        Ok(Self { kid, algorithm, prefix, jws })
    }

    /// The key's name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The key's algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs claims, given as JSON: an access token in compact form (RFC 7515 §7.1).
    pub fn sign(&self, claims: &[u8]) -> Result<String, KeyError> {
        let room = self.prefix.len() + (claims.len() + self.jws.signature_len()) * 4 / 3 + 8;
        let mut token = String::with_capacity(room);
        token.push_str(&self.prefix);
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
