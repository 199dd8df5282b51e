//! Access tokens as RFC 9068 describes them. No row is written for them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use super::Service;
use crate::domain::{
    Client, Decision, Family, Granted, Reason, Refusal, ResourceId, Scopes, Time, TokenId,
};
use crate::keys::TokenType;
use crate::mirror::{Offer, Registered};
use crate::secret::{RefreshToken, TokenText};

/// Room for the claims of a usual token, in bytes.
const USUAL_CLAIMS: usize = 512;

/// What was decided to grant.
pub(super) struct Grant<'a> {
    pub client: &'a Client,
    pub subject: &'a str,
    pub offer: &'a Offer,
    pub scopes: Scopes,
    pub limited_by: Vec<&'static str>,
    /// The authorization that it descends from.
    pub session: Option<Session>,
}

/// An authorization, as its access tokens know it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    /// The family.
    pub family: Uuid,
    /// When the person last proved who they are.
    pub authenticated_at: Time,
    /// No access token outlives it.
    pub ends_at: Time,
}

/// An access token and what its client is told about it.
pub struct AccessToken {
    /// The token, in compact form.
    pub token: String,
    /// How long it lives, in seconds from now.
    pub expires_in: u64,
    /// Its scopes; empty for a resource without scopes.
    pub scope: String,
    /// The refresh token that comes with it.
    pub refresh_token: Option<TokenText>,
    /// When that one, and the authorization, end, in seconds from now, if clients are to be told.
    pub ends_in: Option<(u64, u64)>,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessToken(…, {} s, {:?})", self.expires_in, self.scope)
    }
}

/// The claims (RFC 9068 §2.2). Times are integers: strict verifiers refuse floats.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    client_id: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
}

/// The resource of a token for which none is named, of those that an authorization covers: the only
/// one, or the client's default.
pub(super) fn usual_resource<'a>(
    covered: &[ResourceId],
    registered: &'a Registered,
) -> Result<&'a Offer, Refusal> {
    let chosen = match covered {
        [only] => Some(only),
        _ => registered.client.default_resource().filter(|id| covered.contains(id)),
    };
    let chosen = chosen.ok_or(Reason::ResourceMissing)?;
    Ok(registered.offer(chosen).ok_or(Reason::ResourceUnknown)?)
}

/// What of an authorization's scopes belongs to one resource, and the client may still have.
pub(super) fn usual_scopes(covered: &Scopes, offer: &Offer) -> Result<Scopes, Refusal> {
    let scopes = covered.intersection(&offer.allowed);
    if scopes.is_empty() && offer.has_scopes {
        return Err(Reason::ScopeEmpty.into());
    }
    Ok(scopes)
}

impl Service {
    /// The live refresh token of a family, to go with its access token.
    pub(super) fn with_refresh_token(&self, access: &mut AccessToken, family: &Family, now: Time) {
        let live = RefreshToken { family: family.id, generation: family.generation };
        access.refresh_token = Some(live.seal(&self.secrets.now()));
        access.ends_in = self.rules.refresh.announce.then(|| family.ends_in(now));
    }

    /// Whether there is a key that can sign for a client now: to be asked before anything is spent.
    pub(super) fn can_sign(&self, client: &Client, now: Time) -> Result<(), Refusal> {
        let line = client.algorithm.or_else(|| self.default_algorithm(now));
        let signs = line.is_some_and(|line| self.mirror.keys().can_sign(line, now));
        if signs { Ok(()) } else { Err(Reason::SigningUnavailable.into()) }
    }

    /// Signs a token for what was granted, or refuses rather than sign with a wrong key.
    pub(super) fn issue(
        &self,
        grant: Grant<'_>,
        now: Time,
        decision: &mut Decision,
    ) -> Result<AccessToken, Refusal> {
        let Grant { client, subject, offer, scopes, mut limited_by, session } = grant;
        let unavailable = || Refusal::from(Reason::SigningUnavailable);
        let algorithm = client.algorithm.or_else(|| self.default_algorithm(now));
        let keys = self.mirror.keys();
        let (key, signer) =
            algorithm.and_then(|line| keys.signer(line, now)).ok_or_else(unavailable)?;

        let wanted = client.access_token_ttl.unwrap_or(self.rules.access_token_ttl);
        // The key stays published for no longer than its own longest token needs.
        let lifetime = wanted.min(self.rules.access_token_ttl_max).min(key.times.longest_token);
        if lifetime < wanted {
            limited_by.push("access_token_ttl_max");
        }
        let left = session.map_or(lifetime, |session| session.ends_at.since(now));
        if left < lifetime {
            limited_by.push("refresh.absolute");
        }
        let lifetime = Duration::from_secs(lifetime.min(left).as_secs());
        let token_id = TokenId::new(now, rand::random());
        let scope = scopes.to_string();
        let iat = now.seconds();
        let claims = Claims {
            iss: self.rules.issuer.as_str(),
            aud: offer.resource.as_str(),
            sub: subject,
            client_id: client.id.as_str(),
            iat,
            exp: iat.saturating_add_unsigned(lifetime.as_secs()),
            jti: &token_id.to_string(),
            sid: session.map(|session| session.family),
            auth_time: session.map(|session| session.authenticated_at.seconds()),
            scope: &scope,
        };
        let mut text = Vec::with_capacity(USUAL_CLAIMS + offer.extra_claims.len());
        serde_json::to_writer(&mut text, &claims).map_err(|_| unavailable())?;
        if !offer.extra_claims.is_empty() {
            text.truncate(text.len().saturating_sub(1));
            text.extend_from_slice(offer.extra_claims.as_bytes());
            text.push(b'}');
        }
        let _span = tracing::trace_span!("sign", kid = key.kid.as_str()).entered();
        let started = self.clock.tick();
        let token = signer.sign(TokenType::Access, &text).map_err(|_| unavailable())?;
        let took = self.clock.elapsed(started).as_micros();
        decision.sign_micros = u64::try_from(took).unwrap_or(u64::MAX);
        decision.granted = Some(Granted {
            scopes,
            audience: offer.resource.clone(),
            lifetime,
            token_id,
            kid: key.kid.clone(),
            algorithm: signer.algorithm(),
            limited_by,
        });
        Ok(AccessToken {
            token,
            expires_in: lifetime.as_secs(),
            scope,
            refresh_token: None,
            ends_in: None,
        })
    }
}
