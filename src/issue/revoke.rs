//! Token revocation (RFC 7009).

use std::sync::Arc;

use super::refresh_token::is_refresh_token;
use super::{Caller, Presented, Service};
use crate::domain::revocation::MARGIN;
use crate::domain::{
    Client, Decision, Facts, Inactive, Reason, Refusal, Revocation, Target, Verdict,
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
    /// Takes a token back for good: it is durable when this returns, and obeyed here at once. What is
    /// no token of ours, or is over, needs nothing (RFC 7009 §2.2), and another client's token is left
    /// alone without a word: the caller learns nothing, and cannot end it.
    pub async fn revoke(
        &self,
        request: &RevocationRequest,
        caller: &Caller,
        decision: &mut Decision,
    ) -> Result<(), Refusal> {
        let (presented, tokens) = (&request.presented, [request.token.as_ref()]);
        // "Nothing to revoke" is said of a token whose key is unknown: not for want of news.
        if !self.is_ready_for(&tokens, self.clock.now()) {
            if let Ok(seen) = self.see(self.clock.now()) {
                self.identify(&seen.directory, presented, caller, seen.now, decision)?;
            }
            self.ready_for(&tokens).await?;
        }
        let seen = self.see(self.clock.now())?;
        let client = self.authenticate(&seen.directory, presented, caller, seen.now, decision)?;
        let token = request.token.as_ref().ok_or(Refusal::at(Reason::TokenMissing, "token"))?;
        if is_refresh_token(token.expose()) {
            return self.revoke_refresh_token(token, &client.client, caller, decision).await;
        }
        let own = |facts: &Facts| facts.client == client.client.id.as_str();
        let examined = self.examine(token.expose(), &seen).and_then(|token| {
            decision.token = Some(Arc::clone(&token.facts));
            if !own(&token.facts) {
                return Err(Inactive::NotForCaller);
            }
            match self.alive(&token, &seen) {
                // The account may be switched on again while the token lives.
                Ok(()) | Err(Inactive::SubjectDisabled) => Ok(token),
                Err(over) => Err(over),
            }
        });
        let token = match examined {
            Ok(token) => token,
            Err(cause) => {
                self.nothing_to_revoke(cause, &client.client, caller, decision);
                return Ok(());
            }
        };
        let act = Revocation::of(Target::Token(token.facts.id), token.expires_at + MARGIN);
        self.mirror.writer.write(act).await.map_err(Refusal::from)?;
        decision.verdict = Some(Verdict::Revoked);
        Ok(())
    }

    /// The answer does not say why, the log does. Who has another client's token is worth a row besides.
    pub(super) fn nothing_to_revoke(
        &self,
        cause: Inactive,
        client: &Client,
        caller: &Caller,
        decision: &mut Decision,
    ) {
        decision.verdict = Some(Verdict::NothingToRevoke(cause));
        if cause == Inactive::NotForCaller {
            let (notes, now) = (&self.mirror.notes, self.clock.now());
            notes.not_its_client(&client.id, caller.network, now, caller.request_id.as_str());
        }
    }
}
