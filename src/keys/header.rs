//! Headers of what we sign (RFC 7515 §4).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::domain::Algorithm;

/// What a signature of ours is under. The type is in the header, so that nothing we sign for one
/// purpose passes for another (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// An access token (RFC 9068 §2.1).
    Access,
    /// An answer to an introspection request (RFC 9701 §5).
    Introspection,
}

impl TokenType {
    const fn name(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Introspection => "token-introspection+jwt",
        }
    }
}

/// The encoded header with its dot: the same for everything of one type that a key signs. It must
/// never change for a key that has signed: tokens are recognised by it.
pub(super) fn prefix(kind: TokenType, algorithm: Algorithm, kid: &str) -> String {
    let header = json!({ "typ": kind.name(), "alg": algorithm.name(), "kid": kid });
    format!("{}.", URL_SAFE_NO_PAD.encode(header.to_string()))
}
