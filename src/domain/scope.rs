//! Scope values (RFC 6749 §3.3): what may be asked for and granted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::Invalid;

/// One scope token: printable ASCII without space, quote or backslash; case matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

impl Scope {
    /// Longest scope token accepted, in bytes.
    pub const MAX: usize = 256;

    /// Parses one token of RFC 6749 §3.3's grammar.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
        if text.is_empty() || text.len() > Self::MAX || !text.bytes().all(allowed) {
            return Err(Invalid(
                "a scope is 1 to 256 printable ASCII characters without space, quote or backslash",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The token itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only Jeton itself may define it: OpenID Connect's names and everything `jeton:…`.
    pub fn is_reserved(&self) -> bool {
        const RESERVED: [&str; 6] =
            ["openid", "profile", "email", "address", "phone", "offline_access"];
        RESERVED.contains(&self.as_str()) || self.0.starts_with("jeton:")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scopes. Order carries no meaning and repetitions collapse (RFC 6749 §3.3); it prints
/// sorted, so equal sets have equal text. Copies share what they hold: each request passes some on, and
/// ten thousand clients have the same few.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(Arc<BTreeSet<Scope>>);

impl Scopes {
    /// Longest list accepted, in bytes: it is logged with each request.
    pub const MAX: usize = 2048;

    /// Parses the `scope` parameter: tokens separated by single spaces, none before or after.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > Self::MAX {
            return Err(Invalid("a list of scopes has at most 2048 characters"));
        }
        let scopes = text.split(' ').map(Scope::parse).collect::<Result<BTreeSet<_>, _>>();
        scopes.map(|scopes| Self(Arc::new(scopes)))
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `scope` is in it.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// Whether all of it is in `other`.
    pub fn is_subset(&self, other: &Scopes) -> bool {
        self.0.is_subset(&other.0)
    }

    /// What both hold.
    #[must_use]
    pub fn intersection(&self, other: &Scopes) -> Scopes {
        if self.is_subset(other) {
            return self.clone();
        }
        self.0.intersection(&other.0).cloned().collect()
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(Arc::new(scopes.into_iter().collect()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repetition_carry_no_meaning() {
        assert_eq!(Scopes::parse("b a b").unwrap(), Scopes::parse("a b").unwrap());
        assert_eq!(Scopes::parse("b a b").unwrap().to_string(), "a b");
    }

    #[test]
    fn case_carries_meaning() {
        assert_ne!(Scopes::parse("Read").unwrap(), Scopes::parse("read").unwrap());
    }

    #[test]
    fn anything_outside_the_grammar_is_refused() {
        for text in ["", " ", " a", "a ", "a  b", "a\tb", "a\"b", "a\\b", "a\0", "é", "a\u{7f}"] {
            assert!(Scopes::parse(text).is_err(), "{text:?}");
        }
        assert!(Scopes::parse(&"a".repeat(257)).is_err());
    }
}
