//! Refresh tokens at the endpoints that look at tokens: introspection (RFC 7662) and revocation
//! (RFC 7009). They are their own client's business alone, and the database is asked each time.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tracing::Instrument;
use uuid::Uuid;

use super::ending::Ending;
use super::to_its_end::to_its_end;
use super::{Caller, Service, away};
use crate::domain::decision::Refreshed;
use crate::domain::session::End;
use crate::domain::{Client, Decision, Family, Inactive, Reason, Refusal, Time, Verdict};
use crate::secret::{NoRefreshToken, REFRESH_TOKEN_PREFIX, RefreshToken, TokenText};
use crate::store::audit::{Action, Event};
use crate::store::families;

/// What introspection says of a refresh token.
#[derive(Serialize)]
struct Answer<'a> {
    active: bool,
    iss: &'a str,
    client_id: &'a str,
    sub: Uuid,
    sid: Uuid,
    scope: String,
    iat: i64,
    exp: i64,
}

/// Whether a text has the look of a refresh token.
pub(super) fn is_refresh_token(text: &str) -> bool {
    text.starts_with(REFRESH_TOKEN_PREFIX)
}

impl Service {
    /// What a refresh token that its client asks about is worth: its family while it is the live one,
    /// or why it is worth nothing.
    async fn known(
        &self,
        text: &TokenText,
        client: &Client,
        decision: &mut Decision,
    ) -> Result<Result<(RefreshToken, Family), Inactive>, Refusal> {
        let token = match RefreshToken::open(text, &self.secrets.now()) {
            Ok(token) => token,
            // Another replica may know the secret; "inactive" would be a guess.
            Err(NoRefreshToken::SecretUnknown) => return Err(Reason::SecretUnknown.into()),
            Err(NoRefreshToken::Malformed) => return Ok(Err(Inactive::Unknown)),
            Err(NoRefreshToken::Forged) => return Ok(Err(Inactive::SignatureInvalid)),
        };
        let RefreshToken { family, generation } = token;
        decision.refreshed = Some(Refreshed { family, generation, how: None });
        let stored = families::get(&self.db, family).await;
        let stored = stored.map_err(|error| away(&error))?;
        let Some(stored) = stored else { return Ok(Err(Inactive::Unknown)) };
        if stored.family.client != client.id {
            return Ok(Err(Inactive::NotForCaller));
        }
        Ok(Ok((token, stored.family)))
    }

    /// What introspection says of a refresh token.
    pub(super) async fn introspect_refresh_token(
        &self,
        text: &TokenText,
        client: &Client,
        now: Time,
        decision: &mut Decision,
    ) -> Result<Result<Bytes, Inactive>, Refusal> {
        let (token, family) = match self.known(text, client, decision).await? {
            Ok(known) => known,
            Err(cause) => return Ok(Err(cause)),
        };
        let taken_back = self.taken_back(client, &family);
        let worth = if token.generation == family.generation {
            family.lives(now).and(taken_back.map_or(Ok(()), Err))
        } else {
            // It has a successor, or the database has lost it: presenting it is what decides.
            Err(Reason::RefreshReused)
        };
        if let Err(reason) = worth {
            return Ok(Err(cause(reason)));
        }
        let ends = family.ends_at.min(family.rotated_at + family.idle);
        let answer = Answer {
            active: true,
            iss: self.rules.issuer.as_str(),
            client_id: client.id.as_str(),
            sub: family.subject,
            sid: family.id,
            scope: family.scopes.to_string(),
            iat: family.rotated_at.seconds(),
            exp: ends.seconds(),
        };
        let answer = serde_json::to_vec(&answer);
        Ok(Ok(answer.map_err(|_| Refusal::from(Reason::SigningUnavailable))?.into()))
    }

    /// Takes an authorization back, by whichever of its refresh tokens its client has.
    pub(super) async fn revoke_refresh_token(
        &self,
        text: &TokenText,
        client: &Client,
        caller: &Caller,
        decision: &mut Decision,
    ) -> Result<(), Refusal> {
        let family = match self.known(text, client, decision).await? {
            Ok((_, family)) => family,
            Err(cause) => {
                self.nothing_to_revoke(cause, client, caller, decision);
                return Ok(());
            }
        };
        let (tools, longest_token) = (Arc::clone(&self.tools), self.longest_token());
        let (client, request_id, now) = (client.id.clone(), caller.request_id, self.clock.now());
        // A page that is left says good-bye and hangs up: the end must come all the same.
        let ending = to_its_end(
            async move {
                let event = Event {
                    client: Some(&client),
                    request: Some(request_id.as_str()),
                    detail: json!({ "family": family.id, "subject": family.subject }),
                    ..Event::new(Action::FamilyRevoked, client.as_str(), now)
                };
                let (family, why) = (family.id, End::Client.name());
                tools.end(&Ending { family, why, event, longest_token }, now).await
            }
            .in_current_span(),
        );
        let ended = ending.await.map_err(|error| away(&error))?;
        decision.verdict = Some(if ended {
            Verdict::Revoked
        } else {
            Verdict::NothingToRevoke(Inactive::FamilyRevoked)
        });
        Ok(())
    }
}

fn cause(reason: Reason) -> Inactive {
    match reason {
        Reason::RefreshReused => Inactive::Superseded,
        Reason::RefreshExpired | Reason::RefreshIdleExpired => Inactive::Expired,
        Reason::SubjectDisabled => Inactive::SubjectDisabled,
        Reason::IssuedBeforeWatermark => Inactive::BeforeWatermark,
        _ => Inactive::FamilyRevoked,
    }
}
