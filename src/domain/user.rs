//! People who can sign in.

use std::fmt;

use uuid::Uuid;

use super::{Invalid, Time};

/// What somebody signs in with, in its one spelling: lower case, so that `Alice` and `alice` are one
/// person and nobody can take the other name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(String);

impl Username {
    /// Longest name, in bytes.
    pub const MAX: usize = 128;

    /// Reads a name as somebody types it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let name = text.trim().to_lowercase();
        let plain = |c: char| c.is_alphanumeric() || ".-_@+".contains(c);
        if name.is_empty() || name.len() > Self::MAX || !name.chars().all(plain) {
            return Err(Invalid(
                "a username has 1 to 128 characters: letters, digits, and . - _ @ +",
            ));
        }
        if Uuid::parse_str(&name).is_ok() {
            return Err(Invalid("a username must not be a UUID: those are subjects"));
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person. What opens the account is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The subject of their tokens: it never changes and is never given to anybody else.
    pub id: Uuid,
    /// What they sign in with.
    pub username: Username,
    /// Since when an operator has the account switched off.
    pub disabled_at: Option<Time>,
    /// What they authorized before this counts no more.
    pub valid_from: Time,
    /// When they last got a code redeemed.
    pub signed_in_at: Option<Time>,
    /// When the account was made.
    pub created_at: Time,
    /// When it was last changed.
    pub updated_at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_username_has_one_spelling() {
        let read = |text: &str| Username::parse(text).map(|name| name.as_str().to_owned());
        assert_eq!(read(" Alice@Example.Test ").unwrap(), "alice@example.test");
        assert_eq!(read("Zoë").unwrap(), "zoë");
        assert!(read("0190163d-8694-739b-aea5-966c26f8ad91").is_err(), "a subject");
        for bad in ["", " ", "a b", "a\0", "a\nb", "a/b", "<a>", "a,b", &"a".repeat(129)] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
