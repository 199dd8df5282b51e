//! The record of one decision: who asked, how they proved it, for what, what was granted, what
//! limited it, or why it was refused. It holds no secret, so it can be logged whole.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{
    Algorithm, AuthMethod, ClientId, Facts, GrantType, Inactive, Reason, ResourceId, Scopes,
    TokenId,
};

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The scopes of the token.
    pub scopes: Scopes,
    /// Its audience.
    pub audience: ResourceId,
    /// How long it lives.
    pub lifetime: Duration,
    /// Its `jti`.
    pub token_id: TokenId,
    /// The key that signed it.
    pub kid: String,
    /// That key's algorithm.
    pub algorithm: Algorithm,
    /// What made the grant smaller than asked or registered; empty when nothing did.
    pub limited_by: Vec<&'static str>,
}

/// What came of looking at a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is active.
    Active,
    /// It is not, for this cause, which the caller is not told.
    Inactive(Inactive),
    /// It was revoked just now.
    Revoked,
    /// A person allowed it, and a code is on its way.
    Authorized,
    /// There was nothing to revoke.
    NothingToRevoke(Inactive),
}

impl Verdict {
    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive(_) => "inactive",
            Self::Revoked => "revoked",
            Self::Authorized => "authorized",
            Self::NothingToRevoke(_) => "nothing_to_revoke",
        }
    }

    /// The cause, where there is one.
    pub const fn cause(self) -> Option<Inactive> {
        match self {
            Self::Inactive(cause) | Self::NothingToRevoke(cause) => Some(cause),
            Self::Active | Self::Revoked | Self::Authorized => None,
        }
    }
}

/// A refresh token that came in, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refreshed {
    /// Its family.
    pub family: Uuid,
    /// Its generation, and after a success that of the token that is live now.
    pub generation: u32,
    /// How the client came to that one.
    pub how: Option<&'static str>,
}

/// The record of one decision. It grows as the request is understood, so that a refusal shows how
/// far it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// The grant asked for, once understood.
    pub grant: Option<GrantType>,
    /// The registered client that the request claims to be from.
    pub client: Option<ClientId>,
    /// How it proved that; `None` until it has.
    pub authenticated_by: Option<AuthMethod>,
    /// The scopes asked for.
    pub asked_scopes: Option<Scopes>,
    /// The resource asked for.
    pub asked_resource: Option<ResourceId>,
    /// The refresh token that came in.
    pub refreshed: Option<Refreshed>,
    /// What was granted.
    pub granted: Option<Granted>,
    /// The token that was looked at, if it is one of ours.
    pub token: Option<Arc<Facts>>,
    /// What came of it.
    pub verdict: Option<Verdict>,
    /// Why it was refused.
    pub refused: Option<Reason>,
    /// Microseconds spent in authenticating the client.
    pub auth_micros: u64,
    /// Microseconds spent in signing.
    pub sign_micros: u64,
}

impl Decision {
    /// How it ended, for logs and metrics.
    pub const fn outcome(&self) -> &'static str {
        match (&self.verdict, &self.granted) {
            (Some(verdict), _) => verdict.name(),
            (None, Some(_)) => "granted",
            (None, None) => "refused",
        }
    }
}
