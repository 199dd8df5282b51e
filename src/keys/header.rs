//! Headers of what we sign (RFC 7515 §4).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
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

/// The longest header that [`key_named_by`] looks at, encoded: ours have half of it.
const LONGEST: usize = 256;

/// The key that a token names, if its header is, byte for byte, one that a key of ours could have
/// written. Nobody has signed that name: it tells whether it is worth asking for newer keys, and no more.
pub fn key_named_by(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
        kid: String,
    }
    let end = token.find('.').filter(|end| *end <= LONGEST)?;
    let decoded = URL_SAFE_NO_PAD.decode(token.get(..end)?).ok()?;
    let Header { alg, kid } = serde_json::from_slice(&decoded).ok()?;
    let algorithm: Algorithm = alg.parse().ok()?;
    (token.get(..=end)? == prefix(TokenType::Access, algorithm, &kid)).then_some(kid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_header_that_we_could_have_written_names_a_key() {
        let token = |kind, kid: &str| format!("{}e30.c2ln", prefix(kind, Algorithm::Es256, kid));
        let ours = token(TokenType::Access, "some-key");
        assert_eq!(key_named_by(&ours).as_deref(), Some("some-key"));
        let encode = |header: &str| format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header));
        for other in [
            "",
            ".",
            "jrt_x",
            "eyJ.e30.c2ln",
            &token(TokenType::Introspection, "some-key"),
            &token(TokenType::Access, &"k".repeat(300)),
            &encode(r#"{"alg":"ES256","kid":"some-key"}"#),
            &encode(r#"{"alg":"HS256","kid":"some-key","typ":"at+jwt"}"#),
            &encode(r#"{"alg":"ES256","kid":"some-key","typ":"at+jwt","jku":"https://evil.test"}"#),
        ] {
            assert_eq!(key_named_by(other), None, "{other}");
        }
    }
}
