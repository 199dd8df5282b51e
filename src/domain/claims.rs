//! Static claims that an operator adds to a client's or a resource's tokens.

use serde_json::{Map, Value};

use super::Invalid;

/// Names that Jeton or a standard gives a meaning in an access token; an operator may not set them,
/// or a static value could pose as a decision.
const RESERVED: [&str; 26] = [
    // What introspection says of a token stands beside its claims.
    "active",
    "token_type",
    "token_introspection",
    "username",
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "sid",
    "auth_time",
    "acr",
    "amr",
    "azp",
    "cnf",
    "act",
    "may_act",
    "status",
    "events",
    "nonce",
    "typ",
    "authorization_details",
];

/// Longest text of a set of extra claims, in bytes: they ride in every token.
const MAX_BYTES: usize = 4096;

/// Extra claims, checked: an object without reserved names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtraClaims(Map<String, Value>);

impl ExtraClaims {
    /// Accepts an object none of whose names is reserved.
    pub fn new(claims: Map<String, Value>) -> Result<Self, Invalid> {
        if claims.keys().any(|name| RESERVED.contains(&name.as_str())) {
            return Err(Invalid("a claim has a name that Jeton sets itself (iss, sub, scope, …)"));
        }
        let size = serde_json::to_string(&claims).map_or(usize::MAX, |text| text.len());
        if size > MAX_BYTES {
            return Err(Invalid("extra claims take at most 4096 bytes: they ride in every token"));
        }
        Ok(Self(claims))
    }

    /// The claims as an object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These claims with `over` laid on top: a client's claim wins over its resource's.
    #[must_use]
    pub fn overlaid(&self, over: &ExtraClaims) -> ExtraClaims {
        let mut all = self.0.clone();
        all.extend(over.0.clone());
        Self(all)
    }
}
