//! The token endpoint (RFC 6749 §3.2): who asks, for which grant, and may it.

use std::sync::Arc;

use super::authenticate::Presented;
use super::{AccessToken, Caller, Service, authorization_code, client_credentials, refresh};
use crate::domain::{Decision, GrantType, Reason, Refusal, Time};
use crate::mirror::Registered;
use crate::secret::TokenText;

/// A token request, parsed: every parameter occurs once and holds only characters it may hold.
#[derive(Debug)]
pub struct TokenRequest<'a> {
    /// How the client says who it is.
    pub presented: Presented,
    /// `grant_type`.
    pub grant_type: Option<&'a str>,
    /// `scope`.
    pub scope: Option<&'a str>,
    /// `resource`, which may repeat (RFC 8707 §2).
    pub resources: Vec<&'a str>,
    /// `code` (RFC 6749 §4.1.3).
    pub code: Option<TokenText>,
    /// `code_verifier` (RFC 7636 §4.5).
    pub code_verifier: Option<TokenText>,
    /// `redirect_uri` (RFC 6749 §4.1.3).
    pub redirect_uri: Option<&'a str>,
    /// `refresh_token` (RFC 6749 §6).
    pub refresh_token: Option<TokenText>,
}

impl Service {
    /// Answers a token request. The checks come in a fixed order, so that the same mistake always
    /// gets the same answer: first who the client is, then what it wants.
    pub async fn token(
        &self,
        request: &TokenRequest<'_>,
        caller: &Caller,
        now: Time,
        decision: &mut Decision,
    ) -> Result<AccessToken, Refusal> {
        let directory = self.directory()?;
        let client = self.authenticate(&directory, &request.presented, caller, now, decision)?;
        let grant_type =
            request.grant_type.ok_or(Refusal::at(Reason::GrantMissing, "grant_type"))?;
        let grant: GrantType = grant_type.parse().map_err(|_| Reason::GrantUnsupported)?;
        decision.grant = Some(grant);
        may(client, grant)?;
        match grant {
            GrantType::ClientCredentials => {
                client_credentials::grant(self, client, request, now, decision)
            }
            // These two wait for the database, and memory may be another one meanwhile. They are
            // boxed: a future has room for all that it may ever wait for, and each request would
            // carry 28 kB around for what most do not do.
            GrantType::AuthorizationCode => {
                let client = Arc::clone(client);
                drop(directory);
                let code = authorization_code::grant(self, client, request, caller, now, decision);
                Box::pin(code).await
            }
            GrantType::RefreshToken => {
                let client = Arc::clone(client);
                drop(directory);
                Box::pin(refresh::grant(self, client, request, caller, decision)).await
            }
        }
    }
}

/// Refuses a grant that a client may not use.
pub(super) fn may(client: &Registered, grant: GrantType) -> Result<(), Refusal> {
    if client.client.grants.contains(&grant) {
        return Ok(());
    }
    Err(Reason::GrantNotAllowed.into())
}
