//! Tokens that somebody wonders about. A token is hostile input: nothing in it is believed, and no
//! number of it can do more than be shown.

mod explain;
mod key;
mod sources;
mod times;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::domain::Time;

pub use explain::{Evidence, Expected, Revocation, explain};
pub use sources::{Sources, metadata_urls, schedule_url};
pub use times::TimeView;

/// A signed token in compact form (RFC 7515 §7.1), taken apart. Nothing about it is verified.
pub struct Token {
    /// The header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// What the signature is over.
    pub(super) signing_input: Zeroizing<String>,
    /// The signature.
    pub(super) signature: Vec<u8>,
}

impl Token {
    /// Takes a token apart, strictly: three parts of base64url without padding, two of which are
    /// JSON objects that name no member twice.
    pub fn read(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            return Err(match parts.len() {
                1 => "it has no parts: not a JWT, but a handle that only its issuer can read",
                5 => "it has five parts: it is encrypted (JWE), and only its audience can read it",
                _ => "it does not have three parts with dots between them",
            }
            .to_owned());
        };
        let decode = |part: &str, name: &str| {
            let why = "is not base64url without padding";
            URL_SAFE_NO_PAD.decode(part).map_err(|_| format!("its {name} {why}"))
        };
        let object = |part: &str, name: &str| {
            let bytes = Zeroizing::new(decode(part, name)?);
            let once = serde_json::from_slice::<Once>(&bytes);
            once.map(|once| once.0).map_err(|error| {
                // The library's message may quote what it found: only ours is said.
                let twice = error.to_string().starts_with(TWICE);
                let why = if twice { TWICE } else { "is not a JSON object" };
                format!("its {name} {why}")
            })
        };
        Ok(Self {
            header: object(header, "header")?,
            claims: object(claims, "claims")?,
            signature: decode(signature, "signature")?,
            signing_input: Zeroizing::new(format!("{header}.{claims}")),
        })
    }

    /// What a person wants to see of it.
    pub fn inspect(&self, now: Time) -> TokenView<'_> {
        TokenView {
            verified: false,
            header: &self.header,
            claims: &self.claims,
            times: times::all(&self.claims, now),
            signature_bytes: self.signature.len(),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A token as it stands there.
#[derive(Debug, Serialize)]
pub struct TokenView<'a> {
    /// Never: nothing was checked.
    pub verified: bool,
    /// The header.
    pub header: &'a Map<String, Value>,
    /// The claims.
    pub claims: &'a Map<String, Value>,
    /// The claims that are times.
    pub times: Vec<TimeView>,
    /// How long the signature is.
    pub signature_bytes: usize,
}

const TWICE: &str = "names a member twice";

/// A JSON object that names no member twice: of two values, two readers may take different ones
/// (RFC 7515 §4, RFC 7519 §4).
struct Once(Map<String, Value>);

impl<'de> serde::Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Once;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Once, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom(TWICE));
                    }
                }
                Ok(Once(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
