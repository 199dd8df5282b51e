//! The record of one decision: who asked, how they proved it, for what, what was granted, what
//! limited it, or why it was refused. It holds no secret, so it can be logged whole.

use std::time::Duration;

use super::{Algorithm, AuthMethod, ClientId, GrantType, Reason, ResourceId, Scopes};

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
    pub token_id: String,
    /// The key that signed it.
    pub kid: String,
    /// That key's algorithm.
    pub algorithm: Algorithm,
    /// What made the grant smaller than asked or registered; empty when nothing did.
    pub limited_by: Vec<&'static str>,
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
    /// What was granted.
    pub granted: Option<Granted>,
    /// Why it was refused.
    pub refused: Option<Reason>,
    /// Microseconds spent in authenticating the client.
    pub auth_micros: u64,
    /// Microseconds spent in signing.
    pub sign_micros: u64,
}

impl Decision {
    /// `granted` or `refused`, for logs and metrics.
    pub const fn outcome(&self) -> &'static str {
        if self.granted.is_some() { "granted" } else { "refused" }
    }
}
