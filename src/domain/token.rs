//! The claims of an access token, read back (RFC 9068 §2.2).

use serde::Deserialize;
use uuid::Uuid;

use std::borrow::Cow;

use super::{Facts, Issuer, Time, TokenId};

/// The claims that we write into every access token. Reading is as strict as writing: times are
/// integers, the audience is one string, nothing is missing. The library's own accessors would
/// panic on a large `exp` and let a missing `aud` pass.
#[derive(Debug, Deserialize)]
pub struct AccessClaims<'a> {
    /// Who issued it.
    #[serde(borrow)]
    iss: Cow<'a, str>,
    /// The resource it is for.
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    iat: i64,
    exp: i64,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    #[serde(borrow, default)]
    scope: Cow<'a, str>,
    sid: Option<Uuid>,
}

impl<'a> AccessClaims<'a> {
    /// Reads a payload; `None` if it is not one of ours.
    pub fn read(payload: &'a [u8], issuer: &Issuer) -> Option<Self> {
        let claims: Self = serde_json::from_slice(payload).ok()?;
        (claims.iss == issuer.as_str()).then_some(claims)
    }

    /// When it ends.
    pub const fn expires_at(&self) -> Time {
        Time::from_seconds(self.exp)
    }

    /// Its scopes, as it carries them.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// What decides whether it was taken back, given the key that signed it.
    pub fn facts(&self, kid: &str) -> Option<Facts> {
        let id = TokenId::parse(&self.jti)?;
        Some(Facts {
            id,
            issued: id.birth(self.iat),
            birth: self.sid.and_then(birth_of).unwrap_or_else(|| id.birth(self.iat)),
            family: self.sid,
            subject: self.sub.clone().into_owned(),
            client: self.client_id.clone().into_owned(),
            resource: self.aud.clone().into_owned(),
            kid: kid.to_owned(),
        })
    }
}

/// When a family was born: the time in its UUIDv7, to the millisecond.
pub fn birth_of(family: Uuid) -> Option<Time> {
    let (seconds, nanos) = family.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(Time::from_micros(micros.checked_add(i64::from(nanos / 1000))?))
}
