//! Tells whether one of our keys made an access token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::header::prefix;
use super::{KeyError, PublicJwk, TokenType, Verifier};
use crate::domain::{Algorithm, Inactive};

/// Recognises the access tokens of one key.
///
/// A token is ours only if its header is, byte for byte, the one that this key writes. So nothing in
/// a header is ever parsed or believed: no `alg` to be confused by, no `jwk` or `jku` to follow, no
/// `crit` to misunderstand, and no other kind of JWT that we sign can pass for an access token.
#[derive(Debug)]
pub struct Recogniser {
    prefix: String,
    verifier: Verifier,
}

impl Recogniser {
    /// A recogniser for a key of ours.
    pub fn new(public: &PublicJwk, algorithm: Algorithm, kid: &str) -> Result<Self, KeyError> {
        let verifier = Verifier::new(public, algorithm)?;
        Ok(Self { prefix: prefix(TokenType::Access, algorithm, kid), verifier })
    }

    /// Whether the token claims to be of this key.
    pub fn claims(&self, token: &str) -> bool {
        token.starts_with(&self.prefix)
    }

    /// The payload of a token, if this key signed it.
    pub fn payload(&self, token: &str) -> Result<Vec<u8>, Inactive> {
        let rest = token.strip_prefix(&self.prefix).ok_or(Inactive::Unknown)?;
        let (payload, signature) = rest.split_once('.').ok_or(Inactive::Unknown)?;
        let signed = token.len() - signature.len() - 1;
        let signed = token.get(..signed).ok_or(Inactive::Unknown)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Inactive::Unknown);
        let signature = decode(signature)?;
        if !self.verifier.verify(signed.as_bytes(), &signature) {
            return Err(Inactive::SignatureInvalid);
        }
        decode(payload)
    }
}
