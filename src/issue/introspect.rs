//! Token introspection (RFC 7662), plain or signed (RFC 9701), answered from memory.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::examine::{Examined, Seen};
use super::refresh_token::is_refresh_token;
use super::{Caller, Presented, Service};
use crate::domain::{Client, Decision, Inactive, Reason, Refusal, Verdict};
use crate::keys::TokenType;
use crate::mirror::Registered;
use crate::secret::TokenText;

/// What every inactive token gets, whatever the cause (RFC 7662 §2.2).
const INACTIVE: &[u8] = br#"{"active":false}"#;

/// The scope that lets an access token stand for its client at the introspection endpoint.
const SCOPE: &str = "introspect";

/// An introspection request, parsed.
#[derive(Debug)]
pub struct IntrospectionRequest {
    /// How the caller says who it is.
    pub presented: Presented,
    /// `token`, as it came.
    pub token: Option<TokenText>,
    /// Whether the caller wants a signed answer.
    pub signed: bool,
}

/// An answer, ready to be sent.
#[derive(Debug)]
pub enum Introspection {
    /// JSON (RFC 7662 §2.2).
    Plain(Bytes),
    /// A JWT (RFC 9701 §5).
    Signed {
        /// The JWT.
        token: String,
        /// The key that signed it.
        kid: String,
    },
}

/// The claims of a signed answer. `sub` and `exp` are left out at the top, so that nobody takes it
/// for an access token.
#[derive(Serialize)]
struct SignedAnswer<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    token_introspection: &'a RawValue,
}

impl Service {
    /// Answers an introspection request.
    pub async fn introspect(
        &self,
        request: &IntrospectionRequest,
        from: &Caller,
        decision: &mut Decision,
    ) -> Result<Introspection, Refusal> {
        let tokens = [request.token.as_ref(), request.presented.bearer()];
        if !self.is_ready_for(&tokens, self.clock.now()) {
            self.may_wait(request, from, decision)?;
            self.ready_for(&tokens).await?;
        }
        let seen = self.see(self.clock.now())?;
        let caller = self.caller(&seen, request, from, decision)?;
        let token = request.token.as_ref().ok_or(Refusal::at(Reason::TokenMissing, "token"))?;
        let client = &caller.client;
        let examined = if is_refresh_token(token.expose()) {
            Box::pin(self.introspect_refresh_token(token, client, seen.now, decision)).await?
        } else {
            self.introspect_access_token(token.expose(), client, &seen, decision)
        };
        // It may have waited for the database, or stood still, for longer than "active" keeps.
        if examined.is_ok() && !self.is_fresh() {
            return Err(Reason::MirrorStale.into());
        }
        decision.verdict = Some(match &examined {
            Ok(_) => Verdict::Active,
            Err(cause) => Verdict::Inactive(*cause),
        });
        let answer = examined.unwrap_or(Bytes::from_static(INACTIVE));
        if !request.signed {
            return Ok(Introspection::Plain(answer));
        }
        self.sign_answer(&caller.client, &answer, &seen)
    }

    /// Who makes us wait has proved who they are, as far as memory knows. Of a bearer that may be what is
    /// waited for; then the network may not have guessed too often.
    fn may_wait(
        &self,
        request: &IntrospectionRequest,
        from: &Caller,
        decision: &mut Decision,
    ) -> Result<(), Refusal> {
        let seen = self.see(self.clock.now());
        let presented = &request.presented;
        match (presented, &seen) {
            (Presented::Bearer(token), Ok(seen))
                if !seen.keys.may_lack(token.expose(), seen.now) =>
            {
                self.bearer_token(token, seen, from).map(drop)
            }
            (Presented::Bearer(_), _) => {
                Ok(self.limits.may_try(from.network, None, from.endpoint)?)
            }
            // Nobody is known any more: a process that was stopped for minutes.
            (_, Err(_)) => Ok(()),
            (Presented::Nothing | Presented::Id(_), Ok(seen)) => {
                self.caller(seen, request, from, decision).map(drop)
            }
            (_, Ok(seen)) => {
                self.identify(&seen.directory, presented, from, seen.now, decision).map(drop)
            }
        }
    }

    /// The access token that stands for a caller, if it is one of ours. What is none was guessed.
    fn bearer_token(
        &self,
        token: &TokenText,
        seen: &Seen,
        from: &Caller,
    ) -> Result<Arc<Examined>, Refusal> {
        let (network, endpoint) = (from.network, from.endpoint);
        self.limits.may_try(network, None, endpoint)?;
        self.examine(token.expose(), seen).map_err(|_| {
            self.limits.failed(network, None, endpoint);
            Reason::BearerInvalid.into()
        })
    }

    fn introspect_access_token(
        &self,
        token: &str,
        caller: &Client,
        seen: &Seen,
        decision: &mut Decision,
    ) -> Result<Bytes, Inactive> {
        let token = self.examine(token, seen)?;
        decision.token = Some(Arc::clone(&token.facts));
        self.alive(&token, seen)?;
        may_see(caller, &token)?;
        Ok(token.answer.clone())
    }

    /// Who asks. A client that has no secret cannot: anybody could pretend to be it.
    fn caller<'a>(
        &self,
        seen: &'a Seen,
        request: &IntrospectionRequest,
        from: &Caller,
        decision: &mut Decision,
    ) -> Result<&'a Registered, Refusal> {
        match &request.presented {
            Presented::Bearer(token) => {
                let examined = self.bearer_token(token, seen, from)?;
                // A token that we made and that is over is no guess: were it counted, whoever holds it
                // could shut its whole network out before it gets a new one.
                let caller = self.bearer(&examined, seen)?;
                decision.client = Some(caller.client.id.clone());
                self.limits.client(&caller.client.id, from.endpoint)?;
                Ok(caller)
            }
            // RFC 9701 §4 wants 400 for a caller that says nothing of who it is.
            Presented::Nothing | Presented::Id(_) if request.signed => {
                Err(Reason::CallerAnonymous.into())
            }
            Presented::Id(_) => Err(Reason::ClientAuthMissing.into()),
            other => {
                let found = self.authenticate(&seen.directory, other, from, seen.now, decision);
                found.map(|client| &**client)
            }
        }
    }

    /// The client for which an access token stands (RFC 6750): one that is for this endpoint and
    /// that the client got on its own behalf.
    fn bearer<'a>(&self, token: &Examined, seen: &'a Seen) -> Result<&'a Registered, Refusal> {
        let invalid = |_| Refusal::from(Reason::BearerInvalid);
        self.alive(token, seen).map_err(invalid)?;
        let facts = &token.facts;
        let here = self.rules.issuer.url("/oauth2/introspect");
        if facts.resource != here || facts.subject != facts.client {
            return Err(Reason::BearerInvalid.into());
        }
        if !token.scope.split(' ').any(|scope| scope == SCOPE) {
            return Err(Reason::BearerScope.into());
        }
        seen.directory
            .client_by_name(&facts.client)
            .map(|client| &**client)
            .ok_or(Reason::BearerInvalid.into())
    }

    /// Signs an answer for the one caller that it is meant for (RFC 9701 §5).
    fn sign_answer(
        &self,
        caller: &Client,
        answer: &[u8],
        seen: &Seen,
    ) -> Result<Introspection, Refusal> {
        let Seen { keys, now, .. } = seen;
        let unavailable = || Refusal::from(Reason::SigningUnavailable);
        let line = caller.algorithm.or_else(|| self.default_algorithm(*now));
        let (key, signer) =
            line.and_then(|line| keys.signer(line, *now)).ok_or_else(unavailable)?;
        let claims = SignedAnswer {
            iss: self.rules.issuer.as_str(),
            aud: caller.id.as_str(),
            iat: now.seconds(),
            token_introspection: serde_json::from_slice(answer).map_err(|_| unavailable())?,
        };
        let claims = serde_json::to_vec(&claims).map_err(|_| unavailable())?;
        let token = signer.sign(TokenType::Introspection, &claims).map_err(|_| unavailable())?;
        Ok(Introspection::Signed { token, kid: key.kid.clone() })
    }
}

/// A token is shown to the resource servers of its audience and to its own client, and for anybody
/// else there is none.
fn may_see(caller: &Client, token: &Examined) -> Result<(), Inactive> {
    let facts = &token.facts;
    let serves = caller.introspects.iter().any(|one| one.as_str() == facts.resource);
    if serves || caller.id.as_str() == facts.client {
        return Ok(());
    }
    Err(Inactive::NotForCaller)
}
