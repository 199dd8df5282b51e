//! Token revocation (RFC 7009).

use std::sync::Arc;

use super::{Caller, Presented, Service};
use crate::domain::revocation::MARGIN;
use crate::domain::{
    Decision, Facts, Inactive, Reason, Refusal, Revocation, Target, Time, Verdict,
};
use crate::secret::TokenText;

/// A revocation request, parsed.
#[derive(Debug)]
pub struct RevocationRequest {
    /// How the client says who it is.
    pub presented: Presented,
    /// `token`, as it came.
    pub token: Option<TokenText>,
}

impl Service {
    /// Decides about a revocation request; the act that is to be written, if there is anything to
    /// take back. What is no token of ours, or is over, needs none (RFC 7009 §2.2), and another
    /// client's token is left alone without a word: the caller learns nothing, and cannot end it.
    pub fn revocation(
        &self,
        request: &RevocationRequest,
        caller: &Caller,
        now: Time,
        decision: &mut Decision,
    ) -> Result<Option<Revocation>, Refusal> {
        let seen = self.see(now)?;
        let client =
            self.authenticate(&seen.directory, &request.presented, caller, now, decision)?;
        let token = request.token.as_ref().map(TokenText::expose);
        let token = token.ok_or(Refusal::at(Reason::TokenMissing, "token"))?;
        let own = |facts: &Facts| facts.client == client.client.id.as_str();
        let examined = self.examine(token, &seen).and_then(|token| {
            decision.token = Some(Arc::clone(&token.facts));
            if !own(&token.facts) {
                return Err(Inactive::NotForCaller);
            }
            self.alive(&token, &seen)?;
            Ok(token)
        });
        match examined {
            Ok(token) => Ok(Some(Revocation {
                target: Target::Token(token.facts.id),
                issued_before: Time::from_micros(0),
                expires_at: token.expires_at + MARGIN,
            })),
            Err(cause) => {
                decision.verdict = Some(Verdict::NothingToRevoke(cause));
                Ok(None)
            }
        }
    }

    /// Takes an act back for good: it is durable when this returns, and obeyed here at once.
    pub async fn revoke(&self, act: Revocation, decision: &mut Decision) -> Result<(), Refusal> {
        self.mirror.writer.write(act).await.map_err(Refusal::from)?;
        decision.verdict = Some(Verdict::Revoked);
        Ok(())
    }
}
