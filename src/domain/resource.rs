//! Resources: the APIs that tokens are for (RFC 8707). A resource owns its scopes.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use url::Url;

use super::{ExtraClaims, Invalid, Scope, Scopes, Time};

/// A resource identifier exactly as registered: the `aud` of its tokens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(Arc<str>);

impl ResourceId {
    /// Longest identifier accepted, in bytes.
    pub const MAX: usize = 512;

    /// Accepts an absolute URI without a fragment (RFC 8707 §2), in printable ASCII.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let printable = text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E));
        if text.len() > Self::MAX || !printable {
            return Err(Invalid("a resource is an absolute URI of at most 512 plain characters"));
        }
        let url = Url::parse(text).map_err(|_| Invalid("a resource is an absolute URI"))?;
        if url.fragment().is_some() {
            return Err(Invalid("a resource has no fragment (RFC 8707 §2)"));
        }
        Ok(Self(text.into()))
    }

    /// The identifier itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The spelling under which a request's `resource` is looked up: scheme and host in lower case
    /// (RFC 3986 §6.2.2.1), and the bare host the same with and without its slash (§6.2.3), because
    /// clients disagree on that slash. Nothing else is normalised.
    pub fn lookup_key(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return self.0.to_string();
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = if path == "/" { "" } else { path };
        let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(u, h)| (u, h));
        let at = if user.is_empty() { "" } else { "@" };
        format!("{}://{user}{at}{}{path}", scheme.to_lowercase(), host.to_lowercase())
    }
}

/// A map by identifiers can be asked with a text.
impl Borrow<str> for ResourceId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A scope as its resource defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeDefinition {
    /// The token that clients ask for.
    pub name: Scope,
    /// What granting it means, for the person who is asked to consent.
    pub description: Option<String>,
}

/// An API that accepts our tokens, with the scopes it understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The `aud` of its tokens.
    pub id: ResourceId,
    /// The scopes it understands.
    pub scopes: Vec<ScopeDefinition>,
    /// Static claims of every token for it.
    pub claims: ExtraClaims,
    /// When it was registered.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

impl Resource {
    /// Its scopes as a set.
    pub fn scope_set(&self) -> Scopes {
        self.scopes.iter().map(|scope| scope.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        ResourceId::parse(text).unwrap().lookup_key()
    }

    #[test]
    fn a_resource_is_an_absolute_uri_without_fragment() {
        for text in ["", "/api", "api", "https://a/#f", "https://a/ b", "https://a/\0", "é:x"] {
            assert!(ResourceId::parse(text).is_err(), "{text:?}");
        }
        assert!(ResourceId::parse("urn:example:api").is_ok());
    }

    #[test]
    fn only_scheme_host_and_the_root_slash_are_normalised() {
        assert_eq!(key("HTTPS://API.Example"), key("https://api.example/"));
        assert_ne!(key("https://api.example/V1"), key("https://api.example/v1"));
        assert_ne!(key("https://api.example/v1"), key("https://api.example/v1/"));
        assert_ne!(key("https://api.example?q=A"), key("https://api.example?q=a"));
    }
}
