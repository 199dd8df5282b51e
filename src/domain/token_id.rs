//! The name of an access token, its `jti` (RFC 7519 §4.1.7).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Time;

/// Names one access token for ever: the microsecond of its birth and 72 random bits.
///
/// The birth is in it because `iat` counts whole seconds: "everything issued before now" must spare
/// a token that was issued later in the same second, or whoever signs in again at once is thrown
/// out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 16]);

impl TokenId {
    /// A name for a token that is born now.
    pub fn new(now: Time, random: [u8; 9]) -> Self {
        let [_, time @ ..] = now.micros().to_be_bytes();
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(time.into_iter().chain(random)) {
            *to = from;
        }
        Self(bytes)
    }

    /// Reads a `jti` of ours; nothing else has this form.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == bytes.len()).then_some(Self(bytes))
    }

    /// When the token was born, to the microsecond, given the `iat` that it carries. Should the two
    /// contradict each other, `iat` wins: it is what verifiers go by.
    pub fn birth(&self, issued_at: i64) -> Time {
        let mut time = [0; 8];
        for (to, from) in time.iter_mut().skip(1).zip(self.0) {
            *to = from;
        }
        let birth = Time::from_micros(i64::from_be_bytes(time));
        if birth.seconds() == issued_at { birth } else { Time::from_seconds(issued_at) }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_microsecond_of_birth_within_the_second_of_iat() {
        let now = Time::from_micros(1_763_000_000_123_456);
        let id = TokenId::new(now, [7; 9]);
        assert_eq!(id.birth(now.seconds()), now);
        assert_eq!(TokenId::parse(&id.to_string()), Some(id));
        let other = now.seconds() + 1;
        assert_eq!(id.birth(other), Time::from_seconds(other), "a contradiction: iat wins");
    }

    #[test]
    fn what_is_no_name_of_ours_is_none() {
        for text in ["", "abc", "=", "AAAAAAAAAAAAAAAAAAAAAB", &"A".repeat(23), &"A".repeat(21)] {
            assert_eq!(TokenId::parse(text), None, "{text:?}");
        }
    }
}
